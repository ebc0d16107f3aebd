// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page is swapped out and stays in the swap cache, for a pipe held it at that moment; then
 * its swap entry is moved elsewhere by userfaultfd.  The process holds: a read of the new
 * place would end in a BUG of kernels with DEBUG_VM.
 */
#include "../trigger.h"
#include "../swap.h"
#include <linux/userfaultfd.h>
#include <sys/uio.h>

#ifndef UFFDIO_MOVE	/* since Linux 6.8 */
struct uffdio_move {
	uint64_t dst, src, len, mode;
	int64_t move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#define UFFD_FEATURE_MOVE (1 << 16)
#endif
#define KPF_ANON 12
#define KPF_SWAPCACHE 13
#define SWAPPED (1ULL << 62)

static uint64_t pagemap_of(const void *at)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)at / page_size * sizeof(entry)) !=
	    sizeof(entry))
		fail("pagemap");
	close(fd);
	return entry;
}

/* The only anonymous page in the swap cache. */
static unsigned long cached(void)
{
	static uint64_t flags[4096];
	unsigned long pfn = 0, found = 0, many = 0;
	ssize_t got;
	int fd = open("/proc/kpageflags", O_RDONLY);

	while ((got = read(fd, flags, sizeof(flags))) > 0) {
		for (int i = 0; i < got / 8; i++, pfn++) {
			if (flags[i] >> KPF_SWAPCACHE & flags[i] >> KPF_ANON & 1) {
				found = pfn;
				many++;
			}
		}
	}
	close(fd);
	if (many != 1)
		fail("not one page in the swap cache");
	return found;
}

/* Unmapped for swap, but with a reference too many for reclaim to free it. */
static void swap_out(char *page)
{
	struct iovec all = { page, page_size };
	int ends[2];

	if (pipe(ends) || vmsplice(ends[1], &all, 1, 0) != page_size)
		fail("vmsplice");
	for (int i = 0; !(pagemap_of(page) & SWAPPED); i++) {
		if (i == 100 || madvise(page, page_size, MADV_PAGEOUT))
			fail("MADV_PAGEOUT");
	}
	close(ends[0]);
	close(ends[1]);
}

static void moved(void)
{
	char *from = anonymous(page_size), *to = anonymous(page_size);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };
	struct uffdio_register area = {
		.range = { (uintptr_t)to, page_size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_move move = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = page_size,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &area))
		fail("userfaultfd");
	*from = 1;
	swap_out(from);
	say("pid %d addr %#lx pfn %lu: in the swap cache\n", getpid(), (unsigned long)to, cached());
	if (ioctl(fd, UFFDIO_MOVE, &move))
		fail("UFFDIO_MOVE");
	if (pagemap_of(from) & SWAPPED || !(pagemap_of(to) & SWAPPED))
		fail("the entry did not move");
	cached();
}

static void trigger(void)
{
	make_swap();
	in_child(moved, 1);
}
