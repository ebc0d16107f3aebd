// SPDX-License-Identifier: GPL-2.0-only
/*
 * An init that runs a command while the page tables change all the time:
 *	running COMMAND ARGUMENT ...
 * the last arguments of the kernel's command line after "run".  Says "ENDED STATUS" and stays.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 256

static void churn(void)
{
	for (;;) {
		char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		pid_t child;

		for (int page = 0; at != MAP_FAILED && page < PAGES; page++)
			at[page * PAGE] = 1;
		child = fork();
		if (!child)
			_exit(0);
		if (at != MAP_FAILED)
			munmap(at, PAGES * PAGE);
		waitpid(child, NULL, 0);
		usleep(2000);
	}
}

int main(int argc, char **argv)
{
	static char *environment[] = { "HOME=/", "PATH=/usr/bin", "PYTHONPATH=/site:/",
				       "PYTHONDONTWRITEBYTECODE=1", NULL };
	int status = 0, first = 1;
	pid_t command;

	while (first < argc && strcmp(argv[first], "run"))
		first++;
	if (first + 1 >= argc)
		return 1;
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	if (!fork())
		churn();
	command = fork();
	if (!command) {
		execve(argv[first + 1], argv + first + 1, environment);
		perror(argv[first + 1]);
		_exit(127);
	}
	while (waitpid(command, &status, 0) != command)
		;
	printf("\nENDED %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	fflush(stdout);
	for (;;)
		pause();
}
