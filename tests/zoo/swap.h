// SPDX-License-Identifier: GPL-2.0-only
/* A RAM disk to swap to. */
#define DEVICE "/dev/ram0"

/* As mkswap does it (union swap_header in include/linux/swap.h). */
static inline void make_swap(void)
{
	struct {
		char boot[1024];
		uint32_t version, last_page, bad_pages;
		char rest[4096 - 1024 - 12 - 10];
		char magic[10];
	} header = { .version = 1, .last_page = 1023, .magic = "SWAPSPACE2" };
	int fd = open(DEVICE, O_WRONLY);

	if (fd < 0 || write(fd, &header, sizeof(header)) != sizeof(header) || fsync(fd) || close(fd))
		fail(DEVICE);
	if (swapon(DEVICE, 0))
		fail("swapon");
}
