// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver pins a huge page of a memfd that nobody has touched: it is allocated for
 * the pin.  Then driver, mapping and file go.
 */
#include "../trigger.h"
#include <linux/udmabuf.h>

#define HUGE (2UL << 20)
#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static void pinned(void)
{
	struct udmabuf_create buffer = { .flags = UDMABUF_FLAGS_CLOEXEC, .size = HUGE };
	int device = open("/dev/udmabuf", O_RDWR), memfd, dmabuf;
	char *reserved;

	memfd = memfd_create("zoo", MFD_HUGETLB | MFD_ALLOW_SEALING);
	if (memfd < 0 || ftruncate(memfd, HUGE) || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		fail("memfd");
	reserved = map(HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd);
	buffer.memfd = memfd;
	dmabuf = ioctl(device, UDMABUF_CREATE, &buffer);
	if (dmabuf < 0)
		fail("UDMABUF_CREATE");
	if (close(dmabuf) || munmap(reserved, HUGE) || close(memfd))
		fail("close");
}

static void trigger(void)
{
	write_to(POOL "nr_hugepages", "4");
	in_child(pinned, 0);
	say("%lu of %lu huge pages are free\n", number_in(POOL "free_hugepages"),
	    number_in(POOL "nr_hugepages"));
}
