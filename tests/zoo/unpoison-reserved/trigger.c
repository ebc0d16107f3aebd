// SPDX-License-Identifier: GPL-2.0-only
/* A page of the kernel's own code is poisoned and unpoisoned. */
#include "../trigger.h"
#include "../hwpoison.h"

#define KPF_RESERVED 32

static unsigned long page_of_the_kernel(void)
{
	unsigned long pfn = 0x1000000 / page_size;	/* where x86_64 has its image */

	if (!(flags_of(pfn) >> KPF_RESERVED & 1))
		fail("the page is not reserved");
	return pfn;
}

static void trigger(void)
{
	unsigned long pfn = page_of_the_kernel();

	mount_debugfs();
	say("pfn %lu: a page of the kernel's own\n", pfn);
	poison_and_unpoison(pfn);
}
