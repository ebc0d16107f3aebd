// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls the mimic's functions, says with what, and takes probes meanwhile: a
 * kprobe in miniature.  Standard input has lines
 *	SITE ADDRESS KIND REGISTER OFFSET...
 * one for each argument: put a breakpoint at ADDRESS; whenever it is hit, take
 * the REGISTER, load from it at each OFFSET in turn, print the value (KIND v), or
 * the text where the last OFFSET points (KIND s).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "mimic.h"

#define MOST 64
#define TRAP_FLAG 0x100

struct fetch { int site; char kind; int reg; int loads; long offsets[4]; };
static struct { unsigned char *at, original; } sites[MOST];
static struct fetch fetches[4 * MOST];
static int nr_fetches;
static unsigned char *stepped_over;

static const int registers[] = { /* in the order of DWARF register numbers */
	REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void take(const struct fetch *fetch, const greg_t *regs)
{
	unsigned long value = regs[registers[fetch->reg]];
	int text = fetch->kind == 's';

	for (int i = 0; i < fetch->loads - text; i++)
		value = *(unsigned long *)(value + fetch->offsets[i]);
	if (text)
		printf(" \"%s\"", (char *)value + fetch->offsets[fetch->loads - 1]);
	else
		printf(" %lx", value);
}

static void trapped(int signal, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	int site;

	if (stepped_over) { /* the instruction has run: arm it again */
		*stepped_over = 0xcc;
		stepped_over = NULL;
		regs[REG_EFL] &= ~TRAP_FLAG;
		return;
	}
	regs[REG_RIP]--;
	for (site = 0; sites[site].at != (void *)regs[REG_RIP]; site++)
		;
	printf("hit %d", site);
	for (int i = 0; i < nr_fetches; i++)
		if (fetches[i].site == site)
			take(fetches + i, regs);
	printf("\n");
	stepped_over = sites[site].at;
	*stepped_over = sites[site].original;
	regs[REG_EFL] |= TRAP_FLAG;
}

static void arm(void)
{
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
	char line[256];

	sigaction(SIGTRAP, &action, NULL);
	while (fgets(line, sizeof(line), stdin)) {
		struct fetch *fetch = fetches + nr_fetches;
		unsigned long at;
		int used;

		if (nr_fetches == 4 * MOST ||
		    sscanf(line, "%d %lx %c %d%n", &fetch->site, &at, &fetch->kind, &fetch->reg, &used) != 4 ||
		    fetch->site < 0 || fetch->site >= MOST)
			exit(2);
		for (char *rest = line + used, *end; fetch->loads < 4; rest = end, fetch->loads++) {
			fetch->offsets[fetch->loads] = strtol(rest, &end, 0);
			if (end == rest)
				break;
		}
		sites[fetch->site].at = (void *)at;
		nr_fetches++;
	}
	for (int site = 0; site < MOST; site++) {
		void *page = (void *)((unsigned long)sites[site].at & ~(PAGE_SIZE - 1));

		if (!sites[site].at)
			continue;
		if (mprotect(page, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC))
			exit(3);
		sites[site].original = *sites[site].at;
		*sites[site].at = 0xcc;
	}
}

static struct mm_struct mm;
static struct vm_area_struct vma = { .vm_mm = &mm };
static struct folio folios[2];

static void say_called(const char *function)
{
	printf("caller %s %lx\n", function, (unsigned long)last_caller);
}

int main(void)
{
	struct mmu_gather tlb = { .mm = &mm };
	struct zap_details details = { 0 };
	struct page *page = &folios[1].page;
	unsigned long start = 0x7f0000003000UL;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	arm();
	printf("objects tlb=%lx vma=%lx mm=%lx details=%lx pmds=%lx page=%lx folio=%lx\n",
	       (unsigned long)&tlb, (unsigned long)&vma, (unsigned long)&mm,
	       (unsigned long)&details, (unsigned long)pmds, (unsigned long)page,
	       (unsigned long)folios);

	printf("offsets page._mapcount=%zx page._refcount=%zx page.flags=%zx page.mapping=%zx vm_area_struct.vm_mm=%zx "
	       "mmu_gather.mm=%zx mm_struct.pgd=%zx\n", offsetof(struct page, _mapcount),
	       offsetof(struct page, _refcount), offsetof(struct page, flags),
	       offsetof(struct page, mapping),
	       offsetof(struct vm_area_struct, vm_mm), offsetof(struct mmu_gather, mm),
	       offsetof(struct mm_struct, pgd));

	printf("call unmap_page_range addr=%lx end=%lx\n", start, start + 3 * PMD_SIZE);
	unmap_page_range(&tlb, &vma, start, start + 3 * PMD_SIZE, &details);
	say_called("unmap_page_range");
	printf("call unmap_page_range addr=%lx end=%lx\n", 0x5000UL, 0x6000UL);
	unmap_page_range(&tlb, &vma, 0x5000, 0x6000, &details);
	say_called("unmap_page_range");

	printf("call reclaim_range addr=%lx end=%lx\n", 0x9000UL, 0xb000UL);
	reclaim_range(&tlb, &vma, 0x9000, 0xb000);

	printf("call zap_pte_range addr=%lx end=%lx\n", 0xd000UL, 0xe000UL);
	zap_by_pointer(&tlb, &vma, pmds + 2, 0xd000, 0xe000, &details);

	page->_mapcount.counter = 6;
	page->_refcount.counter = 8;
	printf("call page_remove_rmap mapcount=6 refcount=8\n");
	page_remove_rmap(page, &vma, 0);
	say_called("page_remove_rmap");
	printf("call folio_remove_rmap_range mapcount=5 refcount=8\n");
	folio_remove_rmap_range(folios, page, 5, &vma);
	say_called("folio_remove_rmap_range");

	printf("call free_unref_page mapcount=0 refcount=8\n");
	free_unref_page(page, 3);
	page->_mapcount.counter = -1;
	printf("call free_unref_page mapcount=-1 refcount=8\n");
	free_unref_page(page, 3);

	printf("call print_bad_pte addr=abc000\n");
	report(&vma, 0xabc000, (pte_t){ 0x123456 }, page);
	printf("end\n");
	return 0;
}
