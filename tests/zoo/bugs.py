"""The bugs of the zoo: what boots each, and what it must be explained as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BOTH = ("s390x", "x86_64")
X86_64 = ("x86_64",)


@dataclass(frozen=True)
class Bug:
    """One bug that upstream has fixed.

    Attributes:
        name: its folder, and with `patched` what the lab kernel calls it in `zoo=NAME`.
        fix: the upstream commit that fixed it; "" where only its subject is known.
        subject: of that commit.
        does: what goes wrong, in a line.
        kind: the verdict.
        culprits: functions of which a line must be named, one of them; none where no struct page
            is wrong.  Where what was done is right and something was left undone, it is the
            caller that had it to do.
        arches: where the guests can have it.
        patched: the lab kernel has the fix, and `zoo=NAME` takes it away; else it never had it.
        memory, cpu, append: what its guest needs.
        race: it strikes in some boots only.
        series, flavour: of the lab kernel; no flavour: the series' own.
    """

    name: str
    fix: str
    subject: str
    does: str
    kind: str
    culprits: tuple[str, ...] = ()
    arches: tuple[str, ...] = BOTH
    patched: bool = True
    memory: str = "512M"
    cpu: str = ""
    append: str = ""
    race: bool = False
    series: str = "6.1"
    flavour: str | None = None

    @property
    def folder(self) -> Path:
        """Its README.md and trigger.c."""
        return HERE / self.name


_BUGS = (
    Bug(
        "uprobe-zeropage",
        "bddf10d26e6e",
        "uprobes: Reject the shared zeropage in uprobe_write_opcode()",
        "a uprobe replaces the zero page: an rmap is removed that was never added",
        "rmap_underflow",
        ("__replace_page",),
    ),
    Bug(
        "uprobe-mremap",
        "2b12d06c37fd",
        "mm: fix uprobe pte be overwritten when expanding vma",
        "mremap() overwrites the PTE of a page that uprobes have just mapped there",
        "mapping_leaked",
        ("__replace_page", "move_ptes"),
        patched=False,
    ),
    Bug(
        "ksm-zeropage",
        "a38c015f3156",
        "mm/ksm.c: fix inconsistent accounting of zero pages",
        "KSM replaces pages by the zero page, and MM_ANONPAGES stays",
        "rss_mismatch",
    ),
    Bug(
        "mlock-dontunmap",
        "597e4b9ab48a",
        "mm/mremap: fix locked_vm leak by splitting VMA for MREMAP_DONTUNMAP",
        "pages stay in locked_vm that no locked VMA has",
        "locked_vm_mismatch",
        patched=False,
    ),
    Bug(
        "unpoison-hugezero",
        "fe6f86f4b408",
        "mm/huge_memory: don't unpoison huge_zero_folio",
        "unpoisoning frees the huge zero page while it is mapped",
        "refcount_overput",
        ("unpoison_memory",),
        arches=X86_64,
        memory="1G",
    ),
    Bug(
        "unpoison-reserved",
        "",
        "mm, hwpoison: avoid trying to unpoison reserved page",
        "unpoisoning frees a page of the kernel's own code",
        "refcount_overput",
        ("unpoison_memory",),
        arches=X86_64,
    ),
    Bug(
        "swapoff-hugetlb",
        "7528c4fb1237",
        "mm/swapfile: skip HugeTLB pages for unuse_vma",
        "swapoff clears the entry of a 1 GB page and nothing else of it",
        "mapping_leaked",
        ("unuse_pud_range",),
        arches=X86_64,
        memory="4G",
        cpu="max",
        append="hugepagesz=1G hugepages=1",
    ),
    Bug(
        "finish-fault",
        "3fe2895cfecd",
        "mm: fix page leak with multiple threads mapping the same page",
        "of two faults on a huge page one drops no reference",
        "refcount_leaked",
        ("do_shared_fault",),
        arches=X86_64,
        memory="1G",
        race=True,
    ),
    Bug(
        "memfd-pin",
        "c56b6f3d801d",
        "mm/hugetlb: fix memfd_pin_folios free_huge_pages leak",
        "a page that is allocated for a pin keeps the allocation's reference",
        "refcount_leaked",
        ("memfd_alloc_folio", "memfd_pin_folios"),
        arches=X86_64,
        memory="1G",
        series="6.12",
        flavour="zoo",
    ),
    Bug(
        "uffd-move",
        "c50f8e6053b0",
        "mm: fix kernel BUG when userfaultfd_move encounters swapcache",
        "userfaultfd moves a swap entry, and its page in the swap cache stays at the source",
        "wrong_rmap",
        ("move_swap_pte", "move_pages_pte"),
        series="6.12",
        flavour="zoo",
    ),
)
BUGS = {bug.name: bug for bug in _BUGS}
