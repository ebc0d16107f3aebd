// SPDX-License-Identifier: GPL-2.0-only
/*
 * An init that leaks a reference to a page (the lab kernel's fault "hold": a pipe keeps it), says
 * which page that is, and then has each of two CPUs run user space.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "pages.h"

/* Moves a page into a pipe and reads it out: as "hold" is called, the pipe's reference stays. */
static void leak(char *page)
{
	static char taken[PAGE];
	struct iovec piece = { .iov_base = page, .iov_len = PAGE };
	int ends[2];

	prctl(PR_SET_NAME, "hold");
	if (pipe(ends) || vmsplice(ends[1], &piece, 1, 0) != PAGE ||
	    read(ends[0], taken, PAGE) != PAGE)
		printf("no pipe\n");
	prctl(PR_SET_NAME, "spinning");
	close(ends[0]);
	close(ends[1]);
}

static void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		printf("not on CPU %d\n", cpu);
}

int main(void)
{
	pid_t child;
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int pagemap;

	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	memset(page, 1, PAGE);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	printf("leaked %#llx\n",
	       (unsigned long long)(word(pagemap, (uintptr_t)page / PAGE) & PFN_MASK));
	leak(page);
	child = fork();
	if (child < 0)
		printf("no child\n");
	stay_on(child ? 0 : 1);
	printf("READY 1\n");
	fflush(stdout);
	for (;;)
		;
}
