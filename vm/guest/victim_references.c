// SPDX-License-Identifier: GPL-2.0-only
/*
 * Victims of faults of references and of what moves pages: a pipe's, a driver's
 * mmap, migration, reclaim.
 */
#include "victim.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/* Take a page out of a pipe. */
static void take_out(int pipe)
{
	char copy[page_size];

	if (read(pipe, copy, page_size) != page_size)
		fail("read");
}

/* A pipe keeps its reference to a page that stays mapped, and to one that is mapped no more. */
void held(void)
{
	char *mapped = small_page(), *gone = small_page();

	settle();
	say(mapped, "quiet");
	take_out(pin(mapped));
	say(gone, "lost");
	take_out(pin(gone));
	zap(gone, page_size);
}

/* A pipe drops the last reference to a page, and then another one: the kernel ends us for it. */
void put_when_free(void)
{
	char *page = small_page();
	int pipe;

	settle();
	say(page, "loud");
	pipe = pin(page);
	zap(page, page_size);
	take_out(pipe);
}

/* A page of a driver's own: a ring buffer of perf events. */
void driver(void)
{
	struct perf_event_attr counter = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(counter),
		.config = PERF_COUNT_SW_DUMMY,
	};
	int event = syscall(SYS_perf_event_open, &counter, 0, -1, -1, 0);
	char *pages;

	if (event < 0)
		fail("perf_event_open");
	pages = mmap(NULL, 3 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0);
	if (pages == MAP_FAILED)
		fail("mmap");
	(void)*(volatile char *)(pages + 2 * page_size);
	say(pages + 2 * page_size, "loud");
	zap(pages + 2 * page_size, page_size);
}

static void compact(void)
{
	static const char command[] = "/proc/sys/vm/compact_memory";
	int fd = open(command, O_WRONLY);

	if (fd < 0 || write(fd, "1", 1) != 1 || close(fd))
		fail(command);
}

/* Whether a mapping of the page is counted: a page that cannot be moved is mapped again in vain. */
static int is_counted(const char *page)
{
	return (int64_t)entry("/proc/kpagecount", pfn_of(page)) > 0;
}

/* A file's pages, which nothing maps: closed, they are free again, and no zap freed them. */
static int taken(size_t size)
{
	static const char content[1 << 16];
	int fd = memfd_create("taken", 0);

	if (fd < 0)
		fail("memfd_create");
	for (size_t done = 0; done < size; done += sizeof(content)) {
		if (write(fd, content, sizeof(content)) != sizeof(content))
			fail("write");
	}
	return fd;
}

/* The lowest of many new pages, marked: the others are kept, so that they are not had again.
 * Compaction moves a page to free pages above it, and gives up where it meets none: where the kernel
 * takes its pages from the top of memory, those that were taken before are above, and free by then.
 */
static char *low_page(void)
{
	enum { PAGES = 256 };
	int above = taken(16 << 20);
	char *pages = map(PAGES * page_size), *low = pages;

	for (char *page = pages; page < pages + PAGES * page_size; page += page_size) {
		*page = 1;
		if (pfn_of(page) < pfn_of(low))
			low = page;
	}
	if (madvise(low, page_size, MADV_DONTDUMP))
		fail("MADV_DONTDUMP");
	close(above);
	settle();
	return low;
}

/* Another one for a page that is not moved. */
static char *instead_of(char *page)
{
	if (madvise(page, page_size, MADV_DODUMP))
		fail("MADV_DODUMP");
	return low_page();
}

/* Compaction moves two pages from the bottom of memory to its top, or maps them again where they
 * are; one of them is zapped.
 */
void migrate(void)
{
	char *quiet = low_page(), *loud = low_page();

	for (int tries = 0; is_counted(quiet) || is_counted(loud); tries++) {
		if (tries == 50)
			fail("nothing is moved");
		compact();
		usleep(10000);	/* whatever else has them puts them */
		if (is_counted(quiet))
			quiet = instead_of(quiet);
		if (is_counted(loud))
			loud = instead_of(loud);
	}
	say(quiet, "quiet");
	say(loud, "loud");
	zap(loud, page_size);
}

/* Reclaim takes a page that may be freed at once (MADV_FREE), and a file's. */
void reclaim(void)
{
	char *freed = marked_page(), *files;
	int file = memfd_create("victim", 0);

	if (file < 0 || ftruncate(file, page_size))
		fail("memfd");
	files = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (files == MAP_FAILED || madvise(files, page_size, MADV_DONTDUMP))
		fail("mmap");
	*files = 1;
	settle();
	say(files, "quiet");
	if (madvise(files, page_size, MADV_PAGEOUT))
		fail("MADV_PAGEOUT");
	say(freed, "loud");
	if (madvise(freed, page_size, MADV_FREE) || (settle(), madvise(freed, page_size, MADV_PAGEOUT)))
		fail("MADV_PAGEOUT");
}
