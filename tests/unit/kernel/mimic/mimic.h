/* SPDX-License-Identifier: GPL-2.0-only */
/* A few bytes of mm/: the structs and prototypes that zaptrace looks for in a kernel. */
#ifndef MIMIC_H
#define MIMIC_H

#define PMD_SIZE 0x200000UL
#define PMD_MASK (~(PMD_SIZE - 1))
#define PAGE_SIZE 4096UL

typedef struct { int counter; } atomic_t;
typedef struct { unsigned long pte; } pte_t;
typedef struct { unsigned long pmd; } pmd_t;

struct mm_struct {
	struct {
		unsigned long pad[7];
		unsigned long *pgd;
	};
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	struct mm_struct *vm_mm;
};

struct page {
	unsigned long flags;
	union {
		struct { void *lru[2]; void *mapping; };
		unsigned long private[5];
	};
	union {
		atomic_t _mapcount;
		unsigned int page_type;
	};
	atomic_t _refcount;
};

struct folio { struct page page; };
struct mmu_gather { unsigned long start; struct mm_struct *mm; };
struct zap_details { int even_cows; };

extern volatile unsigned long sink;
extern void *last_caller;
extern pmd_t pmds[16];
extern unsigned long (*volatile zap_by_pointer)(struct mmu_gather *, struct vm_area_struct *,
	pmd_t *, unsigned long, unsigned long, struct zap_details *);

void unmap_page_range(struct mmu_gather *tlb, struct vm_area_struct *vma,
	unsigned long addr, unsigned long end, struct zap_details *details);
void reclaim_range(struct mmu_gather *gather, struct vm_area_struct *area,
	unsigned long from, unsigned long to);
void page_remove_rmap(struct page *page, struct vm_area_struct *vma, _Bool compound);
void folio_remove_rmap_range(struct folio *folio, struct page *page, int nr,
	struct vm_area_struct *vma);
void free_unref_page(struct page *page, unsigned int order);
void report(struct vm_area_struct *vma, unsigned long addr, pte_t pte, struct page *page);

#endif
