// SPDX-License-Identifier: GPL-2.0-only
/*
 * Victims of the faults of other functions than the zap.  Where Z zaps a page, it
 * does so in good order, and what was done to the page before comes out then.
 */
#include "victim.h"

/* A child writes to our pages, gets copies, and leaves the pages counted as its own. */
void cow(void)
{
	pid_t we = getpid();
	char *quiet = marked_page(), *loud = marked_page();
	int ends[2];

	if (pipe(ends))
		fail("pipe");
	if (!child()) {
		say_of(we, getpid(), quiet, "quiet");
		*(volatile char *)quiet = 2;
		say_of(we, we, loud, "loud");
		*(volatile char *)loud = 2;
		tell(ends);
		hold();
	}
	hear(ends);
	zap(loud, page_size);
}

/* A child maps our pages uncounted, and unmaps one of them; then we do. */
void forked(void)
{
	char *quiet = marked_page(), *loud = marked_page();
	int ends[2];

	if (pipe(ends))
		fail("pipe");
	say(quiet, "quiet");
	say(loud, "loud");
	if (!child()) {
		zap(loud, page_size);
		tell(ends);
		hold();
	}
	hear(ends);
	zap(loud, page_size);
}

static void protect(char *page, char *same)
{
	(void)same;
	if (mprotect(page, page_size, PROT_READ))
		fail("mprotect");
}

static void move(char *from, char *to)
{
	if (mremap(from, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		fail("mremap");
}

/*
 * A PTE is lost, that of the page at @from on its way to @to: a child of ours ends
 * without it, and we live on without another.
 */
static void lose(void (*lose_pte)(char *from, char *to))
{
	pid_t ending = child();
	char *from = marked_page(), *to = lose_pte == move ? map(page_size) : from;

	say_at(getpid(), ending ? getpid() : 0, to, pfn_of(from), ending ? "quiet" : "exit");
	lose_pte(from, to);
	if (!ending)
		_exit(0);
	if (waitpid(ending, NULL, 0) != ending)
		fail("waitpid");
}

void lost_in_mprotect(void)
{
	lose(protect);
}

void lost_in_mremap(void)
{
	lose(move);
}

static void put_by_pipe(char *page, const char *evidence)
{
	char copy[page_size];

	settle();
	say(page, evidence);
	if (read(pin(page), copy, page_size) != page_size)
		fail("read");
}

void pipes(void)
{
	char *of_two = small_page();

	if (!child())
		hold();
	put_by_pipe(of_two, "quiet");
	put_by_pipe(small_page(), "loud");
}

/* read() of a file takes the reference that its page cache, or a mapping, has. */
void reads(void)
{
	int file = memfd_create("victim", 0);
	char copy[page_size], *pages;

	if (file < 0 || ftruncate(file, 2 * page_size))
		fail("memfd");
	pages = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (pages == MAP_FAILED)
		fail("mmap");
	pages[0] = pages[page_size] = 1;
	settle();
	for (int i = 0; i < 2; i++) {
		say(pages + i * page_size, i ? "loud" : "quiet");
		if (pread(file, copy, page_size, i * page_size) != page_size)
			fail("pread");
	}
	settle();	/* what is read waits for another LRU list */
	zap(pages + page_size, page_size);
}

static char *struck_by_stray_store(const char *evidence)
{
	static const char parameter[] = "/sys/module/kernel/parameters/zapfault_pfn";
	int fd = open(parameter, O_WRONLY);
	char *page = small_page();
	struct utsname any;

	say(page, evidence);
	if (fd < 0 || dprintf(fd, "%lu", pfn_of(page)) < 0 || close(fd) || uname(&any))
		fail(parameter);
	return page;
}

void scribble(void)
{
	struck_by_stray_store("quiet");
	zap(struck_by_stray_store("loud"), page_size);
}

void flag(void)
{
	zap(struck_by_stray_store("loud"), page_size);
}
