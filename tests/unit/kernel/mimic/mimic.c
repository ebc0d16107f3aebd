// SPDX-License-Identifier: GPL-2.0-only
/* Functions under the kernel's names, with the kernel's prototypes: zap_pte_range
 * is inlined three levels deep, inlined elsewhere, and out of line as well. */
#include "mimic.h"

#define noinline __attribute__((noinline))
#define inlined static inline __attribute__((always_inline))
#define ENTER() (last_caller = __builtin_return_address(0))

const char linux_banner[] = "Linux version 6.1.0-mimic (nobody@nowhere) #1\n";
volatile unsigned long sink;
void *last_caller;
pmd_t pmds[16];

static noinline void clear_one(struct mmu_gather *tlb, pte_t *pte, unsigned long addr)
{
	tlb->start += addr;
	sink += pte->pte;
}

static inline unsigned long zap_pte_range(struct mmu_gather *tlb, struct vm_area_struct *vma,
	pmd_t *pmd, unsigned long addr, unsigned long end, struct zap_details *details)
{
	struct mm_struct *mm = tlb->mm;
	pte_t pte = { .pte = pmd->pmd };

	sink += (unsigned long)mm;
	do {
#ifndef FORGET /* else vma and details live on as entry values only */
		if (details && details->even_cows && addr == vma->vm_end)
			break;
#endif
		clear_one(tlb, &pte, addr);
	} while (addr += PAGE_SIZE, addr != end);
	return addr;
}

unsigned long (*volatile zap_by_pointer)(struct mmu_gather *, struct vm_area_struct *,
	pmd_t *, unsigned long, unsigned long, struct zap_details *) = zap_pte_range;

inlined unsigned long zap_pmd_range(struct mmu_gather *tlb, struct vm_area_struct *vma,
	unsigned long addr, unsigned long end, struct zap_details *details)
{
	pmd_t *pmd = pmds + addr / PMD_SIZE % 16;
	unsigned long next;

	do {
		unsigned long boundary = (addr + PMD_SIZE) & PMD_MASK;

		next = boundary - 1 < end - 1 ? boundary : end;
		next = zap_pte_range(tlb, vma, pmd, addr, next, details);
	} while (pmd++, addr = next, addr != end);
	return addr;
}

inlined unsigned long zap_pud_range(struct mmu_gather *tlb, struct vm_area_struct *vma,
	unsigned long addr, unsigned long end, struct zap_details *details)
{
	return zap_pmd_range(tlb, vma, addr, end, details);
}

noinline void unmap_page_range(struct mmu_gather *tlb, struct vm_area_struct *vma,
	unsigned long addr, unsigned long end, struct zap_details *details)
{
	ENTER();
	vma->vm_start++;
	zap_pud_range(tlb, vma, addr, end, details);
	sink++;
}

noinline void reclaim_range(struct mmu_gather *gather, struct vm_area_struct *area,
	unsigned long from, unsigned long to)
{
	sink += zap_pte_range(gather, area, pmds + 1, from, to, 0);
}

noinline void page_remove_rmap(struct page *page, struct vm_area_struct *vma, _Bool compound)
{
	ENTER();
	page->_mapcount.counter -= 1 + compound;
	sink += vma->vm_start;
}

noinline void folio_remove_rmap_range(struct folio *folio, struct page *page, int nr,
	struct vm_area_struct *vma)
{
	ENTER();
	page->_mapcount.counter -= nr;
	sink += folio->page.flags + vma->vm_start;
}

/* The last parameter is always 0: a compiler that clones makes bad_page.constprop.0. */
static noinline void bad_page(struct page *page, const char *reason, unsigned long bad_flags)
{
	ENTER();
	sink += page->flags + reason[0] + bad_flags;
}

noinline void free_unref_page(struct page *page, unsigned int order)
{
	ENTER();
	if (page->_mapcount.counter != -1)
		bad_page(page, "nonzero mapcount", 0);
	else if (page->_refcount.counter)
		bad_page(page, "nonzero _refcount", 0);
	sink += order;
}

static noinline void print_bad_pte(struct vm_area_struct *vma, unsigned long addr, pte_t pte,
	struct page *page)
{
	ENTER();
	sink += vma->vm_start + addr + pte.pte + page->flags;
}

void report(struct vm_area_struct *vma, unsigned long addr, pte_t pte, struct page *page)
{
	print_bad_pte(vma, addr, pte, page);
	sink++;
}
