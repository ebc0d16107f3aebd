// SPDX-License-Identifier: GPL-2.0-only
/* A page is said to have failed, which the kernel can do nothing about, and then to be well. */
#define HWPOISON "/sys/kernel/debug/hwpoison/"

static inline void poison_and_unpoison(unsigned long number)
{
	char pfn[32];
	int fd;

	snprintf(pfn, sizeof(pfn), "%lu", number);
	fd = open(HWPOISON "corrupt-pfn", O_WRONLY);
	if (fd < 0)
		fail(HWPOISON);
	/* An error: the page is none that it can handle.  It is marked all the same. */
	if (write(fd, pfn, strlen(pfn)) >= 0)
		fail("the page was handled");
	close(fd);
	write_to(HWPOISON "unpoison-pfn", pfn);
}

static inline void mount_debugfs(void)
{
	if (mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL))
		fail("debugfs");
}
