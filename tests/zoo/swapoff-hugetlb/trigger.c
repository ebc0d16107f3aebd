// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process with a private huge page of 1 GB has ordinary pages swapped out, and the
 * swap area is taken away.  The guest needs hugepagesz=1G hugepages=1.
 */
#include "../trigger.h"
#include "../swap.h"

#define HUGE (1UL << 30)
#define PAGES 16

static void swapped(void)
{
	char *small = anonymous(PAGES * page_size);
	char *huge = map(HUGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT, -1);

	*huge = 1;
	memset(small, 1, PAGES * page_size);
	say("pid %d addr %#lx pfn %lu: 1 GB\n", getpid(), (unsigned long)huge, pfn_of(huge));
	if (madvise(small, PAGES * page_size, MADV_PAGEOUT))
		fail("MADV_PAGEOUT");
	if (swapoff(DEVICE))
		fail("swapoff");
}

static void trigger(void)
{
	make_swap();
	in_child(swapped, 0);
	say("%lu huge pages are free\n",
	    number_in("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages"));
}
