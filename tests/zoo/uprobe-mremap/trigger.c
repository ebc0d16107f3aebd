// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page with a breakpoint is moved away and back to where its VMA merges with the
 * rest of the old one: the merge sets a breakpoint of its own there first.
 */
#include "../trigger.h"

static const char file[] = "/tmp/code";

static void moved(void)
{
	char *first = map(2 * page_size, PROT_NONE, MAP_PRIVATE, open(file, O_RDONLY));
	char *second;

	say("pid %d addr %#lx: mapped with a breakpoint\n", getpid(), (unsigned long)first);
	second = mremap(first, page_size, 2 * page_size, MREMAP_MAYMOVE);
	if (second == MAP_FAILED)
		fail("mremap");
	if (mremap(second, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, first) != first)
		fail("mremap back");
}

static void trigger(void)
{
	code_file(file, 2);
	probe(file);
	in_child(moved, 0);
}
