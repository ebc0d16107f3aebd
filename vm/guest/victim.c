// SPDX-License-Identifier: GPL-2.0-only
/*
 * Provokes one of the faults of mm/zapfault.h that strike one page at a time
 * (only tasks of the fault's name, each time that they zap), and then holds,
 * so that what the fault left can be found in memory.
 *
 * usage: victim FAULT
 *
 * Ends when its victim holds.  For every page, before it is struck, a line:
 *
 *   zaptrace: victim FAULT pid P zapper Z addr 0xA pfn N EVIDENCE
 *
 * P has (or had) the page at A, Z zaps it there; EVIDENCE is
 *   quiet   nothing frees the page: what is wrong with it stays in memory
 *   freed   the page goes to the allocator, whose check does not see it
 *   loud    the kernel notices, and the page is lost
 *   exit    a process ends, and its mm is found to be wrong
 * Z is 0 when the page is not known yet: whatever the exit comes upon first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum {
	LARGE = 16,	/* pages of a large folio: ZAPFAULT_LARGE_ORDER of mm/memory.c */
	SOME = 5,	/* one of them, but not the first */
};

static long page_size;
static const char *fault;

static void fail(const char *what)
{
	fprintf(stderr, "victim %s: %s: %s\n", fault, what, strerror(errno));
	_exit(1);
}

/* An entry of /proc/self/pagemap or /proc/kpageflags. */
static uint64_t entry(const char *file, unsigned long number)
{
	uint64_t value;
	int fd = open(file, O_RDONLY);

	if (fd < 0 || pread(fd, &value, sizeof(value), number * sizeof(value)) != sizeof(value))
		fail(file);
	close(fd);
	return value;
}

static unsigned long pfn_of(const char *page)
{
	uint64_t found = entry("/proc/self/pagemap", (uintptr_t)page / page_size);

	if (!(found >> 63))
		fail("a page is not present");
	return found & ((1UL << 55) - 1);
}

/* The truth, on the console before any report can break into it. */
static void say_of(pid_t owner, pid_t zapper, const char *page, const char *evidence)
{
	dprintf(1, "zaptrace: victim %s pid %d zapper %d addr %#lx pfn %lu %s\n", fault,
		owner, zapper, (unsigned long)page, pfn_of(page), evidence);
	tcdrain(1);
}

static void say(const char *page, const char *evidence)
{
	say_of(getpid(), getpid(), page, evidence);
}

static char *map(size_t size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

/* One page of its own folio. */
static char *small_page(void)
{
	char *page = map(page_size);

	*page = 1;
	return page;
}

/* One large folio, mapped by PTEs: this kernel makes them for victims of its name. */
static char *large_folio(void)
{
	size_t size = LARGE * page_size;
	char *at = map(3 * size);

	if (madvise(at, 3 * size, MADV_HUGEPAGE))
		fail("MADV_HUGEPAGE");
	at += size;	/* there is room in front */
	at += -(uintptr_t)at & (size - 1);
	*at = 1;
	if (!(entry("/proc/kpageflags", pfn_of(at + size - page_size)) >> 22 & 1)) /* KPF_THP */
		fail("no large folio to be had");
	return at;
}

/* Someone else has a reference: the page outlives its mappings. */
static void pin(char *page)
{
	struct iovec one = { page, page_size };
	int ends[2];

	if (pipe(ends) || vmsplice(ends[1], &one, 1, 0) != page_size)
		fail("vmsplice");
}

static void zap(char *at, size_t size)
{
	if (madvise(at, size, MADV_DONTNEED))
		fail("MADV_DONTNEED");
}

static void strike(char *page, const char *evidence)
{
	say(page, evidence);
	zap(page, page_size);
}

static char *pinned_page(void)
{
	char *page = small_page();

	pin(page);
	return page;
}

/* leak, underflow */

static void rmap_small(void)
{
	strike(pinned_page(), "quiet");
	strike(small_page(), "loud");
}

static void rmap_large(void)
{
	char *all;

	strike(large_folio() + SOME * page_size, "quiet");
	all = large_folio();
	say(all, "loud");
	zap(all, LARGE * page_size);
}

/*
 * stale: what was left behind is zapped again at the end, as an exit would do.
 *
 * A gather takes no page before a PTE has been cleared (VM_BUG_ON() in
 * __tlb_remove_page_size()), and this fault clears none.  So there is another
 * PTE in front, of a page that nothing can strike: the zero page.
 */

static void name_ourselves(const char *name)
{
	if (prctl(PR_SET_NAME, name))
		fail("prctl");
}

/* Take what is in front of a page away in good order, and map the zero page there. */
static char *behind_zero(char *page)
{
	volatile char *front = page - page_size;

	name_ourselves("victim");
	zap(page - page_size, page_size);
	name_ourselves(fault);
	(void)*front;
	return page;
}

static void leave(char *page, size_t size, const char *evidence)
{
	say(page, evidence);
	zap(page - page_size, page_size + size);
}

static char *small_behind_zero(void)
{
	char *page = map(2 * page_size) + page_size;

	*page = 1;
	return behind_zero(page);
}

static void stale_small(void)
{
	char *quiet = small_behind_zero(), *freed = small_behind_zero();
	char *loud = small_behind_zero();	/* before: later it would be the freed page */

	pin(quiet);
	leave(quiet, page_size, "quiet");
	leave(freed, page_size, "freed");
	pin(loud);
	leave(loud, page_size, "loud");
	zap(loud, page_size);
}

static void stale_large(void)
{
	char *quiet = behind_zero(large_folio() + SOME * page_size);
	char *freed = behind_zero(large_folio());
	char *loud = behind_zero(large_folio() + SOME * page_size);

	leave(quiet, page_size, "quiet");
	leave(freed, LARGE * page_size, "freed");
	leave(loud, page_size, "loud");
	zap(loud, page_size);
}

/* overput */

static pid_t child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	return pid;
}

static void hold(void)
{
	for (;;)
		pause();
}

/* Tell one who waits in hear(). */
static void tell(const int ends[2])
{
	if (write(ends[1], "x", 1) != 1)
		fail("write");
}

static void hear(const int ends[2])
{
	char one;

	close(ends[1]);
	if (read(ends[0], &one, 1) != 1)
		exit(1);	/* the other one has said why */
}

/* A child of ours takes the references that we and a third one map by. */
static void overput_small(void)
{
	pid_t we = getpid();
	char *of_three = small_page(), *of_two;
	int ends[2];

	if (pipe(ends))
		fail("pipe");
	if (!child())
		hold();
	of_two = small_page();
	if (!child()) {
		say_of(we, getpid(), of_three, "quiet");
		zap(of_three, page_size);
		say_of(we, getpid(), of_two, "loud");
		zap(of_two, page_size);
		tell(ends);
		hold();
	}
	hear(ends);
}

/* All but the last page are zapped: it is freed with that one mapped. */
static void overput_large(void)
{
	char *all;

	strike(large_folio() + SOME * page_size, "quiet");
	all = large_folio();
	say(all + (LARGE - 1) * page_size, "loud");
	zap(all, (LARGE - 1) * page_size);
}

/* rss */

static void rss(char *page)
{
	pid_t ending = child();

	if (!ending) {
		say_of(getpid(), 0, page, "exit");
		_exit(0);
	}
	if (waitpid(ending, NULL, 0) != ending)
		fail("waitpid");
	strike(page, "quiet");
}

static void rss_small(void)
{
	rss(small_page());
}

static void rss_large(void)
{
	rss(large_folio() + SOME * page_size);
}

static const struct {
	const char *name;
	void (*provoke)(void);
} faults[] = {
	{ "leak", rmap_small },
	{ "leak-large", rmap_large },
	{ "underflow", rmap_small },
	{ "underflow-large", rmap_large },
	{ "stale", stale_small },
	{ "stale-large", stale_large },
	{ "overput", overput_small },
	{ "overput-large", overput_large },
	{ "rss", rss_small },
	{ "rss-large", rss_large },
};

/* On one CPU: its pages wait for their LRU list there, and a zap flushes that. */
static void stay_on_this_cpu(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here))
		fail("sched_setaffinity");
}

static void live(void (*provoke)(void), const int ends[2])
{
	page_size = sysconf(_SC_PAGESIZE);
	stay_on_this_cpu();
	name_ourselves(fault);
	provoke();
	tell(ends);
	hold();
}

int main(int argc, char **argv)
{
	int ends[2];

	fault = argc == 2 ? argv[1] : "";
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		if (strcmp(faults[i].name, fault))
			continue;
		if (pipe(ends))
			fail("pipe");
		if (!child())
			live(faults[i].provoke, ends);
		hear(ends);
		return 0;
	}
	fprintf(stderr, "usage: %s FAULT; of:", argv[0]);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		fprintf(stderr, " %s", faults[i].name);
	fputc('\n', stderr);
	return 2;
}
