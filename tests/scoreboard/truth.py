"""What really happened in a boot, and what of a verdict does not agree with it.

Known from the victims' own words and, for the founding bug, from the lines that the kernel
printed: nothing of zaptrace has looked at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.scoreboard.expected import Weaker
from tests.victims import LARGE, victims
from zaptrace.explain.order import LAST_ZAP

Row = dict[str, Any]
_REFUSED = re.compile(r"BUG: Bad page state in process (?P<comm>\S+)  pfn:(?P<pfn>[0-9a-f]+)")
_ZAP = re.compile(r"zap_pte_range\(\) begins on (?P<addr>0x[0-9a-f]+)-(?P<end>0x[0-9a-f]+)")
_FUNCTION = {"batch": "try_zap_anon_pte_range"}
"""The zap function at fault; `zap_pte_range` where the table does not say."""
WHOLE_PAGE_UNKNOWN = ("rss_mismatch", "clean")
"""Verdicts that are not about a page."""


@dataclass(frozen=True)
class Truth:
    """Whom a verdict may name.

    Attributes:
        pages: the pages that were struck, and those of their large folios.
        comms: the tasks that struck or owned them.
        function: that took them down.
        addresses: page -> where the victims had it mapped.
    """

    pages: frozenset[int] = frozenset()
    comms: frozenset[str] = frozenset()
    function: str | None = None
    addresses: Mapping[int, frozenset[int]] = field(default_factory=dict)


def truth(fault: str, console: str) -> Truth:
    """From a boot's whole console, whatever part of it a verdict was made from."""
    if fault == "none":
        return Truth()
    function = _FUNCTION.get(fault, "zap_pte_range")
    if fault == "batch":
        refused = list(_REFUSED.finditer(console))
        printed = frozenset(int(one["pfn"], 16) for one in refused)
        return Truth(printed, frozenset(one["comm"] for one in refused), function)
    said = [one for one in victims(console) if one.fault in fault.split(",")]
    pages = {one.pfn for one in said}
    addresses = {page: frozenset(one.address for one in said if one.pfn == page) for page in pages}
    if fault.endswith("-large"):
        pages = {page for one in said for page in range(one.head, one.head + LARGE)}
    comms = frozenset(one.fault for one in said)
    return Truth(frozenset(pages), comms, function, addresses)


def disagreements(verdict: Row, real: Truth, subset: str, weaker: Weaker | None) -> Iterator[str]:
    """What of a verdict of the expected kind is wrong all the same, a phrase each."""
    page, comm, function = verdict["pfn"], verdict["comm"], verdict["function"]
    if page is None and real.pages and verdict["kind"] not in WHOLE_PAGE_UNKNOWN and not weaker:
        yield "it names no page"
    if page is not None and page not in real.pages:
        yield f"page {page:#x} was not struck"
    if comm is not None and comm not in real.comms:
        yield f"task {comm} was not struck"
    if comm is None and page is not None and subset != "v":
        yield "it names no task"
    if function is not None and function != real.function:
        yield f"{function}() is not at fault"
    # A large folio's part is freed with the gather of other pages: whose, nothing says.
    parts = len(real.pages) >= LARGE and verdict["kind"] == "refcount_overput"
    if function is None and page is not None and "c" in subset and not parts:
        yield "it names no function"
    if weaker:
        said = " ".join([verdict["summary"], *verdict["doubts"]])
        yield from (f"it does not say: {words}" for words in weaker.says if words not in said)


def of_another_address(verdict: Row, real: Truth) -> Iterator[str]:
    """Steps of the order that name a zap which does not cover the page's address.

    One that is said to be the last before the free may be of another part of the folio.
    """
    at = real.addresses.get(verdict["pfn"], frozenset())
    for step in verdict.get("order", ()) if at else ():
        zap = _ZAP.search(step["what"])
        if (
            zap
            and LAST_ZAP not in step["what"]
            and not any(int(zap["addr"], 16) <= one < int(zap["end"], 16) for one in at)
        ):
            yield f"it is no zap of the page: {step['what']}"
