// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs as init: makes what MADV_COLLAPSE makes one huge page of, prints "NOW", waits a moment,
 * and collapses it.  "anon": 512 anonymous pages.  "file": a huge page of a memfd that PTEs map.
 * Prints "READY" after that, or "no collapse".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL
#define SIZE (1UL << 21)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* The place for a huge page. */
static char *aligned(void)
{
	char *at = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return (char *)(((uintptr_t)at + SIZE - 1) & -SIZE);
}

static char *anon(void)
{
	char *at = aligned();

	mprotect(at, SIZE, PROT_READ | PROT_WRITE);
	for (size_t page = 0; page < SIZE; page += PAGE)
		at[page] = 1;
	return at;
}

static char *file(void)
{
	volatile char sum = 0;
	char *at = aligned();
	int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_WRONLY);

	if (fd < 0 || write(fd, "always", 6) != 6)
		printf("no huge shmem\n");
	fd = memfd_create("collapse", 0);
	if (ftruncate(fd, SIZE))
		printf("no memfd\n");
	at = mmap(at, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	at[0] = 1;
	/* VMAs that are too small for a PMD: its pages come back one by one. */
	mprotect(at + 8 * PAGE, 4 * PAGE, PROT_READ);
	for (size_t page = 0; page < SIZE; page += PAGE)
		sum += at[page];
	mprotect(at + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE);
	return at;
}

int main(int argc, char **argv)
{
	char *at;

	mkdir("/sys", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	/* Before it stands what the kernel does not know of its command line. */
	at = strcmp(argv[argc - 1], "file") ? anon() : file();
	printf("NOW\n");
	fflush(stdout);
	sleep(2);
	printf(madvise(at, SIZE, MADV_COLLAPSE) ? "no collapse\n" : "READY\n");
	fflush(stdout);
	for (;;)
		pause();
}
