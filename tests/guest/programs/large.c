// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unmaps small pages and large folios that PTEs map, each number known exactly.
 *
 * The lab kernel makes such folios for a task of the name of a large fault that it
 * has, and strikes at its zaps: this one has another name by then.
 *
 * usage: large SMALL FOLIOS     prints "PID" when done
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FOLIO 16	/* pages; ZAPFAULT_LARGE_ORDER of the lab kernel's mm/memory.c */
#define ALIGNED ((void *)(8UL << 30))

static char *mapped(void *where, long bytes, int advice)
{
	char *at = mmap(where, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || madvise(at, bytes, advice))
		exit(1);
	return at;
}

int main(int argc, char **argv)
{
	long size = sysconf(_SC_PAGESIZE), small, folios;
	char *few, *many;

	if (argc != 3)
		return 2;
	small = atol(argv[1]) * size;
	folios = atol(argv[2]) * FOLIO * size;
	few = mapped((char *)ALIGNED + (1UL << 30), small, MADV_NOHUGEPAGE);
	for (char *at = few; at < few + small; at += size)
		*at = 1;
	prctl(PR_SET_NAME, "leak-large");
	many = mapped(ALIGNED, folios, MADV_HUGEPAGE);
	for (char *at = many; at < many + folios; at += FOLIO * size)
		*at = 1;
	prctl(PR_SET_NAME, "large");
	if (munmap(few, small) || munmap(many, folios))
		return 1;
	printf("%d\n", getpid());
	return 0;
}
