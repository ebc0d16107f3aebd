"""What a code site did, in a reader's words; which step of the order it belongs to."""

from __future__ import annotations

from zaptrace.explain.kernel_functions import clears, is_clearing
from zaptrace.explain.sites import zap_line
from zaptrace.model.verdict import CodeSite, OrderStep, Verdict
from zaptrace.triage.stacks import of_allocator

_ZAP_ENTRY = "zap_entry"
_TITLES = {
    "freed": "Freed",
    "rmap_removed": "Rmap removed",
    "pte_cleared": "PTE cleared",
    _ZAP_ENTRY: "Zap entered",
    "reported": "Reported",
    "culprit": "By its life",
    "entry_stored": "Entry stored",
    "rmap_stored": "Rmap stored",
    "flag_set": "Flag set",
    "table_taken_out": "Page table taken out",
    "pte_set": "PTE set",
    "freed_mapped": "Freed while mapped",
}
_MARKS = {
    "freed": "the page is freed",
    "rmap_removed": "its rmap is removed",
    "pte_cleared": "the PTE is cleared",
    "reported": "the page is refused",
    "culprit": "this has no partner",
    "entry_stored": "the entry that is wrong is stored",
    "rmap_stored": "the rmap leads elsewhere from here on",
    "flag_set": "the flag that was left is set",
    "table_taken_out": "the page table goes, and is never freed",
    "pte_set": "the PTE is set",
    "freed_mapped": "the page is freed, and the PTE stays",
}
# Steps are sentences: explain.order's.
_STEPS = (
    ("zap_pte_range() begins", "pte_cleared"),
    ("rmap is removed", "rmap_removed"),
    ("handed to the allocator", "freed"),
    ('"Bad page state" is printed', "freed"),
    ("bad_page() refuses it", "reported"),
)
_TURNS = ("rmap is removed again", "its PTE stays", "never removed", "PTE is still there")


def _role(site: CodeSite) -> str:
    if site.role == "pte_cleared" and not is_clearing(site):
        return _ZAP_ENTRY
    return site.role or ""


def title(site: CodeSite) -> str:
    """Return a site's heading."""
    return _TITLES.get(_role(site), "Site")


def mark(site: CodeSite) -> str | None:
    """Return what happens at a line, as a remark beside it; None where its code says
    nothing."""
    role = _role(site)
    return None if role == _ZAP_ENTRY else _MARKS.get(role, "here")


def marked_line(site: CodeSite) -> tuple[str, str | None]:
    """Return the function and the `file:line` that a reader wants to see first.

    A free is shown in its zap, not in the helpers inlined into it; a PTE that is cleared and
    an rmap that is removed, where the function for it is called, which is in no header.
    """
    role = _role(site)
    if role in ("pte_cleared", "rmap_removed"):
        links = chain_of(site)
        callers = (link for link in links if not (clears(link[0]) or ".h:" in link[1]))
        return next(callers, (*links, (site.symbol or "?", site.source))[0])
    inside = zap_line(site) if role != _ZAP_ENTRY else None
    if inside and inside.source:
        return inside.function, inside.source
    links = chain_of(site)
    if role == "freed" and (own := [link for link in links if not of_allocator(link[0])]):
        return own[0]
    return links[0] if links else (site.symbol or "?", site.source)


def places(verdict: Verdict) -> list[str | None]:
    """Return `mm/memory.c:1464 in f()` for each step of the order; None where nothing says so.

    Of two steps that a site could be of, it is the later one's.
    """
    found: list[str | None] = []
    left = {site.role: site for site in verdict.sites}
    for step in reversed(verdict.order):
        role = next((role for said, role in _STEPS if said in step.what), None)
        site = left.pop(role, None) if role else None
        function, source = marked_line(site) if site else ("", None)
        found.append(f"{source} in {function}()" if source else None)
    return found[::-1]


def is_freed_wrong(step: OrderStep) -> bool:
    """Return whether the page was freed while it was still counted as mapped."""
    freed = any(said in step.what for said in ("handed to the allocator", "refuses it"))
    return freed and step.raw_mapcount is not None and step.raw_mapcount >= 0


def is_turn(step: OrderStep) -> bool:
    """Return whether this is the step at which it goes wrong, or is seen to have gone wrong."""
    return is_freed_wrong(step) or any(said in step.what for said in _TURNS)


def chain_of(site: CodeSite) -> tuple[tuple[str, str], ...]:
    """Return the inline chain as (function, `file:line`), innermost first."""
    links = [link.partition(" at ") for link in site.inline_chain]
    if not links and site.source:
        return ((site.symbol or "?", site.source),)
    return tuple((function, source) for function, _, source in links)


def shared_tail(site: CodeSite, first: CodeSite) -> int:
    """Return how many of its outermost links a site shares with another; those need no second
    telling."""
    mine, other = chain_of(site), chain_of(first)
    if site is first:
        return 0
    shared = 0
    while shared < min(len(mine), len(other)) - 1 and mine[-1 - shared] == other[-1 - shared]:
        shared += 1
    return shared if shared > 1 else 0
