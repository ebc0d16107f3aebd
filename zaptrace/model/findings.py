"""Findings: pages, folios and mms whose counters and page tables disagree."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import Any


class FindingClass(enum.Enum):
    """In which way they disagree; the values are `class` in JSON, which scripts match on."""

    MAPPED_BUT_FREE = "mapped_but_free"
    MORE_PTES_THAN_MAPCOUNT = "more_ptes_than_mapcount"
    MORE_MAPCOUNT_THAN_PTES = "more_mapcount_than_ptes"
    REFCOUNT_BELOW_MAPCOUNT = "refcount_below_mapcount"
    MAPCOUNT_UNDERFLOW = "mapcount_underflow"
    DIRTY_FREE_PAGE = "dirty_free_page"
    WRONG_RMAP = "wrong_rmap"
    """An anonymous folio's index or anon_vma does not lead to where its (swap) PTE is."""
    WRITABLE_BUT_SHARED = "writable_but_shared"
    STALE_MIGRATION_ENTRY = "stale_migration_entry"
    TAIL_WITHOUT_HEAD = "tail_without_head"
    """What no kernel makes: see `zaptrace.audit.impossible`."""
    PTE_OUTSIDE_VMAS = "pte_outside_vmas"
    PTE_BEYOND_VMA = "pte_beyond_vma"
    """It gives rights that its VMA has not."""
    WRITABLE_NOT_OWN = "writable_not_own"
    WRONG_FILE_PAGE = "wrong_file_page"
    """Entries that their VMA excludes: see `zaptrace.audit.entries`."""
    LRU_FLAG_MISMATCH = "lru_flag_mismatch"
    """PG_lru and the LRU lists: see `zaptrace.audit.lru`."""
    FREE_LIST_BROKEN = "free_list_broken"
    """A free list that does not lead on from a page: see `zaptrace.audit.free_lists`."""
    LEFT_LOCKED = "left_locked"
    """PG_locked, and no task that could hold it: see `zaptrace.audit.left_locked`."""
    REFCOUNT_LEAKED = "refcount_leaked"
    """References that nothing holds: see `zaptrace.audit.references`."""
    RSS_MISMATCH = "rss_mismatch"
    LOCKED_VM_MISMATCH = "locked_vm_mismatch"
    MM_COUNTER_MISMATCH = "mm_counter_mismatch"
    """total_vm, map_count or pgtables_bytes."""
    HUGETLB_POOL_MISMATCH = "hugetlb_pool_mismatch"
    IN_FLIGHT = "in_flight"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who maps (or mapped) the page.  Absent is None.

    Attributes:
        pid: process id (tgid) of a task that uses the mm; None when no task
            does any longer (an exiting process whose mm is being torn down).
        comm: that task's name.
        address: user virtual address, bytes.
        vma: `start-end flags what` in /proc/PID/maps style.
        mm: address of the mm_struct.
        entry_at: physical address of the (swap) PTE, where it was looked up.
    """

    pid: int | None
    comm: str | None
    address: int | None
    vma: str | None
    mm: int | None = None
    entry_at: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement.

    Attributes:
        ptes: PTEs found that map the page.
        mapcount: derived, `raw_mapcount + 1`; None when the field means
            something else (typed or free page).
        raw_mapcount: `page->_mapcount` as stored.
        refcount: `page->_refcount`.
        folio: head pfn, order and kind of the folio, or None.
        flags: page flags by name.
        note: one sentence more, or None ("CPU 0 is inside this mm's zap").
    """

    cls: FindingClass
    pfn: int | None
    ptes: int | None
    mapcount: int | None
    refcount: int | None
    flags: tuple[str, ...] = ()
    mappings: tuple[Owner, ...] = ()
    folio: dict[str, Any] | None = None
    raw_mapcount: int | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `inspect --json` prints it."""
        data = dataclasses.asdict(self)
        data["class"] = data.pop("cls").value
        data["flags"] = list(self.flags)
        data["mappings"] = [dataclasses.asdict(owner) for owner in self.mappings]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """Return the inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `data` is not what `to_json` made.
        """
        fields = dict(data)
        fields["cls"] = FindingClass(fields.pop("class"))
        fields["flags"] = tuple(fields["flags"])
        fields["mappings"] = tuple(Owner(**owner) for owner in fields["mappings"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Something that the audit could not look at, and how many of it."""

    what: str
    count: int


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit saw.

    Attributes:
        pages: struct pages looked at.
        mms: mm_structs walked.
        ptes: present PTEs that map normal pages.
        seconds: wall time of the audit alone.
    """

    kernel_release: str
    pages: int
    mms: int
    ptes: int
    seconds: float
    findings: tuple[Finding, ...] = ()
    unseen: tuple[Unseen, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    """Counts worth a line in the report (special PTEs, swap entries, ...)."""

    def to_json(self) -> dict[str, Any]:
        """Return it as `inspect --json` prints it."""
        return {
            "kernel_release": self.kernel_release,
            "pages": self.pages,
            "mms": self.mms,
            "ptes": self.ptes,
            "seconds": self.seconds,
            "findings": [finding.to_json() for finding in self.findings],
            "unseen": [{"what": gap.what, "count": gap.count} for gap in self.unseen],
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AuditResult:
        """Return the inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: `data` is not what `to_json` made.
        """
        return cls(
            kernel_release=data["kernel_release"],
            pages=data["pages"],
            mms=data["mms"],
            ptes=data["ptes"],
            seconds=data["seconds"],
            findings=tuple(Finding.from_json(finding) for finding in data["findings"]),
            unseen=tuple(Unseen(gap["what"], gap["count"]) for gap in data["unseen"]),
            details=dict(data.get("details", {})),
        )
