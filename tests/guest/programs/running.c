// SPDX-License-Identifier: GPL-2.0-only
/*
 * An init that runs a command while the page tables change all the time:
 *	running run COMMAND ARGUMENT ...
 * the last arguments of the kernel's command line.  It is run on a kernel without fault, and
 * again when "/victim leak" has been struck and holds, and once more with "--pfn" and the page that
 * was struck.  What it prints stands on the console alone, between "BEGIN none" (or "leak", "page")
 * and "END"; at last it says "ENDED" and stays.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 256
#define FLICKERING 512

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

/*
 * A file's pages, each mapped by one PTE and, now and then, by a second: their counters and PTEs
 * often are the same when they are read again, and have been others meanwhile.
 */
static void flicker(void)
{
	int file = open("/tmp/flicker", O_CREAT | O_RDWR, 0600);
	char *at[2], mapped[FLICKERING] = { 0 };

	if (ftruncate(file, FLICKERING * PAGE))
		_exit(1);
	for (int copy = 0; copy < 2; copy++)
		at[copy] = mmap(NULL, FLICKERING * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				file, 0);
	for (int page = 0; page < FLICKERING; page++)
		at[0][page * PAGE] = 1;
	for (;;) {
		for (int turn = 0; turn < 64; turn++) {
			int page = random() % FLICKERING;

			if (mapped[page])
				madvise(at[1] + page * PAGE, PAGE, MADV_DONTNEED);
			else
				at[1][page * PAGE] = 1;
			mapped[page] ^= 1;
		}
		usleep(1000);
	}
}

static char *environment[] = { "HOME=/", "PATH=/usr/bin", "PYTHONPATH=/site:/",
			       "PYTHONDONTWRITEBYTECODE=1", NULL };

/* Run a program to its end; with OUTPUT its standard output goes into that file. */
static int run(char **argv, const char *output)
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		if (output)
			dup2(open(output, O_CREAT | O_TRUNC | O_WRONLY, 0644), 1);
		execve(argv[0], argv, environment);
		perror(argv[0]);
		_exit(127);
	}
	while (waitpid(child, &status, 0) != child)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void tell(const char *fault, char **command)
{
	char piece[4096];
	int status = run(command, "/tmp/told");
	FILE *told = fopen("/tmp/told", "r");
	size_t size;

	printf("\nBEGIN %s %d\n", fault, status);
	while (told && (size = fread(piece, 1, sizeof(piece), told)))
		fwrite(piece, 1, size, stdout);
	printf("\nEND %s\n", fault);
	fflush(stdout);
	if (told)
		fclose(told);
}

/* Returns the page that was struck. */
static char *strike(void)
{
	static char said[4096];
	char *pfn;
	int file, status;

	static char *victim[] = { "/victim", "leak", NULL };
	int fault = open("/sys/module/kernel/parameters/zapfault", O_WRONLY);

	if (write(fault, "leak", 4) != 4)
		perror("zapfault");
	close(fault);
	status = run(victim, "/tmp/victim");
	file = open("/tmp/victim", O_RDONLY);
	if (read(file, said, sizeof(said) - 1) < 0)
		perror("/tmp/victim");
	close(file);
	printf("\nVICTIM %d\n%s\n", status, said);
	fflush(stdout);
	pfn = strstr(said, " pfn ");
	return pfn ? strtok(pfn + 5, " \n") : "0";
}

static void tell_of(char *pfn, char **command)
{
	char *longer[32] = { NULL };
	int count = 0;

	while (command[count] && count < 28) {
		longer[count] = command[count];
		count++;
	}
	longer[count++] = "--pfn";
	longer[count] = pfn;
	tell("page", longer);
}

int main(int argc, char **argv)
{
	char *pfn;
	int first = 1;

	while (first < argc && strcmp(argv[first], "run"))
		first++;
	if (first + 1 >= argc)
		return 1;
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	klogctl(6, NULL, 0);	/* the kernel's own lines stay off the console */
	if (!fork())
		churn();
	if (!fork())
		flicker();
	tell("none", argv + first + 1);
	pfn = strike();
	tell("leak", argv + first + 1);
	tell_of(pfn, argv + first + 1);
	printf("\nENDED\n");
	fflush(stdout);
	for (;;)
		pause();
}
