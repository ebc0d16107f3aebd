// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds one mapping of each kind, says which page lies where and what the kernel counts for
 * it, and stays.  Lines on stdout: "map PID ADDRESS PAGES NAME", "page ADDRESS PFN MAPCOUNT FLAGS"
 * (/proc/kpageflags), "no NAME" for what this kernel does not have, at last "READY PID".
 * Runs as init, too: it mounts what it needs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <inttypes.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __s390x__
#define HUGETLB (1UL << 20)
#else
#define HUGETLB (1UL << 21)
#endif
#define PAGE 4096UL
#define NO_MEMORY 0x80000000UL
#define PRESENT (1ULL << 63)
#define SWAPPED (1ULL << 62)
#define PFN_MASK ((1ULL << 55) - 1)
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static struct {
	const char *name;
	char *at;
	size_t pages;
} maps[32];
static int nr_maps;
static char *both;

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		printf("no %s\n", path);
	close(fd);
}

static long number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return atol(text);
}

static char *keep(const char *name, char *at, size_t pages)
{
	if (at == MAP_FAILED) {
		printf("no %s\n", name);
		return NULL;
	}
	maps[nr_maps].name = name;
	maps[nr_maps].at = at;
	maps[nr_maps++].pages = pages;
	return at;
}

static char *map(const char *name, size_t pages, int flags, int fd)
{
	return keep(name, mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0), pages);
}

static void touch(char *at, size_t pages, int distinct)
{
	for (size_t page = 0; at && page < pages; page++)
		memset(at + page * PAGE, distinct ? (int)(page + 1) : 0x5a, 64);
}

/* A region of `size` bytes, aligned, with huge pages asked for. */
static char *huge_region(const char *name, size_t size)
{
	char *at = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return keep(name, at, 0);
	at = (char *)(((uintptr_t)at + size - 1) & -size);
	madvise(at, size, MADV_HUGEPAGE);
	return keep(name, at, size / PAGE);
}

/* The same with a huge page in it. */
static char *huge(const char *name, size_t size)
{
	char *at = huge_region(name, size);

	touch(at, 1, 1);
	return at;
}

static void merge(void)
{
	char *at = map("ksm", 8, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	touch(at, 8, 0);
	if (!at || madvise(at, 8 * PAGE, MADV_MERGEABLE)) {
		printf("no ksm merging\n");
		return;
	}
	put("/sys/kernel/mm/ksm/sleep_millisecs", "10");
	put("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	put("/sys/kernel/mm/ksm/run", "1");
	for (int tries = 0; tries < 1200 && number("/sys/kernel/mm/ksm/pages_sharing") < 7; tries++)
		usleep(50000);
	if (number("/sys/kernel/mm/ksm/pages_sharing") < 7)
		printf("no ksm merging\n");
	put("/sys/kernel/mm/ksm/run", "0");
}

static void files(void)
{
	char *at;
	int fd = open("/proc/self/exe", O_RDONLY);
	volatile char sum = 0;

	at = keep("file", mmap(NULL, 8 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0), 8);
	for (int page = 0; at && page < 8; page++)
		sum += at[page * PAGE];
	fd = memfd_create("mappings", 0);
	if (fd >= 0 && !ftruncate(fd, 4 * PAGE)) {
		touch(map("memfd", 4, MAP_SHARED, fd), 4, 1);
		touch(map("memfd again", 4, MAP_SHARED, fd), 4, 1);
		touch(map("memfd copied", 4, MAP_PRIVATE, fd), 2, 1);
	}
	fd = syscall(SYS_memfd_secret, 0);
	if (fd >= 0 && !ftruncate(fd, 2 * PAGE))
		touch(map("secretmem", 2, MAP_SHARED, fd), 2, 1);
	else
		printf("no secretmem\n");
}

/* Pages that userfaultfd guards against writing. */
static void protect(void)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };
	char *at = map("userfaultfd", 8, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect guard = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	touch(at, 6, 1);
	area.range.start = guard.range.start = (uintptr_t)at;
	area.range.len = 8 * PAGE;
	guard.range.len = 4 * PAGE;
	if (fd < 0 || !at || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &area) ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &guard))
		printf("no userfaultfd write protection\n");
}

/* The guest's disk is formatted as swap space. */
static void swap_out(void)
{
	char *at = map("swapped", 16, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	touch(at, 16, 1);
	if (!at || swapon("/dev/vda", 0) || madvise(at, 12 * PAGE, MADV_PAGEOUT))
		printf("no swapping out\n");
}

/* Where no memory is: remap_pfn_range() maps it at once, and nobody may look at it. */
static void no_memory(void)
{
	int fd = open("/dev/mem", O_RDONLY);

	keep("pfnmap", mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, NO_MEMORY), 4);
}

#ifdef __s390x__
/* Page tables get another level for an address beyond what they reach. */
static void far(const char *name, uintptr_t at)
{
	touch(keep(name, mmap((void *)at, 2 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 2), 2, 1);
}
#endif

static void build(void)
{
	size_t block = number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
	volatile char sum = 0;
	char *at;

	touch(map("anon", 16, MAP_PRIVATE | MAP_ANONYMOUS, -1), 16, 1);
	touch(map("shmem", 8, MAP_SHARED | MAP_ANONYMOUS, -1), 8, 1);
	at = map("zero", 4, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int page = 0; at && page < 4; page++)
		sum += at[page * PAGE];
	at = map("prot_none", 4, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	touch(at, 4, 1);
	if (at)
		mprotect(at, 4 * PAGE, PROT_NONE);
	at = map("guard", 4, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (at && madvise(at, 4 * PAGE, MADV_GUARD_INSTALL))
		printf("no guard\n");
	if (block) {
		/* hugepage_init() leaves all of it off in less than 512 MB. */
		put("/sys/kernel/mm/transparent_hugepage/enabled", "always");
		put("/sys/kernel/mm/transparent_hugepage/use_zero_page", "1");
		huge("thp", block);
		at = huge("thp by PTE", block);
		if (at)
			mprotect(at + 8 * PAGE, 4 * PAGE, PROT_READ);
		at = huge("thp in part", block);
		if (at)
			munmap(at + 16 * PAGE, 4 * PAGE);
		both = huge("thp by PMD and PTE", block);
		at = huge_region("huge zero", block);
		if (at)
			sum += at[0];
	}
	put("/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled", "always");
	touch(map("smaller thp", 32, MAP_PRIVATE | MAP_ANONYMOUS, -1), 32, 1);
	/* Their struct pages are then one page that is mapped again and again. */
	put("/proc/sys/vm/hugetlb_optimize_vmemmap", "1");
	put("/proc/sys/vm/nr_hugepages", "2");
	at = mmap(NULL, HUGETLB, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	touch(keep("hugetlb", at, HUGETLB / PAGE), 1, 1);
	merge();
	files();
	protect();
	swap_out();
	no_memory();
#ifdef __s390x__
	far("above 4 TB", 1UL << 42);
#endif
}

static uint64_t word(int fd, uint64_t index)
{
	uint64_t value = 0;

	return pread(fd, &value, sizeof(value), index * sizeof(value)) == sizeof(value) ? value : 0;
}

/* The mappings from `first` on, as they are in this process. */
static void tell(int first)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	int counts = open("/proc/kpagecount", O_RDONLY);
	int flags = open("/proc/kpageflags", O_RDONLY);
	int swapped = 0;

	for (int number = first; number < nr_maps; number++) {
		printf("map %d %p %zu %s\n", getpid(), (void *)maps[number].at,
		       maps[number].pages, maps[number].name);
		for (size_t page = 0; page < maps[number].pages; page++) {
			uintptr_t at = (uintptr_t)maps[number].at + page * PAGE;
			uint64_t entry = word(pagemap, at / PAGE);

			if (entry & SWAPPED)
				swapped++;
			if (entry & PRESENT)
				printf("page %#" PRIxPTR " %#llx %" PRIu64 " %#" PRIx64 "\n", at,
				       entry & PFN_MASK, word(counts, entry & PFN_MASK),
				       word(flags, entry & PFN_MASK));
		}
	}
	if (!first)
		printf("swapped %d\n", swapped);
}

/*
 * A child of fork() shares all of it, splits a PMD of its own, and maps what its parent does not;
 * a child of its vfork() borrows the child's mm.  Returns when both are there.
 */
static void family(void)
{
	int first = nr_maps, ready[2];
	char byte;

	fflush(stdout);
	if (pipe(ready))
		printf("no pipe\n");
	if (fork()) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			printf("no family\n");
		return;
	}
	if (both)
		mprotect(both + 8 * PAGE, 4 * PAGE, PROT_READ);
#ifdef __s390x__
	far("above 8 PB", 1UL << 53);
#endif
	tell(first);
	fflush(stdout);
	if (!vfork()) {
		if (write(ready[1], "", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	for (;;)
		pause();
}

int main(void)
{
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (getpid() == 1) {
		mkdir("/proc", 0755);
		mkdir("/sys", 0755);
		mkdir("/dev", 0755);
		mount("proc", "/proc", "proc", 0, NULL);
		mount("sysfs", "/sys", "sysfs", 0, NULL);
		mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	}
	build();
	family();
	tell(0);
	printf("READY %d\n", getpid());
	fflush(stdout);
	for (;;)
		pause();
}
