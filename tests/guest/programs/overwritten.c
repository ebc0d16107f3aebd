// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs as init: maps a page of its own where nothing else is, says where that and a flag lie, and
 * waits until something else sets the flag; then it unmaps the page, and powers off.
 * Prints "at ADDRESS flag ADDRESS" and "READY 1".
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <unistd.h>

#define PAGE 4096UL
#define ALONE ((void *)(1UL << 37))

int main(void)
{
	volatile char *flag = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = mmap(ALONE, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	*flag = 0;
	at[0] = 1;
	printf("at %p flag %p\nREADY 1\n", (void *)at, (void *)flag);
	fflush(stdout);
	while (!*flag)
		usleep(1000);
	munmap(at, PAGE);
	reboot(RB_POWER_OFF);
	return 0;
}
