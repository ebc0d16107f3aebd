/*
 * An init with a page whose counters the host changes from outside.
 *
 * It says which page that is, and waits for the host to write into it.  Then it
 * unmaps the page, makes a system call whose code the host may have changed, frees
 * so much more that per-CPU lists drain (6.1 without DEBUG_VM looks at pages there
 * only), and powers off.  What it frees it has mapped before: a page that was just
 * freed is the next to be taken, and its counters are set anew.  All on one CPU:
 * pages on the way to the LRU lists wait in a batch of each CPU's, and are not freed
 * there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 23
#define STRUCK 11
#define BATCHES (1UL << 20)
#define CHURN (64UL << 20)

static char *map(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static char *touched(size_t size)
{
	char *pages = map(size);

	madvise(pages, size, MADV_NOHUGEPAGE);
	memset(pages, 1, size);
	return pages;
}

static uint64_t pfn_of(char *page)
{
	uint64_t entry = 0;
	int file = open("/proc/self/pagemap", O_RDONLY);

	if (pread(file, &entry, sizeof(entry), (uintptr_t)page / PAGE * sizeof(entry)) < 0)
		perror("pagemap");
	close(file);
	return entry & ((1ULL << 55) - 1);
}

static int victim(void)
{
	char *churn = touched(CHURN);
	char *pages = touched(PAGES * PAGE);
	volatile char *struck = pages + STRUCK * PAGE;

	munmap(touched(BATCHES), BATCHES);
	printf("zaptrace: victim %d page %llx\n", getpid(), (unsigned long long)pfn_of((char *)struck));
	fflush(stdout);
	while (*struck == 1)
		usleep(10000);
	munmap(pages, PAGES * PAGE);
	getpriority(PRIO_PROCESS, 0);
	munmap(churn, CHURN);
	return 0;
}

int main(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	mkdir("/proc", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	puts("zaptrace: user space on struck");
	fflush(stdout);
	if (fork() == 0)
		_exit(victim());
	wait(NULL);
	puts("zaptrace: power off");
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
