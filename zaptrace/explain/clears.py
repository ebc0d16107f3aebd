"""The names of what takes a present PTE down."""

from __future__ import annotations

import re

from zaptrace.model.verdict import CodeSite

# ptep_get_and_clear_full() and the like; {get_and_,}clear_{full_,}ptes() since 6.9.  Not
# pte_clear_not_present_full(), which takes swap entries.
_CLEARS = re.compile(
    r"(?:native_(?:local_)?)?ptep_(?:get_and_clear|clear_flush)\w*"
    r"|(?:get_and_)?clear_(?:full_)?ptes\w*"
)


def clears(function: str) -> bool:
    """A function whose work is to clear a present PTE."""
    return _CLEARS.fullmatch(function) is not None


def is_clearing(site: CodeSite) -> bool:
    """The site is where the PTE itself is cleared, not only a zap that does so somewhere."""
    return any(clears(link.partition(" at ")[0]) for link in site.inline_chain)
