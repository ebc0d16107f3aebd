// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the triggers of the zoo share.  A trigger is one file with a trigger(): it
 * provokes its bug and returns; what must stay in memory stays in a child that holds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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
#include <termios.h>
#include <unistd.h>

static long page_size;

/* Does not return. */
static inline void fail(const char *what)
{
	fprintf(stderr, "zaptrace: zoo failed: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* A line that the host reads, on the console before a report can break into it. */
#define say(...) do { dprintf(1, "zaptrace: zoo " __VA_ARGS__); tcdrain(1); } while (0)

static inline void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd))
		fail(path);
}

static inline unsigned long number_in(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 1)
		fail(path);
	close(fd);
	return strtoul(text, NULL, 10);
}

/* The pfn behind an address of ours. */
static inline unsigned long pfn_of(const void *at)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)at / page_size * sizeof(entry)) !=
	    sizeof(entry) || !(entry >> 63))
		fail("pagemap");
	close(fd);
	return entry & ((1UL << 55) - 1);
}

/* KPF_ flags, by their numbers in include/uapi/linux/kernel-page-flags.h. */
static inline uint64_t flags_of(unsigned long pfn)
{
	uint64_t flags;
	int fd = open("/proc/kpageflags", O_RDONLY);

	if (fd < 0 || pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		fail("kpageflags");
	close(fd);
	return flags;
}

static inline void *map(size_t size, int protection, int flags, int fd)
{
	void *at = mmap(NULL, size, protection, flags, fd, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static inline void *anonymous(size_t size)
{
	return map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* A tmpfs file whose every two bytes are an instruction, for uprobes to sit on. */
static inline int code_file(const char *path, int pages)
{
#ifdef __s390x__
	static const char nop[2] = { 0x07, 0x07 };	/* bcr 0,%r7 */
#else
	static const char nop[2] = { (char)0x90, (char)0x90 };
#endif
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0755);

	if (fd < 0)
		fail(path);
	for (long at = 0; at < pages * page_size; at += sizeof(nop)) {
		if (write(fd, nop, sizeof(nop)) != sizeof(nop))
			fail(path);
	}
	return fd;
}

/* A uprobe on the first instruction of a file, in every mm that maps it. */
static inline void probe(const char *path)
{
	char definition[128];

	snprintf(definition, sizeof(definition), "p:zoo/probe %s:0x0\n", path);
	write_to("/sys/kernel/tracing/uprobe_events", definition);
	write_to("/sys/kernel/tracing/events/zoo/probe/enable", "1");
}

/*
 * Do the work in a child, and see it through to its end, or, where it is to stay,
 * until it holds.
 */
static inline void in_child(void (*work)(void), int stays)
{
	int ends[2], status;
	char one;
	pid_t pid;

	if (pipe(ends) || (pid = fork()) < 0)
		fail("fork");
	if (!pid) {
		close(ends[0]);
		work();
		if (write(ends[1], "x", 1) != 1)
			_exit(1);
		while (stays)
			pause();
		_exit(0);
	}
	close(ends[1]);
	if (read(ends[0], &one, 1) != 1)
		fail("the child ended early");
	close(ends[0]);
	if (!stays && (waitpid(pid, &status, 0) != pid || status))
		fail("the child");
}

static void trigger(void);

int main(void)
{
	page_size = sysconf(_SC_PAGESIZE);
	trigger();
	return 0;
}
