"""A real audit, of `zaptrace repro s390x --fault stale,underflow --stop-at exit`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner

_FILE = Path(__file__).parent / "data" / "audit.json"


def real_audit(*more: Finding) -> AuditResult:
    """An underflow, two pages with more PTEs than mapcount, and `more`: worse if about a page."""
    result = AuditResult.from_json(json.loads(_FILE.read_text(encoding="utf-8")))
    worse = (one for one in more if one.pfn is not None)
    of_mms = (one for one in more if one.pfn is None)
    return dataclasses.replace(result, findings=(*worse, *result.findings, *of_mms))


def about(pfn: int) -> Finding:
    """What the audit says of a page of the founding bug, stopped at bad_page()."""
    owner = Owner(41, "mount", 0x3FF_9567_7000, "3ff95676000-3ff9567c000 rw-p", 0x1AD_9000)
    note = "none of the mappings named here has a PTE any more"
    mappings = (owner, *(dataclasses.replace(owner, pid=pid) for pid in range(42, 48)))
    return Finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, pfn, 0, 1, 0, mappings=mappings, note=note)


def of_an_mm(cls: FindingClass = FindingClass.RSS_MISMATCH) -> Finding:
    """An mm whose counters are wrong."""
    owner = Owner(77, "rss-large", None, None, 0x1AD_9000)
    note = "MM_ANONPAGES is 512, its page tables map 0"
    return Finding(cls, None, 31, None, None, mappings=(owner,), note=note)
