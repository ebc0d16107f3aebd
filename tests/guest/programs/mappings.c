// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds one mapping of each kind, says which page lies where and what the kernel counts for
 * it, and stays.  Lines on stdout: "map PID ADDRESS PAGES STEP NAME", "page ADDRESS PFN MAPCOUNT
 * FLAGS" (/proc/kpageflags) for every STEP-th page, "absent PAGES NAME" for entries that map
 * nothing now, "executing PID" for who stays inside execve(), "no NAME" for what this kernel does
 * not have, at last "READY PID".
 * Runs as init, too: it mounts what it needs.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
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

#include "pages.h"

#define GIGABYTE (1UL << 30)
#define NO_MEMORY 0x80000000UL
#define SWAPPED (1ULL << 62)
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static struct {
	const char *name;
	char *at;
	size_t pages, step;
} maps[48];
static int nr_maps;
static char *both;

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

/* What a kernel that has no disks of its own needs for them; in the order of their names. */
static void load_modules(void)
{
	struct dirent **names;
	int count = scandir("/modules", &names, NULL, alphasort);

	for (int number = 0; number < count; number++) {
		char path[512];
		int fd;

		snprintf(path, sizeof(path), "/modules/%s", names[number]->d_name);
		fd = open(path, O_RDONLY);
		if (names[number]->d_name[0] != '.' && syscall(SYS_finit_module, fd, "", 0))
			printf("no %s\n", path);
		close(fd);
	}
}

/* A disk by its serial: they are found in any order. */
static const char *disk(const char *serial)
{
	static const char *const disks[][2] = {
		{ "/dev/vda", "/sys/block/vda/serial" }, { "/dev/vdb", "/sys/block/vdb/serial" },
	};

	for (size_t number = 0; number < sizeof(disks) / sizeof(*disks); number++) {
		char text[32] = "";
		int fd = open(disks[number][1], O_RDONLY);

		if (fd < 0)
			continue;
		if (read(fd, text, sizeof(text) - 1) > 0 && !strncmp(text, serial, strlen(serial))) {
			close(fd);
			return disks[number][0];
		}
		close(fd);
	}
	return "";
}

static char *keep(const char *name, char *at, size_t pages)
{
	if (at == MAP_FAILED) {
		printf("no %s\n", name);
		return NULL;
	}
	maps[nr_maps].name = name;
	maps[nr_maps].at = at;
	maps[nr_maps].step = 1;
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

/* One of the guest's disks is formatted as swap space. */
static void swap_out(void)
{
	char *at = map("swapped", 16, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	touch(at, 16, 1);
	if (!at || swapon(disk("swap"), 0) || madvise(at, 12 * PAGE, MADV_PAGEOUT))
		printf("no swapping out\n");
}

/* Where no memory is: remap_pfn_range() maps it at once, and it must not be accessed. */
static void no_memory(void)
{
	int fd = open("/dev/mem", O_RDONLY);

	keep("pfnmap", mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, NO_MEMORY), 4);
}

/* For an address beyond what they reach s390x's page tables get another level; x86_64's have it. */
static void far(const char *name, uintptr_t at)
{
	char *got = mmap((void *)at, 2 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if ((uintptr_t)got != at)
		got = MAP_FAILED;
	touch(keep(name, got, 2), 2, 1);
}

/*
 * One leaf of the third level, if a page was set aside at boot.  Told in steps: the console would
 * have to carry 262144 lines.
 */
static void gigabyte(void)
{
	char *at;

	at = mmap(NULL, GIGABYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
		  30 << MAP_HUGE_SHIFT, -1, 0);
	if (!keep("leaf of 1 GB", at, GIGABYTE / PAGE))
		return;
	maps[nr_maps - 1].step = 16411;
	touch(at, 1, 1);
}

static void told_of_failure(int number)
{
	(void)number;
}

/*
 * Pages that "fail": the kernel takes them away, and who touches them gets SIGBUS.  Some kernels
 * send one at once, and end who ignores it.
 */
static void poison(void)
{
	char *at = map("hwpoison", 8, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	touch(at, 8, 1);
	signal(SIGBUS, told_of_failure);
	if (at && madvise(at + 3 * PAGE, 2 * PAGE, MADV_HWPOISON))
		printf("no hwpoison\n");
	else
		printf("absent 2 hwpoison\n");
}

/* lib/test_hmm_uapi.h */
struct device_command {
	uint64_t addr, ptr, npages, cpages, faults;
};

#define TO_DEVICE _IOWR('H', 0x02, struct device_command)
#define EXCLUSIVELY _IOWR('H', 0x05, struct device_command)

static int device_takes(int fd, unsigned long how, char *at, size_t pages)
{
	static char mirror[16 * PAGE];
	struct device_command command = {
		.addr = (uintptr_t)at, .ptr = (uintptr_t)mirror, .npages = pages,
	};

	return at ? ioctl(fd, how, &command) : -1;
}

/* Pages that move into the memory of a device, or that the device gets for itself. */
static void device(const char *name, unsigned long how, size_t pages)
{
	int fd = open("/dev/hmm_dmirror0", O_RDWR);
	char *at = map(name, 8, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	touch(at, 8, 1);
	if (fd < 0 || device_takes(fd, how, at, pages))
		printf("no %s\n", name);
	else
		printf("absent %zu %s\n", pages, name);
}

/* A file on persistent memory; the file system comes from a disk. */
static void persistent(void)
{
	static char block[1 << 16];
	int from = open(disk("files"), O_RDONLY), to = open("/dev/pmem0", O_RDWR);
	ssize_t got;
	char *at;
	int fd;

	while (from >= 0 && to >= 0 && (got = read(from, block, sizeof(block))) > 0)
		if (write(to, block, got) != got)
			break;
	close(to);
	mkdir("/dax", 0755);
	if (from < 0 || to < 0 ||
	    (mount("/dev/pmem0", "/dax", "ext2", 0, "dax") &&
	     mount("/dev/pmem0", "/dax", "ext4", 0, "dax=always"))) {
		printf("no DAX\n");
		return;
	}
	fd = open("/dax/file", O_RDWR | O_CREAT, 0644);
	if (posix_fallocate(fd, 0, 4 * PAGE))
		printf("no DAX\n");
	at = map("DAX", 4, MAP_SHARED, fd);
	touch(at, 4, 1);
}

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
	poison();
	device("device private", TO_DEVICE, 5);
	persistent();
	gigabyte();
#ifdef __s390x__
	far("above 4 TB", 1UL << 42);
#else
	far("above 128 TB", 1UL << 48);
#endif
}

/* The mappings from `first` on, as they are in this process. */
static void tell(int first)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	int counts = open("/proc/kpagecount", O_RDONLY);
	int flags = open("/proc/kpageflags", O_RDONLY);
	int swapped = 0;

	for (int number = first; number < nr_maps; number++) {
		printf("map %d %p %zu %zu %s\n", getpid(), (void *)maps[number].at,
		       maps[number].pages, maps[number].step, maps[number].name);
		for (size_t page = 0; page < maps[number].pages; page += maps[number].step) {
			uintptr_t at = (uintptr_t)maps[number].at + page * PAGE;
			uint64_t entry = word(pagemap, at / PAGE);

			/* pagemap says so of every entry that is not present. */
			if (entry & SWAPPED && !strcmp(maps[number].name, "swapped"))
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

static int fault_of(int pid, int fd)
{
	int process = syscall(SYS_pidfd_open, pid, 0);
	struct pollfd faults = { .fd = syscall(SYS_pidfd_getfd, process, fd, 0), .events = POLLIN };

	return poll(&faults, 1, 60000) == 1 && faults.revents == POLLIN;
}

/*
 * A child that stays inside execve(): it copies the arguments from the last to the first, and
 * its fault at the one before the last, which userfaultfd watches, is never answered.
 */
static void executing(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *argv[] = { "/init", NULL, NULL, NULL };
	int ready[2], fd;
	pid_t child;

	if (pipe(ready))
		return;
	fflush(stdout);
	child = fork();
	if (child) {
		if (read(ready[0], &fd, sizeof(fd)) == sizeof(fd) && fault_of(child, fd))
			printf("executing %d\n", child);
		else
			printf("no execve\n");
		return;
	}
	argv[1] = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	argv[2] = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(argv[2], 'x', 7 * PAGE);
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	area.range.start = (uintptr_t)argv[1];
	area.range.len = PAGE;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &area) ||
	    write(ready[1], &fd, sizeof(fd)) != sizeof(fd))
		_exit(1);
	execv(argv[0], argv);
	_exit(1);
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
		load_modules();
	}
	executing();
	build();
	family();
	/* fork() gives them back. */
	device("device exclusive", EXCLUSIVELY, 3);
	tell(0);
	printf("READY %d\n", getpid());
	fflush(stdout);
	for (;;)
		pause();
}
