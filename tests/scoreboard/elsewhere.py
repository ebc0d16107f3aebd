"""Faults of other functions than the zap: what each really does, and what may be said of it.

No evidence but the life of a page shows a COW or a fork at work: it must name kind and function.
Without it what is expected of them is
`unexplained`, or a weaker kind that is true all the same, with the cause among the readings that
the verdict leaves open.  Facts and readings that cannot be true of the fault are false
sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ALL = "csv"
LIFE = "l"


@dataclass(frozen=True)
class Cause:
    """What a fault does.

    Attributes:
        kinds: the verdicts that are true of it, beside `unexplained`.
        reading: words of the true cause; a sentence, a doubt or a finding must have them (a
            pattern).
        impossible: words that no fact may have, and with all of the evidence no reading: it did
            not happen (a pattern).
        silent: subsets of the evidence in which nothing shows: `clean` is right, too.
        symptom: subsets in which something shows, and not what could be a cause of it.
        shows: all of the evidence leaves no reading but one: `unexplained` is wrong then.
        by_life: what the life of the page shows: the verdict, and the function that it must
            name (a pattern).
    """

    kinds: frozenset[str]
    reading: str
    impossible: str
    silent: tuple[str, ...] = ()
    symptom: tuple[str, ...] = ()
    shows: bool = False
    by_life: tuple[str, str] | None = None


_TWO_REMOVALS = r"\bremoved\b.{,40}\btwice in one zap|an earlier zap had left behind"
_NO_REMOVAL = r"without removing its rmap"
_LATE = r"before its rmap was removed\b|freed_before_rmap_removed"
_OVERPUT = (
    r"reference was dropped|reference was not its own|by something that did not hold it|"
    r"refcount_overput"
)

CAUSES = {
    "cow": Cause(
        frozenset({"mapping_leaked"}),
        reading=r"its rmap was (not|never) removed|mapping_leaked",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}",
        by_life=("mapping_leaked", "wp_page_copy"),
    ),
    "fork": Cause(
        frozenset({"rmap_underflow", "mapped_without_rmap"}),
        reading=r"never added to the rmap|never was added",
        impossible=rf"{_TWO_REMOVALS}|{_NO_REMOVAL}",
        by_life=("mapped_without_rmap", "(__)?copy_present_ptes?"),  # since 6.9 of several
    ),
    "mprotect": Cause(
        frozenset({"mapping_leaked", "rss_mismatch"}),
        reading=r"PTE (alone )?(was|is) lost|mprotect",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|\bzapped\b",
        silent=("c",),
        symptom=("s", "cs"),
        by_life=("mapping_leaked", "change_(pte_range|present_ptes)"),  # the latter since 7.x
    ),
    "mremap": Cause(
        frozenset({"mapping_leaked", "rss_mismatch"}),
        reading=r"PTE (alone )?(was|is) lost|mremap",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|\bzapped\b",
        silent=("c",),
        symptom=("s", "cs"),
        by_life=("mapping_leaked", "move_ptes"),
    ),
    "pipe": Cause(
        frozenset({"refcount_overput"}),
        reading=_OVERPUT,
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}",
        by_life=("refcount_overput", "page_cache_pipe_buf_release"),
    ),
    "read": Cause(
        frozenset({"refcount_overput"}),
        reading=_OVERPUT,
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|{_LATE}|mapping_leaked",
        symptom=("v",),
        by_life=("refcount_overput", "shmem_file_read_iter"),
    ),
    "scribble": Cause(
        frozenset({"scribbled"}),
        reading=r"wrote (to|over) the counter|no recorded event did it",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}",
        by_life=("scribbled", "zapfault_stray_store"),
    ),
    "flag": Cause(
        frozenset({"scribbled"}),
        reading=r"\breserved\b",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|{_LATE}|mapping_leaked",
        symptom=("c", "v", "cv"),
        by_life=("scribbled", "zapfault_stray_store"),
    ),
    "hold": Cause(
        frozenset({"refcount_leaked"}),
        reading=r"did not drop it",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|{_LATE}|mapping_leaked|refcount_overput",
        silent=("c", "s", "cs"),
        by_life=("refcount_leaked", "iter_to_pipe"),
    ),
    "twice": Cause(
        frozenset({"freed_twice"}),
        reading=r"put is one too many",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|{_LATE}|mapping_leaked",
        silent=("c", "v", "cv"),
        by_life=("freed_twice", "page_cache_pipe_buf_release"),
    ),
    "driver": Cause(
        frozenset({"refcount_overput"}),
        reading=_OVERPUT,
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}|{_LATE}|mapping_leaked",
        symptom=("v",),
        by_life=("refcount_overput", "perf_mmap_fault"),
    ),
    "migrate": Cause(
        frozenset({"rmap_underflow", "mapped_without_rmap"}),
        reading=r"never added to the rmap|never was added",
        impossible=rf"{_TWO_REMOVALS}|{_NO_REMOVAL}",
        by_life=("mapped_without_rmap", "remove_migration_pte"),
    ),
    "swap": Cause(
        frozenset({"mapping_leaked"}),
        reading=r"its rmap was (not|never) removed|mapping_leaked",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}",
        by_life=("mapping_leaked", "try_to_unmap_one"),
    ),
}
"""Fault -> what it does."""

ZAP_CAUSES = {
    "batch": Cause(
        frozenset({"freed_before_rmap_removed"}),
        reading=r"rmap removal comes late|before its rmap was removed|freed_before_rmap_removed",
        impossible=_NO_REMOVAL,
        shows=True,
    ),
    "leak": Cause(
        frozenset({"mapping_leaked"}),
        reading=rf"rmap was (not|never) removed|{_NO_REMOVAL}|mapping_leaked",
        impossible=_TWO_REMOVALS,
        shows=True,
    ),
    "underflow": Cause(
        frozenset({"rmap_underflow"}),
        reading=r"twice in one zap",
        impossible=_NO_REMOVAL,
        shows=True,
    ),
    "stale": Cause(
        frozenset({"pte_left_behind"}),
        reading=r"left behind|left the PTE|PTE stayed|outlived its rmap",
        impossible=_NO_REMOVAL,
        shows=True,
    ),
    # The second zap finds a PTE of a page that counts no mapping, of a folio that does: since
    # 6.9 the kernel asks for the folio's, and prints nothing.
    "stale-large": Cause(
        frozenset({"pte_left_behind"}),
        reading=r"left behind|left the PTE|PTE stayed|outlived its rmap",
        impossible=_NO_REMOVAL,
        silent=("s",),
        shows=True,
    ),
    "overput": Cause(
        frozenset({"refcount_overput"}),
        reading=rf"{_OVERPUT}|last reference was another part's",
        impossible=_NO_REMOVAL,
        shows=True,
    ),
    "rss": Cause(
        frozenset({"rss_mismatch"}),
        reading=r"resident-set|rss",
        impossible=rf"{_NO_REMOVAL}|{_TWO_REMOVALS}",
        silent=("c",),
        shows=True,
    ),
}
"""Faults of the zap on kernels that the table of `expected` was not made on: there a verdict from a
part of the evidence may be short of the fault's own, with the cause among its readings."""

PAIRS = ("cow,mremap", "scribble,pipe")
"""Two at once, as `zapfault=` takes them: a verdict on either of them is right."""
FAULTS = (*CAUSES, *PAIRS)


def causes(fault: str) -> list[Cause]:
    """What a fault does, or each of a pair."""
    known = ZAP_CAUSES | CAUSES
    names = fault.split(",")
    return [known.get(name) or known[name.removesuffix("-large")] for name in names]


def expected(fault: str, subset: str = ALL) -> str:
    """The verdicts that are right, `unexplained` first."""
    if LIFE in subset and all(cause.by_life for cause in causes(fault)):
        return " or ".join(cause.by_life[0] for cause in causes(fault) if cause.by_life)
    kinds = {kind for cause in causes(fault) for kind in cause.kinds}
    return " or ".join(["unexplained", *sorted(kinds)])


def disagreements(
    fault: str, subset: str, verdict: dict[str, Any], pages: frozenset[int]
) -> Iterator[str]:
    """What of a verdict is false or missing, a phrase each.

    Args:
        fault: of FAULTS; of a pair, the verdict may be about either.
        verdict: as `explain --json` prints it.
        pages: the pages that were struck, as the victims said.
    """
    # A page that another task freed later (7.3: out of a batch of the LRU lists) leaves more open.
    own = verdict["comm"] == fault
    found = [list(_disagreements(cause, subset, verdict, pages, own)) for cause in causes(fault)]
    yield from min(found, key=len)


def _disagreements(
    cause: Cause, subset: str, verdict: dict[str, Any], pages: frozenset[int], own: bool
) -> Iterator[str]:
    if verdict["kind"] == "clean" and subset in cause.silent:
        return
    everything_is_there = set(ALL) <= set(subset)
    short = set() if cause.shows and everything_is_there and own else {"unexplained"}
    by_life = cause.by_life if LIFE in subset else None
    kinds = short | cause.kinds if by_life is None else {by_life[0]}
    if verdict["kind"] not in kinds:
        yield f"got {verdict['kind']}"
    if verdict["pfn"] is not None and verdict["pfn"] not in pages:
        yield f"page {verdict['pfn']:#x} was not struck"
    if verdict["pfn"] is None and verdict["kind"] not in ("rss_mismatch", "unexplained"):
        yield "it names no page"
    facts, readings = list(_facts(verdict)), list(_readings(verdict))
    everything = [*facts, *readings]
    yield from _unnamed(cause, subset, verdict, facts, everything)
    # What a part of the evidence cannot exclude is a reading that it leaves.
    for one in everything if everything_is_there else facts:
        if found := re.search(cause.impossible, one):
            yield f"it did not happen ({found[0]}): {one}"


def _unnamed(
    cause: Cause, subset: str, verdict: dict[str, Any], facts: list[str], everything: list[str]
) -> Iterator[str]:
    """The cause, where nothing names it: by the life a function, else a reading."""
    if LIFE in subset and cause.by_life is not None:
        if not any(re.search(rf"\b{cause.by_life[1]}\(\) at ", one) for one in facts):
            yield f"it does not name {cause.by_life[1]}()"
        return
    if LIFE in subset and verdict["kind"] in cause.kinds:
        return  # what the life says is no reading
    named = any(re.search(cause.reading, one) for one in everything)
    if not named and subset not in (*cause.silent, *cause.symptom):
        yield f"the cause is not among its readings: {cause.reading}"


_OTHERS = re.compile(r"(?P<many>\d+) more pages?: (?P<kind>\w+)$")


def false_others(fault: str, verdict: dict[str, Any]) -> Iterator[str]:
    """Verdicts on other pages that no fault of the boot has, a phrase each."""
    kinds = {kind for cause in causes(fault) for kind in cause.kinds} if fault != "none" else set()
    for said in verdict.get("others", ()):
        if (found := _OTHERS.match(said)) and found["kind"] not in kinds:
            yield f"no page is that: {said}"


def _facts(verdict: dict[str, Any]) -> Iterator[str]:
    """What the verdict says has happened."""
    sentences = verdict.get("sentences") or [{"text": verdict["summary"]}]
    yield from (one["text"] for one in sentences if not one.get("reading"))
    yield from (one["what"] for one in verdict.get("order", ()))


def _readings(verdict: dict[str, Any]) -> Iterator[str]:
    """What it says may have happened."""
    yield from (one["text"] for one in verdict.get("sentences", ()) if one.get("reading"))
    yield from verdict["doubts"]
