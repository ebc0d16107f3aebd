"""What the tests of the rules are made of: events of one page, findings, and their verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.explain.audits import audit
from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import RETURN_AFTER, VMEMMAP, ZAP_SITE, events_of
from zaptrace.explain import Evidence
from zaptrace.model.events import Kind, Origin
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner
from zaptrace.model.verdict import Verdict

GOLDEN = Path(__file__).parents[2] / "golden" / "splat"
PFN, MM = 0xA80, 0x8000_0400
TASK: dict[str, Any] = {"cpu": 1, "pid": 30, "tgid": 30, "comm": b"init"}


def zap(clock: int, **other: Any) -> dict[str, Any]:
    span = {"addr": 0x3FFFFFF0000, "end": 0x40000000000, "mm": MM, "site": ZAP_SITE}
    return {**TASK, "kind": Kind.ZAP, "clock": clock, **span, **other}


def of_page(kind: Kind, clock: int, raw: int, **other: Any) -> dict[str, Any]:
    about = {"pfn": PFN, "page": VMEMMAP + 64 * PFN, "raw_mapcount": raw}
    return {**TASK, "kind": kind, "clock": clock, **about, **other}


def freed(clock: int, raw: int = 0, **other: Any) -> dict[str, Any]:
    return of_page(Kind.PAGE_FREE, clock, raw, refcount=0, **other)


def refused(clock: int, raw: int = 0, **other: Any) -> dict[str, Any]:
    return of_page(Kind.BAD_PAGE, clock, raw, refcount=0, reason=1, stack=1, **other)


def removed(clock: int, raw: int = 0, **other: Any) -> dict[str, Any]:
    fields = {"nr": 1, "caller": RETURN_AFTER, "mm": MM, **other}
    return of_page(Kind.RMAP_REMOVE, clock, raw, **fields)


STOPPED = {"clock": 2**64 - 1, "origin": Origin.REGISTERS}
AT_THE_STOP = [zap(1000), freed(3000), {**refused(0), **STOPPED}]


MINE = Owner(30, "init", 0x3FFFFFFB000, None, MM)
OTHER = Owner(77, "holder", 0x1000, None, MM + 0x400)
FREE = {"pfn": PFN, "order": 0, "kind": "other", "free": True}


def finding(cls: FindingClass, ptes: int, mapcount: int, refcount: int, *owners: Owner) -> Finding:
    return Finding(cls, PFN, ptes, mapcount, refcount, (), owners, raw_mapcount=mapcount - 1)


def busy(one: Finding, *mms: int) -> AuditResult:
    """An audit of a dump in which CPUs were inside some mms."""
    details = {"mms_in_flight": len(mms), "in_flight": list(mms)}
    return replace(audit(one), details=details)


def told(rows: list[dict[str, Any]], ended: str = "exit", **more: Any) -> Verdict:
    lost = more.pop("lost", 0)
    more.setdefault("audit", None)
    return explain(Evidence(events_of(rows, lost=lost), ended=ended, **more))
