// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs as init: holds references to pages in every way that it knows, exactly as many as it says,
 * locks memory, reserves huge pages, and stays.
 *
 * Lines on stdout: "page NAME NUMBER PID ADDRESS PFN MAPCOUNT FLAGS" (/proc/self/pagemap,
 * /proc/kpagecount, /proc/kpageflags), "pipe NAME NUMBER REFERENCES" for the pipe buffers that hold
 * that page, "locked PID KILOBYTES" (VmLck), "huge NAME PAGES" (/proc/meminfo), "dontunmap PID
 * KILOBYTES" for a child with mlock()ed memory that mremap(MREMAP_DONTUNMAP) has moved in part,
 * "no NAME" for what this kernel does not have; at last "READY 1".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pages.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static int pagemap, counts, flags;

/* The number after a word in a file of /proc, -1 without. */
static long number(const char *path, const char *word)
{
	FILE *file = fopen(path, "r");
	char line[256];
	long found = -1;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, word, strlen(word)))
			found = atol(line + strlen(word));
	if (file)
		fclose(file);
	return found;
}

static uint64_t pfn_of(const char *at)
{
	uint64_t entry = word(pagemap, (uintptr_t)at / PAGE);

	return entry & PRESENT ? entry & PFN_MASK : 0;
}

static void tell(const char *name, int index, const char *at, uint64_t pfn)
{
	printf("page %s %d %d %p %#" PRIx64 " %" PRIu64 " %#" PRIx64 "\n", name, index, getpid(),
	       (void *)at, pfn, word(counts, pfn), word(flags, pfn));
}

static void tell_all(const char *name, const char *at, int pages)
{
	for (int page = 0; page < pages; page++)
		if (pfn_of(at + page * PAGE))
			tell(name, page, at + page * PAGE, pfn_of(at + page * PAGE));
}

static char *map(size_t size, int how, int fd)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, how, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static char *anon(int pages)
{
	char *at = map(pages * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	for (int page = 0; at && page < pages; page++)
		at[page * PAGE] = (char)(page + 1);
	return at;
}

/* Page N of four is in N + 1 buffers of a pipe; another one's mapping is gone, the pipe has it. */
static void splice_in(void)
{
	struct iovec part = { .iov_len = PAGE };
	char *at = anon(4), *orphan = anon(1);
	uint64_t pfn = pfn_of(orphan);
	int ends[2];

	if (pipe(ends))
		exit(1);
	for (int page = 0; page < 4; page++) {
		part.iov_base = at + page * PAGE;
		for (int time = 0; time <= page; time++)
			if (vmsplice(ends[1], &part, 1, 0) != (ssize_t)PAGE)
				printf("no vmsplice\n");
		tell("spliced", page, at + page * PAGE, pfn_of(part.iov_base));
		printf("pipe spliced %d %d\n", page, page + 1);
	}
	part.iov_base = orphan;
	if (vmsplice(ends[1], &part, 1, 0) != (ssize_t)PAGE)
		printf("no vmsplice\n");
	munmap(orphan, PAGE);
	tell("orphan", 0, orphan, pfn);
	printf("pipe orphan 0 1\n");
}

/* A file of tmpfs that two mappings map; its second page is in a pipe as well. */
static void share(void)
{
	int fd = memfd_create("holders", 0), ends[2];
	loff_t from = PAGE;
	char *at, *again;

	if (fd < 0 || ftruncate(fd, 3 * PAGE) || pipe(ends))
		exit(1);
	at = map(3 * PAGE, MAP_SHARED, fd);
	again = map(3 * PAGE, MAP_SHARED, fd);
	for (int page = 0; page < 3; page++)
		at[page * PAGE] = again[page * PAGE] = 1;
	if (splice(fd, &from, ends[1], NULL, PAGE, 0) != (ssize_t)PAGE)
		printf("no splice\n");
	tell_all("memfd", at, 3);
	printf("pipe memfd 1 1\n");
}

static void lock(void)
{
	char *at = anon(7), *later = map(5 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (mlock(at, 7 * PAGE) || munlock(at + 2 * PAGE, PAGE))
		printf("no mlock\n");
	if (syscall(SYS_mlock2, later, 5 * PAGE, 1))
		printf("no mlock2\n");
	later[PAGE] = 1;
	tell_all("locked", at, 7);
	tell_all("onfault", later, 5);
}

/* mlock() takes no account of these. */
static void lock_huge(void)
{
	char *at = map(HUGETLB, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);

	if (!at || mlock(at, HUGETLB))
		printf("no locked hugetlb\n");
}

/* Shared: two pages are reserved, one is used. Private: two are reserved, one is used. */
static void huge(void)
{
	char *shared, *private;
	int fd;

	put("/proc/sys/vm/nr_hugepages", "8");
	shared = map(2 * HUGETLB, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	private = map(2 * HUGETLB, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	if (!shared || !private) {
		printf("no hugetlb\n");
		return;
	}
	shared[0] = private[0] = 1;
	tell("hugetlb-shared", 0, shared, pfn_of(shared));
	tell("hugetlb-private", 0, private, pfn_of(private));
	fd = memfd_create("huge", 4); /* MFD_HUGETLB */
	if (fd >= 0 && !ftruncate(fd, HUGETLB)) {
		char *at = map(HUGETLB, MAP_SHARED, fd);
		uint64_t pfn;

		at[0] = 1;
		pfn = pfn_of(at);
		munmap(at, HUGETLB);
		tell("hugetlb-file", 0, at, pfn);
	}
	lock_huge();
}

static const char *swap_disk(void)
{
	static const char *const disks[][2] = {
		{ "/dev/vda", "/sys/block/vda/serial" }, { "/dev/vdb", "/sys/block/vdb/serial" },
	};

	for (size_t at = 0; at < sizeof(disks) / sizeof(*disks); at++) {
		char text[32] = "";
		int fd = open(disks[at][1], O_RDONLY);

		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && !strncmp(text, "swap", 4))
			return disks[at][0];
	}
	return "";
}

/* Eight pages go out to a disk; two come back by being read, two into the swap cache only. */
static void swapped(void)
{
	char *at = anon(8);
	volatile char sum = 0;

	put("/proc/sys/vm/page-cluster", "0");
	if (swapon(swap_disk(), 0) || madvise(at, 8 * PAGE, MADV_PAGEOUT)) {
		printf("no swap\n");
		return;
	}
	sum += at[0] + at[PAGE];
	madvise(at + 2 * PAGE, 2 * PAGE, MADV_WILLNEED);
	tell_all("swapped", at, 8);
}

static void thp(void)
{
	size_t size = 1UL << 21;
	char *at = map(2 * size, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	put("/sys/kernel/mm/transparent_hugepage/enabled", "always");
	at = (char *)(((uintptr_t)at + size - 1) & -size);
	madvise(at, size, MADV_HUGEPAGE);
	at[0] = 1;
	tell_all("thp", at, 2);
}

/* Its memory is locked, and a part moved away; older kernels then count what is locked nowhere. */
static void dontunmap(void)
{
	int ready[2];
	char byte;

	if (pipe(ready))
		exit(1);
	fflush(stdout);
	if (!fork()) {
		char *at = map(6 * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		/* Not by mremap(), which passes no address without MREMAP_FIXED. */
		if (mlock(at, 6 * PAGE) || syscall(SYS_mremap, at, 2 * PAGE, 2 * PAGE,
						   MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0) < 0)
			printf("no dontunmap\n");
		printf("dontunmap %d %ld\n", getpid(), number("/proc/self/status", "VmLck:"));
		fflush(stdout);
		if (write(ready[1], "", 1) == 1)
			for (;;)
				pause();
	}
	if (read(ready[0], &byte, 1) != 1)
		printf("no child\n");
}

int main(int argc, char **argv)
{
	char *fresh;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	counts = open("/proc/kpagecount", O_RDONLY);
	flags = open("/proc/kpageflags", O_RDONLY);
	splice_in();
	share();
	lock();
	huge();
	thp();
	swapped();
	if (argc > 1 && !strcmp(argv[argc - 1], "dontunmap"))
		dontunmap();
	printf("locked %d %ld\n", getpid(), number("/proc/self/status", "VmLck:"));
	printf("huge nr %ld\n", number("/proc/meminfo", "HugePages_Total:"));
	printf("huge free %ld\n", number("/proc/meminfo", "HugePages_Free:"));
	printf("huge resv %ld\n", number("/proc/meminfo", "HugePages_Rsvd:"));
	printf("huge surplus %ld\n", number("/proc/meminfo", "HugePages_Surp:"));
	fresh = anon(1); /* waits in a batch of its CPU's */
	tell("fresh", 0, fresh, pfn_of(fresh));
	printf("READY 1\n");
	fflush(stdout);
	for (;;)
		pause();
}
