// SPDX-License-Identifier: GPL-2.0-only
/*
 * An init that fills the page tables:
 *	crowd PROCESSES OWN SHARED
 * PROCESSES children, each with OWN MB of its own anonymous memory and with one memfd of SHARED
 * MB that all of them map, all by single pages.  Says "READY" when all is touched, and stays.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096UL
#define READ_WRITE (PROT_READ | PROT_WRITE)

static void touch(char *at, size_t size)
{
	for (size_t offset = 0; at != MAP_FAILED && offset < size; offset += PAGE)
		at[offset] = 1;
}

static void child(int memfd, size_t own, size_t shared, int done)
{
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	touch(mmap(NULL, own, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), own);
	touch(mmap(NULL, shared, READ_WRITE, MAP_SHARED, memfd, 0), shared);
	if (write(done, "", 1) != 1)
		exit(1);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	/* The kernel puts what it does not know of its own command line before ours. */
	char **given = argv + argc - 3;
	int processes = argc > 3 ? atoi(given[0]) : 0, memfd = memfd_create("shared", 0), done[2];
	size_t own = argc > 3 ? strtoul(given[1], NULL, 0) << 20 : 0;
	size_t shared = argc > 3 ? strtoul(given[2], NULL, 0) << 20 : 0;
	char byte;

	if (!processes || memfd < 0 || ftruncate(memfd, shared) || pipe(done))
		return 1;
	for (int number = 0; number < processes; number++)
		if (!fork())
			child(memfd, own, shared, done[1]);
	for (int number = 0; number < processes; number++)
		if (read(done[0], &byte, 1) != 1)
			return 1;
	puts("READY");
	fflush(stdout);
	for (;;)
		pause();
}
