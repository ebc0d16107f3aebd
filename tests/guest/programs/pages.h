/* SPDX-License-Identifier: GPL-2.0-only */
/* What test programs that run as init share: files of /proc and /sys, pages as /proc shows them. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef __s390x__
#define HUGETLB (1UL << 20)
#else
#define HUGETLB (1UL << 21)
#endif
#define PAGE 4096UL
/* Of an entry of /proc/self/pagemap. */
#define PRESENT (1ULL << 63)
#define PFN_MASK ((1ULL << 55) - 1)

/* Write to a file if it is there; say so when it takes nothing. */
static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		printf("no %s\n", path);
	close(fd);
}

/* An entry of /proc/self/pagemap, /proc/kpagecount or /proc/kpageflags; 0 without. */
static inline uint64_t word(int fd, uint64_t index)
{
	uint64_t value = 0;

	return pread(fd, &value, sizeof(value), index * sizeof(value)) == sizeof(value) ? value : 0;
}
