/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's memory in QEMU's own address space.
 *
 * The API gives a store's address; what was stored it gives from version 4 on, and never the rest
 * of the word.  Both lie here.  QEMU keeps a guest's memory in one mapping (qemu_ram_mmap(), with
 * a guard page of its own), and the kernel's instructions lie in it: it is the mapping around
 * one of them, if that is exactly as large as the guest's memory.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>

#include "plugin.h"

const uint8_t *ram;
uint64_t ram_size;
static uint64_t wanted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int tries_left = 16;

void setup_ram(uint64_t bytes)
{
	wanted = bytes;
}

static void look(uint64_t inside)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	while (maps && fgets(line, sizeof line, maps)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx rw", &from, &to) != 2 || inside < from || inside >= to)
			continue;
		if (to - from == wanted) {
			ram = (const uint8_t *)from;
			ram_size = wanted;
			shared->ram = wanted;
		}
		break;
	}
	if (maps)
		fclose(maps);
}

/* `code`: where an instruction of the kernel lies in this process. */
void find_ram(const void *code)
{
	pthread_mutex_lock(&lock);
	if (!ram && code && tries_left-- > 0)
		look((uint64_t)code);
	pthread_mutex_unlock(&lock);
}

/*
 * Where a physical address lies in the mapping.  Only x86_64's q35 has a hole below 4 GiB, when
 * memory does not fit below 0xb0000000 (pc_q35_init() in hw/i386/pc_q35.c).
 */
uint64_t ram_offset(uint64_t physical)
{
	const uint64_t hole_end = 1ull << 32, low = 0x80000000;

	if (ram_size < 0xb0000000 || physical < low)
		return physical;
	return physical < hole_end ? ~0ull : physical - hole_end + low;
}
