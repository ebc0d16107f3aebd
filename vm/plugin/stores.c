/* SPDX-License-Identifier: GPL-2.0-only */
/* Stores to the range, and to page tables, become records. */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

enum {
	PAGE_SHIFT = 12,
	AGREE = 256,
};
static const uint64_t unknown = ~0ull;

/*
 * Pages of guest memory that hold struct pages or are page tables, by their place in it: learnt
 * from stores.  And which of them are page tables.
 */
static _Atomic uint64_t *backing, *tables;
/* Page of the range -> page of guest memory, for stores whose physical address is not known. */
static _Atomic uint64_t *page_at;
/* Page of guest memory -> the page of the range by which it was stored to first. */
static _Atomic uint64_t *homes;
static uint64_t pages;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool physical, big_endian;
/* The direct map, once the range is known. */
static uint64_t alias_at, alias_len;
static bool hole;
static unsigned int page_shift; /* log2 of a struct page's bytes; 0: they are no power of 2 */
static const uint64_t most_pages = 1ull << 22; /* 16 GiB of struct pages */
/*
 * The page of the range that a CPU stored to last, and where it is in memory: forgotten when
 * something was called or returned since.
 */
static struct {
	uint64_t va, at; /* in pages; va 0: forgotten */
	char pad[48];
} last[MAX_CPUS];

/* At the first store after the range is known. */
static void prepare(void)
{
	measure_clock();
	shared->start_ns = now_ns(0, false);
	pages = (shared->len >> PAGE_SHIFT) + 2; /* it may begin inside one */
	if (pages > most_pages)
		pages = most_pages;
	page_at = calloc(pages, sizeof *page_at);
	if (!page_at)
		pages = 0;
	if (!ram_size)
		return;
	homes = calloc((ram_size >> PAGE_SHIFT) + 1, sizeof *homes);
	if (homes)
		backing = calloc((ram_size >> PAGE_SHIFT) / 64 + 1, sizeof *backing);
	if (backing && shared->page_size && shared->type_at + 4 <= shared->page_size)
		tables = calloc((ram_size >> PAGE_SHIFT) / 64 + 1, sizeof *tables);
	if (shared->page_size && !(shared->page_size & (shared->page_size - 1)))
		page_shift = __builtin_ctzll(shared->page_size);
	hole = ram_offset(ram_size) != ram_size;
	alias_at = shared->direct;
	alias_len = backing ? ram_size + (hole ? 1ull << 32 : 0) : 0;
}

int setup_stores(bool physical_addresses, bool is_big_endian)
{
	physical = physical_addresses;
	big_endian = is_big_endian;
	return 0;
}

static inline bool marked(const _Atomic uint64_t *pages_of, uint64_t at)
{
	uint64_t page = at >> PAGE_SHIFT;

	return at < ram_size &&
	       atomic_load_explicit(&pages_of[page / 64], memory_order_relaxed) >> (page % 64) & 1;
}

static inline bool watched(uint64_t at)
{
	return marked(backing, at);
}

static bool is_table(uint64_t at)
{
	return tables && marked(tables, at);
}

/*
 * A struct page's type has been stored, or what else shares its place: the page has become a page
 * table, or no longer is one.  `at`: of the store.
 */
static void retype(uint64_t va, uint64_t at)
{
	uint64_t page = va - shared->lo, bit;
	uint64_t word = (at & ~7ull) + (shared->type_at & 7);
	uint32_t type;

	if (at >= ram_size - 8)
		return;
	page = page_shift ? page >> page_shift : page / shared->page_size;
	page = ram_offset(page << PAGE_SHIFT) >> PAGE_SHIFT;
	bit = 1ull << (page % 64);
	if (page >= ram_size >> PAGE_SHIFT)
		return;
	memcpy(&type, ram + word, 4);
	if (big_endian)
		type = __builtin_bswap32(type);
	if ((type & shared->type_mask) == shared->type_value) {
		if (atomic_fetch_or(&tables[page / 64], bit) & bit)
			return;
		atomic_fetch_or(&backing[page / 64], bit);
		atomic_fetch_add_explicit(&shared->tables, 1, memory_order_relaxed);
	} else if (is_table(page << PAGE_SHIFT)) {
		atomic_fetch_and(&tables[page / 64], ~bit);
		atomic_fetch_and(&backing[page / 64], ~bit);
	}
}

/* Which page of the range. */
static uint64_t page_inside(uint64_t va)
{
	return (va >> PAGE_SHIFT) - (shared->lo >> PAGE_SHIFT);
}

/* Whether a store to the range may change a page's type; most do not. */
static inline bool hits_type(uint64_t va)
{
	uint64_t inside = va - shared->lo;

	if (!tables)
		return false;
	inside = page_shift ? inside & ((1ull << page_shift) - 1) : inside % shared->page_size;
	return inside / 8 == shared->type_at / 8;
}

static void learn(uint64_t va, uint64_t at)
{
	uint64_t page = at >> PAGE_SHIFT, inside = page_inside(va);

	if (!backing || at >= ram_size)
		return;
	if (!watched(at))
		atomic_fetch_or(&backing[page / 64], 1ull << (page % 64));
	if (!atomic_load_explicit(&homes[page], memory_order_relaxed))
		atomic_store_explicit(&homes[page], va >> PAGE_SHIFT, memory_order_relaxed);
	if (inside < pages)
		atomic_store_explicit(&page_at[inside], page + 1, memory_order_relaxed);
}

/*
 * One record for each aligned word that the store touched.
 *
 * `place`: see struct record; `at`: where it is in memory.
 */
static void write_records(unsigned int cpu, uint64_t place, uint64_t bytes, uint64_t pc,
			  uint64_t at, uint64_t flags)
{
	uint64_t words = ((place & 7) + bytes + 7) / 8, end = place + bytes;
	uint64_t first = atomic_fetch_add(&shared->count, words);
	struct record *record = (struct record *)((char *)shared + shared->records_at) + first;
	uint32_t node, time;
	bool same;

	if (first >= shared->max_records || words > shared->max_records - first)
		return;
	node = node_of_store(cpu, pc, &same);
	if (!same)
		last[cpu].va = 0;
	time = (now_ns(cpu, same) - shared->start_ns) >> TIME_SHIFT;
	flags |= VALID;
	for (uint64_t here = place; words--; record++) {
		uint64_t next = (here & ~7ull) + 8, word = at + (here - place), of = flags;

		if (at != unknown && ram_size >= 8 && (word & ~7ull) <= ram_size - 8) {
			memcpy(&record->value, ram + (word & ~7ull), 8);
			of |= VALUE;
		}
		record->node = node;
		record->time = time;
		of = of << BYTES_BITS | ((next < end ? next : end) - here);
		of = of << CPU_BITS | cpu;
		atomic_store_explicit(&record->where, of << PLACE_BITS | here,
				      memory_order_release);
		here = next;
		flags |= MORE;
	}
}

/* `flags`: ALIAS: through the direct map, to a struct page or a page table. */
static void record_store(unsigned int cpu, uint64_t va, uint64_t bytes, uint64_t pc, uint64_t at,
			 uint64_t flags)
{
	uint64_t place = va - shared->lo;

	if (flags & ALIAS && is_table(at)) {
		flags ^= ALIAS | TABLE;
		place = va - alias_at;
	} else if (flags & ALIAS) {
		uint64_t home = atomic_load_explicit(&homes[at >> PAGE_SHIFT], memory_order_relaxed);

		if (!home)
			return;
		place = (home << PAGE_SHIFT | (va & ((1 << PAGE_SHIFT) - 1))) - shared->lo;
	}
	write_records(cpu, place, bytes, pc, at, flags);
}

/*
 * Where in the guest's memory a store went to that was reported just now.
 *
 * QEMU before 8.2 goes from the store's place in its own memory to a physical address by way of
 * all its memory regions.  Its structure begins with two flags and that place: it is taken from
 * there once the two ways have come to the same result often enough.
 */
static uint64_t place_of(qemu_plugin_meminfo_t info, uint64_t va)
{
	static _Atomic int agreed;
	struct qemu_plugin_hwaddr *hwaddr = qemu_plugin_get_hwaddr(info, va);
	uint64_t inside = unknown, at;

	if (!hwaddr || qemu_plugin_hwaddr_is_io(hwaddr))
		return unknown;
	if (!physical && ram) {
		memcpy(&inside, (const char *)hwaddr + sizeof(void *), sizeof inside);
		inside -= (uint64_t)ram;
		if (agreed >= AGREE && inside < ram_size)
			return inside;
	}
	at = qemu_plugin_hwaddr_phys_addr(hwaddr);
	if (physical) /* else it is the place in QEMU's memory already */
		at = ram_offset(at);
	if (agreed < AGREE)
		agreed = at == inside ? agreed + 1 : INT_MIN;
	return at;
}

static void record_reported(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, uint64_t pc,
			    uint64_t at, uint64_t flags)
{
	record_store(cpu, va, 1ull << qemu_plugin_mem_size_shift(info), pc, at, flags);
}

/*
 * Most of a boot's records are a loop's that initializes all struct pages.  A page of the range is
 * where it was for the CPU's last store, if nothing was called or returned since.
 */
static void __attribute__((noinline))
store_to_range(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, uint64_t pc)
{
	uint64_t at;

	/* API 1 delivers loads to callbacks of stores, too. */
	if (!qemu_plugin_mem_is_store(info))
		return;
	if (last[cpu].va == va >> PAGE_SHIFT && is_same_stack(cpu)) {
		at = last[cpu].at << PAGE_SHIFT | (va & ((1 << PAGE_SHIFT) - 1));
		record_reported(cpu, info, va, pc, at, 0);
	} else {
		pthread_once(&once, prepare);
		at = place_of(info, va);
		learn(va, at);
		record_reported(cpu, info, va, pc, at, 0);
		last[cpu].va = at == unknown ? 0 : va >> PAGE_SHIFT;
		last[cpu].at = at >> PAGE_SHIFT;
	}
	if (hits_type(va))
		retype(va, at);
}

/* Through the direct map. */
static void __attribute__((noinline))
store_to_alias(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, uint64_t pc)
{
	uint64_t at;

	if (!qemu_plugin_mem_is_store(info))
		return;
	at = place_of(info, va);
	if (watched(at)) /* else it is another address space's */
		record_reported(cpu, info, va, pc, at, ALIAS);
}

/* Every store of the kernel comes here: be quick. */
void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, void *pc)
{
	uint64_t inside = va - alias_at;

	if (__builtin_expect(va - shared->lo < shared->len, 0)) {
		store_to_range(cpu, info, va, (uint64_t)pc);
	} else if (inside < alias_len) {
		if (__builtin_expect(hole, 0))
			inside = ram_offset(inside);
		if (__builtin_expect(watched(inside), 0))
			store_to_alias(cpu, info, va, (uint64_t)pc);
	}
}

/* A store that QEMU does not report. */
void record_bytes(unsigned int cpu, uint64_t va, uint64_t bytes, uint64_t pc)
{
	uint64_t at = unknown;

	if (va - shared->lo < shared->len) {
		uint64_t page = 0;

		pthread_once(&once, prepare);
		if (page_inside(va) < pages)
			page = atomic_load(&page_at[page_inside(va)]);
		if (page)
			at = (page - 1) << PAGE_SHIFT | (va & ((1 << PAGE_SHIFT) - 1));
		record_store(cpu, va, bytes, pc, at, STORAGE);
		for (uint64_t word = va & ~7ull; page && word < va + bytes; word += 8)
			if (hits_type(word))
				retype(word, at + (word - va));
	} else if (va - alias_at < alias_len) {
		at = ram_offset(va - alias_at);
		if (watched(at))
			record_store(cpu, va, bytes, pc, at, STORAGE | ALIAS);
	}
}
