// SPDX-License-Identifier: GPL-2.0-only
/*
 * Half of an mlock()ed mapping is moved with MREMAP_DONTUNMAP, and then all of it
 * is unmapped: the process is left with locked pages in its account and none mapped.
 */
#include "../trigger.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define PAGES 8

static void moved(void)
{
	char *old = anonymous(PAGES * page_size);
	long new;

	if (mlock(old, PAGES * page_size))
		fail("mlock");
	/* The C library's passes a new address with MREMAP_FIXED only, and anything without. */
	new = syscall(SYS_mremap, old, PAGES / 2 * page_size, PAGES / 2 * page_size,
		      MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	if (new == -1)
		fail("MREMAP_DONTUNMAP");
	if (munmap(old, PAGES * page_size) || munmap((void *)new, PAGES / 2 * page_size))
		fail("munmap");
	say("pid %d: nothing is locked any more\n", getpid());
}

static void trigger(void)
{
	in_child(moved, 1);
}
