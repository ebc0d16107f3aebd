// SPDX-License-Identifier: GPL-2.0-only
/*
 * Exits a few processes that have anonymous, private file, shared file and
 * shared anonymous mappings: every kind of page that zap_pte_range() takes
 * apart in an ordinary life.
 *
 * usage: workload FILE          FILE is made, and gone afterwards
 *        workload FILE hold N   N processes that map, touch and stay
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 6, ROUNDS = 3, PAGES = 64 };

static long page_size;

static void fail(const char *what)
{
	perror(what);
	_exit(1);
}

static char *map(int flags, int fd)
{
	char *at = mmap(NULL, PAGES * page_size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static void touch(char *at, char value)
{
	for (int i = 0; i < PAGES; i++)
		at[i * page_size] = value;
}

/* One process: maps, shares some of it with a child by fork, unmaps a part. */
static void live(const char *file, int number)
{
	int fd = open(file, O_RDWR);

	if (fd < 0)
		fail("open");
	char *anonymous = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	char *shared = map(MAP_SHARED | MAP_ANONYMOUS, -1);
	char *private_file = map(MAP_PRIVATE, fd);
	char *shared_file = map(MAP_SHARED, fd);

	touch(anonymous, number);
	touch(shared, number);
	touch(private_file, number);	/* copy on write: anonymous pages of a file mapping */
	touch(shared_file, number);

	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		touch(anonymous, ~number);	/* copies some, shares the rest */
		_exit(0);
	}
	if (munmap(anonymous + page_size, 7 * page_size))
		fail("munmap");
	if (madvise(anonymous + 16 * page_size, 8 * page_size, MADV_DONTNEED))
		fail("madvise");
	if (waitpid(child, NULL, 0) != child)
		fail("waitpid");
	_exit(0);
}

/* Maps and touches as live() does, says so, and stays. */
static void stay(const char *file, int number, int told)
{
	int fd = open(file, O_RDWR);

	if (fd < 0)
		fail("open");
	for (int i = 0; i < 4; i++)
		touch(map(MAP_PRIVATE | MAP_ANONYMOUS, -1), number);
	touch(map(MAP_SHARED, fd), number);
	if (write(told, "x", 1) != 1)
		fail("write");
	for (;;)
		pause();
}

static int hold(const char *file, int processes)
{
	int told[2];
	char one;

	if (pipe(told))
		fail("pipe");
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (pid == 0)
			stay(file, i, told[1]);
	}
	for (int i = 0; i < processes; i++)
		if (read(told[0], &one, 1) != 1)
			fail("read");
	puts("zaptrace: holding");
	fflush(stdout);
	for (;;)
		pause();
}

static void make_file(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, PAGES * page_size))
		fail(file);
	close(fd);
}

int main(int argc, char **argv)
{
	int bad = 0;

	if (argc != 2 && argc != 4) {
		fprintf(stderr, "usage: %s FILE [hold N]\n", argv[0]);
		return 2;
	}
	page_size = sysconf(_SC_PAGESIZE);
	make_file(argv[1]);
	if (argc == 4)
		return hold(argv[1], atoi(argv[3]));
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < PROCESSES; i++) {
			pid_t pid = fork();

			if (pid < 0)
				fail("fork");
			if (pid == 0)
				live(argv[1], round * PROCESSES + i);
		}
		for (int i = 0; i < PROCESSES; i++) {
			int status;

			if (wait(&status) < 0 || status)
				bad++;
		}
	}
	unlink(argv[1]);
	return bad ? 1 : 0;
}
