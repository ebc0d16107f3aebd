"""What a code site did, in a reader's words; which step of the order it belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.explain.clears import is_clearing
from zaptrace.explain.sites import zap_line
from zaptrace.model.verdict import CodeSite, OrderStep

_ZAP_ENTRY = "zap_entry"
_TITLES = {
    "freed": "Freed",
    "rmap_removed": "Rmap removed",
    "pte_cleared": "PTE cleared",
    _ZAP_ENTRY: "PTE cleared in a zap entered at",
    "reported": "Reported",
}
_MARKS = {
    "freed": "the page is freed",
    "rmap_removed": "its rmap is removed",
    "pte_cleared": "the PTE is cleared",
    _ZAP_ENTRY: "the zap begins",
    "reported": "the page is refused",
}
# Steps are sentences: explain.order's.
_STEPS = (
    ("zap_pte_range() begins", "pte_cleared"),
    ("rmap is removed", "rmap_removed"),
    ("handed to the allocator", "freed"),
    ('"Bad page state" is printed', "freed"),
    ("bad_page() refuses it", "reported"),
)


def _role(site: CodeSite) -> str:
    if site.role == "pte_cleared" and not is_clearing(site):
        return _ZAP_ENTRY
    return site.role or ""


def title(site: CodeSite) -> str:
    """A site's heading."""
    return _TITLES.get(_role(site), "Site")


def mark(site: CodeSite) -> str:
    """What happens at a line, as a remark beside it."""
    return _MARKS.get(_role(site), "here")


def marked_line(site: CodeSite) -> tuple[str, str | None]:
    """The function and the `file:line` that a reader wants to see first.

    What lies in a zap is shown there, not in the helpers inlined into it.
    """
    inside = zap_line(site) if _role(site) != _ZAP_ENTRY else None
    if inside and inside.source:
        return inside.function, inside.source
    first = next(iter(site.inline_chain), "").partition(" at ")[0]
    return first or site.symbol or "?", site.source


def place(step: OrderStep, sites: Sequence[CodeSite]) -> str | None:
    """`mm/memory.c:1464 in f()`: where a step was done; None when nothing says so."""
    role = next((role for said, role in _STEPS if said in step.what), None)
    site = next((one for one in sites if one.role == role), None) if role else None
    if site is None:
        return None
    function, source = marked_line(site)
    return f"{source} in {function}()" if source else None


def chain_of(site: CodeSite) -> tuple[tuple[str, str], ...]:
    """The inline chain as (function, `file:line`), innermost first."""
    links = [link.partition(" at ") for link in site.inline_chain]
    if not links and site.source:
        return ((site.symbol or "?", site.source),)
    return tuple((function, source) for function, _, source in links)


def shared_tail(site: CodeSite, first: CodeSite) -> int:
    """How many of its outermost links a site shares with another; those need no second telling."""
    mine, other = chain_of(site), chain_of(first)
    if site is first:
        return 0
    shared = 0
    while shared < min(len(mine), len(other)) - 1 and mine[-1 - shared] == other[-1 - shared]:
        shared += 1
    return shared if shared > 1 else 0
