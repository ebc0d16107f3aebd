// SPDX-License-Identifier: GPL-2.0-only
/*
 * Touches and unmaps a number of anonymous pages, again and again: the events of
 * each round are known exactly.
 *
 * usage: touch PAGES ROUNDS     prints "PID NANOSECONDS" (of all rounds) when done
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A hint: a mapping that crosses a PMD's border is zapped in parts. */
#define ALIGNED ((void *)(8UL << 30))

int main(int argc, char **argv)
{
	long size = sysconf(_SC_PAGESIZE), pages, rounds;
	struct timespec begin, end;

	if (argc != 3)
		return 2;
	pages = atol(argv[1]);
	rounds = atol(argv[2]);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long round = 0; round < rounds; round++) {
		char *at = mmap(ALIGNED, pages * size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED || madvise(at, pages * size, MADV_NOHUGEPAGE))
			return 1;
		for (long page = 0; page < pages; page++)
			at[page * size] = 1;
		if (munmap(at, pages * size))
			return 1;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%d %lld\n", getpid(),
	       (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec);
	fflush(stdout);
	/* The pages of the program itself go when it is gone: not before we say so. */
	if (write(1, "", 0))
		return 1;
	return 0;
}
