// SPDX-License-Identifier: GPL-2.0-only
/*
 * KSM replaces pages full of zeros by the shared zero page.  One process ends then,
 * another one stays.
 */
#include "../trigger.h"

#define KSM "/sys/kernel/mm/ksm/"
#define PAGES 16
#define KPF_ZERO_PAGE 24

static void merged(void)
{
	char *pages = anonymous(PAGES * page_size);
	unsigned long scans;

	for (int i = 0; i < PAGES; i++)
		*(volatile char *)(pages + i * page_size) = 0;
	if (madvise(pages, PAGES * page_size, MADV_MERGEABLE))
		fail("MADV_MERGEABLE");
	say("pid %d addr %#lx: %d pages of zeros\n", getpid(), (unsigned long)pages, PAGES);
	scans = number_in(KSM "full_scans");
	while (number_in(KSM "full_scans") < scans + 3)
		usleep(10000);
	for (int i = 0; i < PAGES; i++) {
		/* s390x has several of them. */
		if (!(flags_of(pfn_of(pages + i * page_size)) >> KPF_ZERO_PAGE & 1))
			fail("the pages were not merged");
	}
}

static void trigger(void)
{
	write_to(KSM "use_zero_pages", "1");
	write_to(KSM "pages_to_scan", "1000");
	write_to(KSM "run", "1");
	in_child(merged, 0);
	in_child(merged, 1);
	write_to(KSM "run", "0");
}
