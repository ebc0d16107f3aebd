/* SPDX-License-Identifier: GPL-2.0-only */
/* Stores to the range, and to page tables, become records. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plugin.h"

enum { PAGE_SHIFT = 12 };
static const uint64_t unknown = ~0ull;

/*
 * Pages of guest memory that hold struct pages or are page tables, by their place in it: learnt
 * from stores.  And which of them are page tables.
 */
static _Atomic uint64_t *backing, *tables;
/* Page of the range -> page of guest memory, for stores whose physical address is not known. */
static _Atomic uint64_t *page_at;
static uint64_t pages;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool physical, big_endian;
/* The direct map, once the range is known. */
static uint64_t alias_at, alias_len;
static bool hole;
static const uint64_t most_pages = 1ull << 22; /* 16 GiB of struct pages */

/* At the first store after the range is known. */
static void prepare(void)
{
	pages = (shared->len >> PAGE_SHIFT) + 1;
	if (pages > most_pages)
		pages = most_pages;
	page_at = calloc(pages, sizeof *page_at);
	if (!page_at)
		pages = 0;
	if (!ram_size)
		return;
	backing = calloc((ram_size >> PAGE_SHIFT) / 64 + 1, sizeof *backing);
	if (shared->page_size && shared->type_at + 4 <= shared->page_size)
		tables = calloc((ram_size >> PAGE_SHIFT) / 64 + 1, sizeof *tables);
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
	uint64_t inside = va - shared->lo, page = inside / shared->page_size;
	uint64_t word = (at & ~7ull) + (shared->type_at & 7), bit = 1ull << (page % 64);
	uint32_t type;

	if ((inside % shared->page_size) / 8 != shared->type_at / 8 || at >= ram_size - 8)
		return;
	page = ram_offset(page << PAGE_SHIFT) >> PAGE_SHIFT;
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

static void learn(uint64_t va, uint64_t at)
{
	uint64_t page = at >> PAGE_SHIFT, inside = (va - shared->lo) >> PAGE_SHIFT;

	if (!backing || at >= ram_size)
		return;
	if (!watched(at))
		atomic_fetch_or(&backing[page / 64], 1ull << (page % 64));
	if (inside < pages)
		atomic_store_explicit(&page_at[inside], page + 1, memory_order_relaxed);
}

/* One record for each aligned word that the store touched; `at`: where it is in memory. */
static void write_records(unsigned int cpu, uint64_t va, uint64_t bytes, uint64_t pc, uint64_t at,
			  uint8_t flags)
{
	uint64_t words = ((va & 7) + bytes + 7) / 8;
	uint64_t first = atomic_fetch_add(&shared->count, words);
	struct record *records = (void *)((char *)shared + shared->records_at);
	uint32_t stack;
	struct timespec now;

	if (first >= shared->max_records || words > shared->max_records - first)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	stack = stack_now(cpu);
	for (uint64_t i = 0, here = va; i < words; i++) {
		struct record *record = &records[first + i];
		uint64_t end = (here & ~7ull) + 8, word = unknown;
		uint8_t of = flags | VALID | (i ? MORE : 0);

		record->ns = now.tv_sec * 1000000000ull + now.tv_nsec;
		record->pc = pc;
		record->va = here;
		record->pa = at == unknown ? unknown : at + (here - va);
		record->stack = stack;
		record->cpu = cpu;
		record->bytes = (end < va + bytes ? end : va + bytes) - here;
		if (at != unknown)
			word = record->pa & ~7ull;
		if (ram && word < ram_size && ram_size - word >= 8) {
			memcpy(&record->value, ram + word, 8);
			of |= VALUE;
		}
		atomic_store_explicit(&record->flags, of, memory_order_release);
		here = end;
	}
}

static void __attribute__((noinline, cold))
store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, uint64_t pc, uint8_t flags)
{
	struct qemu_plugin_hwaddr *hwaddr;
	uint64_t at = unknown;

	/* API 1 delivers loads to callbacks of stores, too. */
	if (!qemu_plugin_mem_is_store(info))
		return;
	pthread_once(&once, prepare);
	hwaddr = qemu_plugin_get_hwaddr(info, va);
	if (hwaddr && !qemu_plugin_hwaddr_is_io(hwaddr)) {
		at = qemu_plugin_hwaddr_phys_addr(hwaddr);
		if (physical) /* else it is the place in QEMU's memory already */
			at = ram_offset(at);
	}
	if (flags & ALIAS) {
		if (!backing || !watched(at))
			return; /* another address space's */
		if (is_table(at))
			flags = TABLE;
	} else {
		learn(va, at);
	}
	write_records(cpu, va, 1ull << qemu_plugin_mem_size_shift(info), pc, at, flags);
	if (!flags && tables)
		retype(va, at);
}

/* Every store of the kernel comes here: be quick. */
void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t va, void *pc)
{
	uint64_t inside = va - alias_at;

	if (__builtin_expect(va - shared->lo < shared->len, 0)) {
		store(cpu, info, va, (uint64_t)pc, 0);
	} else if (inside < alias_len) {
		if (__builtin_expect(hole, 0))
			inside = ram_offset(inside);
		if (__builtin_expect(watched(inside), 0))
			store(cpu, info, va, (uint64_t)pc, ALIAS);
	}
}

/* A store that QEMU does not report. */
void record_bytes(unsigned int cpu, uint64_t va, uint64_t bytes, uint64_t pc)
{
	uint64_t inside = va - shared->lo, at = unknown;

	if (inside < shared->len) {
		uint64_t page = 0;

		pthread_once(&once, prepare);
		if (inside >> PAGE_SHIFT < pages)
			page = atomic_load(&page_at[inside >> PAGE_SHIFT]);
		if (page)
			at = (page - 1) << PAGE_SHIFT | (va & ((1 << PAGE_SHIFT) - 1));
		write_records(cpu, va, bytes, pc, at, STORAGE);
		if (page && tables)
			retype(va + bytes - 1, at + bytes - 1);
	} else if (va - alias_at < alias_len) {
		at = ram_offset(va - alias_at);
		if (watched(at))
			write_records(cpu, va, bytes, pc, at, STORAGE | (is_table(at) ? TABLE : ALIAS));
	}
}
