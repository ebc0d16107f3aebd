// SPDX-License-Identifier: GPL-2.0-only
/* The huge zero page is poisoned and unpoisoned while a process has it mapped. */
#include "../trigger.h"
#include "../hwpoison.h"

#define HUGE (2UL << 20)

static void mapped(void)
{
	char *area = anonymous(2 * HUGE);
	char *page = (char *)(((uintptr_t)area + HUGE - 1) & -HUGE);

	if (madvise(page, HUGE, MADV_HUGEPAGE))
		fail("MADV_HUGEPAGE");
	if (*(volatile char *)page)
		fail("a new page is not zero");
	say("pid %d addr %#lx pfn %lu: the huge zero page\n", getpid(), (unsigned long)page,
	    pfn_of(page));
	poison_and_unpoison(pfn_of(page));
}

static void trigger(void)
{
	mount_debugfs();
	in_child(mapped, 1);
}
