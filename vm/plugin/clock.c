/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The time, CLOCK_MONOTONIC, for every record.
 *
 * clock_gettime() would be a third of what a record costs.  Where the host's kernel takes the time
 * from the CPUs' time-stamp counters, these run at one rate and agree, and their rate is measured
 * from the plugin's start until the first record, which is a tenth of a second and more later.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "plugin.h"

enum { REUSED = 15 };
static struct {
	uint64_t ns;
	int left; /* records that may have it, too */
	char pad[48];
} last[MAX_CPUS];
static uint64_t first_ns, first_ticks;
static double ns_of_tick; /* 0: ask the kernel */
static const uint64_t least_ns = 20 * 1000 * 1000;

static uint64_t asked(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

#ifdef __x86_64__
static uint64_t ticks(void)
{
	return __builtin_ia32_rdtsc();
}

static bool ticks_are_time(void)
{
	FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	char name[16] = "";
	bool read = file && fgets(name, sizeof name, file);

	if (file)
		fclose(file);
	return read && !strcmp(name, "tsc\n");
}
#else
static uint64_t ticks(void)
{
	return 0;
}

static bool ticks_are_time(void)
{
	return false;
}
#endif

/* Both at once: of some tries the one that nothing came between. */
static void read_both(uint64_t *ns, uint64_t *at)
{
	uint64_t least = ~0ull;

	for (int i = 0; i < 8; i++) {
		uint64_t before = ticks(), time = asked(), taken = ticks() - before;

		if (taken >= least)
			continue;
		least = taken;
		*ns = time;
		*at = before + taken / 2;
	}
}

void setup_clock(void)
{
	read_both(&first_ns, &first_ticks);
}

/* Before the first record. */
void measure_clock(void)
{
	uint64_t ns = 0, now = 0;

	if (!ticks_are_time())
		return;
	read_both(&ns, &now);
	if (now > first_ticks && ns >= first_ns + least_ns)
		ns_of_tick = (double)(ns - first_ns) / (double)(now - first_ticks);
}

/*
 * `same`: since the CPU's last record nothing was called or returned.  That is a matter of some
 * instructions, and most of a boot's records are one loop's: its time will do for some of them.
 */
uint64_t now_ns(unsigned int cpu, bool same)
{
	if (same && last[cpu].left-- > 0)
		return last[cpu].ns;
	last[cpu].left = REUSED;
	if (ns_of_tick == 0)
		last[cpu].ns = asked();
	else
		last[cpu].ns = first_ns + (uint64_t)((double)(ticks() - first_ticks) * ns_of_tick);
	return last[cpu].ns;
}
