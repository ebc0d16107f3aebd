// SPDX-License-Identifier: GPL-2.0-only
/*
 * A private mapping of a file has the shared zero page, put there by userfaultfd;
 * then a uprobe is set on that very page of the file.
 */
#include "../trigger.h"
#include <linux/userfaultfd.h>

static const char file[] = "/tmp/code";

static void probed(void)
{
	char *page = map(page_size, PROT_READ, MAP_PRIVATE, open(file, O_RDONLY));
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range = { (uintptr_t)page, page_size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_zeropage zero = { .range = area.range };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &area))
		fail("userfaultfd");
	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		fail("UFFDIO_ZEROPAGE");
	say("pid %d addr %#lx pfn %lu: the shared zero page\n", getpid(), (unsigned long)page,
	    pfn_of(page));
	probe(file);
}

static void trigger(void)
{
	code_file(file, 1);
	in_child(probed, 0);
}
