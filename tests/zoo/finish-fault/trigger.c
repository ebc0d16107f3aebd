// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two threads write to one huge page of tmpfs at the same time, again and again: one
 * waits for the page while the other one maps it.  Ends when a page has outlived its
 * file, or when that has not happened in ROUNDS.
 */
#include "../trigger.h"

#define HUGE (2UL << 20)
#define ROUNDS 400
#define KPF_THP 22

static char *area;
static pthread_barrier_t begin, done;

static void *write_to_it(void *offset)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&begin);
		area[(uintptr_t)offset] = 1;
		pthread_barrier_wait(&done);
	}
	return NULL;
}

static void race(void)
{
	int fd = open("/tmp/huge/file", O_RDWR | O_CREAT, 0600);
	char *reserved = map(2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	pthread_t one;
	int round;

	area = (char *)(((uintptr_t)reserved + HUGE - 1) & -HUGE);
	if (fd < 0 || ftruncate(fd, HUGE))
		fail("tmpfs");
	if (mmap(area, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != area)
		fail("mmap");
	pthread_barrier_init(&begin, NULL, 2);
	pthread_barrier_init(&done, NULL, 2);
	if (pthread_create(&one, NULL, write_to_it, (void *)4096))
		fail("pthread_create");
	for (round = 0; round < ROUNDS; round++) {
		unsigned long pfn;

		pthread_barrier_wait(&begin);
		area[0] = 1;
		pthread_barrier_wait(&done);
		pfn = pfn_of(area);
		if (madvise(area, HUGE, MADV_REMOVE))
			fail("MADV_REMOVE");
		if (flags_of(pfn) >> KPF_THP & 1) {
			say("pfn %lu outlived its file in round %d\n", pfn, round);
			return;
		}
	}
	say("no page outlived its file in %d rounds\n", round);
}

static void trigger(void)
{
	mkdir("/tmp/huge", 0700);
	if (mount("tmpfs", "/tmp/huge", "tmpfs", 0, "huge=always"))
		fail("mount");
	in_child(race, 0);
	unlink("/tmp/huge/file");
}
