// SPDX-License-Identifier: GPL-2.0-only
/* Victims of the faults of the zap: each zap that they do is struck. */
#include "victim.h"

enum {
	LARGE = 16,	/* pages of a large folio: ZAPFAULT_LARGE_ORDER of mm/memory.c */
	SOME = 5,	/* one of them, but not the first */
};

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
		fail("no large folio available");
	return at;
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

void rmap_small(void)
{
	strike(pinned_page(), "quiet");
	strike(small_page(), "loud");
}

void rmap_large(void)
{
	char *all;

	strike(large_folio() + SOME * page_size, "quiet");
	all = large_folio();
	say(all, "loud");
	zap(all, LARGE * page_size);
}

/*
 * stale: the PTE that was left is zapped again at the end, as an exit would do.
 *
 * A gather takes no page before a PTE has been cleared (VM_BUG_ON() in
 * __tlb_remove_page_size()), and this fault clears none.  So there is another
 * PTE in front, of a page that nothing can strike: the zero page.
 */

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

void stale_small(void)
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

void stale_large(void)
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

/* A child of ours takes the references that we and a third one map by. */
void overput_small(void)
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
void overput_large(void)
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

void rss_small(void)
{
	rss(small_page());
}

/*
 * 7.x zaps what comes after empty PTEs in the same call, where an exit would not
 * be struck: the folio is the first of its mapping.
 */
void rss_large(void)
{
	size_t size = LARGE * page_size;
	char *all = large_folio();

	if (munmap(all - size, size))
		fail("munmap");
	rss(all + SOME * page_size);
}
