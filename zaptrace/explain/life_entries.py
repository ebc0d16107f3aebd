"""Which stores made a PTE and the rmap of its page miss each other, by the recorded life."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.life_naming import refer_writes, told, with_callers
from zaptrace.explain.predicates import Case, is_a
from zaptrace.life.named_life import NamedWrite
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import Sentence

_OF_AN_ENTRY = (
    FindingClass.WRONG_RMAP,
    FindingClass.WRITABLE_BUT_SHARED,
    FindingClass.STALE_MIGRATION_ENTRY,
    FindingClass.PTE_OUTSIDE_VMAS,
    FindingClass.WRITABLE_NOT_OWN,
    FindingClass.PTE_BEYOND_VMA,
    FindingClass.WRONG_FILE_PAGE,
)
_OF_ITS_HOME = (FindingClass.WRONG_RMAP, FindingClass.WRONG_FILE_PAGE)
"""Those that the folio's index and mapping may be to blame for."""
_OF_ITS_VMA = (FindingClass.PTE_OUTSIDE_VMAS, FindingClass.PTE_BEYOND_VMA)


def entry_store(case: Case) -> NamedWrite | None:
    """Return the store that made a (swap) PTE which is wrong about the page: its rmap does not lead
    there, or no kernel makes such; as far as the page tables' stores are known."""
    account = case.account
    wrong = is_a(case.story.finding, *_OF_AN_ENTRY)
    return account.entry if account is not None and account.whole and wrong else None


def entry_sentences(case: Case) -> Iterator[Sentence]:
    """Yield who stored the (swap) PTE that is wrong about the page."""
    one = entry_store(case)
    finding = case.story.finding
    if one is None or finding is None:
        return
    what = "PTE" if finding.ptes else "swap entry"
    if finding.cls is FindingClass.STALE_MIGRATION_ENTRY:
        what = "entry"
    yield Sentence(
        f"That {what} was last stored by {with_callers(one)}.", refer_writes((one,), told(case))
    )
    if finding.cls in _OF_ITS_VMA:
        yield Sentence(
            "What changed its VMA is not recorded: the entry may have been right then, and was "
            "left as it was.",
            refer_writes((one,), told(case)),
        )
    other = rmap_store(case)
    if other is not None and finding.cls in _OF_ITS_HOME:
        when = "after" if other.write.number > one.write.number else "before"
        yield Sentence(
            f"The folio's {' and '.join(rmap_members(other))} was last stored {when} that, by "
            f"{with_callers(other)}.",
            refer_writes((other,), told(case)),
        )


def rmap_store(case: Case) -> NamedWrite | None:
    """Return the last store before the stop that changed where the page's rmap leads."""
    writes = case.account.named.writes if case.account is not None else ()
    found = [one for one in writes if rmap_members(one) and not one.write.after_stop]
    return found[-1] if found else None


def misled_by(case: Case) -> NamedWrite | None:
    """Return the store after which PTE and rmap did not go together: the later one's."""
    entry, other = entry_store(case), rmap_store(case)
    misses = is_a(case.story.finding, *_OF_ITS_HOME)
    if entry is None or other is None or other.write.number < entry.write.number:
        return entry
    return other if misses else entry


def rmap_members(one: NamedWrite) -> list[str]:
    """Return which members that the rmap leads by a store changed."""
    return [name for name in ("mapping", "index") if one.write.change(name) is not None]
