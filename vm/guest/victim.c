// SPDX-License-Identifier: GPL-2.0-only
/*
 * Provokes one of the faults of mm/zapfault.h that strike one page at a time
 * (only tasks of the fault's name), and then holds, so that what the fault left
 * can be found in memory.
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
 *   lost    nothing maps the page any more, and nothing frees it
 * Z is 0 when the page is not known yet: whatever the exit comes upon first.
 */
#include "victim.h"

long page_size;
const char *fault;

void fail(const char *what)
{
	fprintf(stderr, "victim %s: %s: %s\n", fault, what, strerror(errno));
	_exit(1);
}

/* An entry of /proc/self/pagemap or /proc/kpageflags. */
uint64_t entry(const char *file, unsigned long number)
{
	uint64_t value;
	int fd = open(file, O_RDONLY);

	if (fd < 0 || pread(fd, &value, sizeof(value), number * sizeof(value)) != sizeof(value))
		fail(file);
	close(fd);
	return value;
}

unsigned long pfn_of(const char *page)
{
	uint64_t found = entry("/proc/self/pagemap", (uintptr_t)page / page_size);

	if (!(found >> 63))
		fail("a page is not present");
	return found & ((1UL << 55) - 1);
}

/* The truth, on the console before any report can break into it. */
void say_at(pid_t owner, pid_t zapper, const char *at, unsigned long pfn, const char *evidence)
{
	dprintf(1, "zaptrace: victim %s pid %d zapper %d addr %#lx pfn %lu %s\n", fault,
		owner, zapper, (unsigned long)at, pfn, evidence);
	tcdrain(1);
}

void say_of(pid_t owner, pid_t zapper, const char *page, const char *evidence)
{
	say_at(owner, zapper, page, pfn_of(page), evidence);
}

void say(const char *page, const char *evidence)
{
	say_of(getpid(), getpid(), page, evidence);
}

char *map(size_t size)
{
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

/* One page of its own folio. */
char *small_page(void)
{
	char *page = map(page_size);

	*page = 1;
	return page;
}

/* Someone else has a reference: the page outlives its mappings.  Returns who: a pipe. */
int pin(char *page)
{
	struct iovec one = { page, page_size };
	int ends[2];

	if (pipe(ends) || vmsplice(ends[1], &one, 1, 0) != page_size)
		fail("vmsplice");
	return ends[0];
}

void zap(char *at, size_t size)
{
	if (madvise(at, size, MADV_DONTNEED))
		fail("MADV_DONTNEED");
}

/* A page of a marked VMA: of all VMAs, the faults outside the zap strike only those. */
char *marked_page(void)
{
	char *page = map(page_size);

	if (madvise(page, page_size, MADV_DONTDUMP))
		fail("MADV_DONTDUMP");
	*page = 1;
	return page;
}

/* New pages wait for their LRU list, with a reference: a zap ends that. */
void settle(void)
{
	zap(map(page_size), page_size);
}

void name_ourselves(const char *name)
{
	if (prctl(PR_SET_NAME, name))
		fail("prctl");
}

pid_t child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	return pid;
}

void hold(void)
{
	for (;;)
		pause();
}

/* Tell one who waits in hear(). */
void tell(const int ends[2])
{
	if (write(ends[1], "x", 1) != 1)
		fail("write");
}

void hear(const int ends[2])
{
	char one;

	close(ends[1]);
	if (read(ends[0], &one, 1) != 1)
		exit(1);	/* the other one has said why */
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
	{ "cow", cow },
	{ "fork", forked },
	{ "mprotect", lost_in_mprotect },
	{ "mremap", lost_in_mremap },
	{ "pipe", pipes },
	{ "read", reads },
	{ "scribble", scribble },
	{ "flag", flag },
	{ "hold", held },
	{ "twice", put_when_free },
	{ "driver", driver },
	{ "migrate", migrate },
	{ "swap", reclaim },
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
