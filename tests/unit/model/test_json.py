"""What is written as JSON is read back equal, and is what the schemas say."""

from __future__ import annotations

import json

from tests.documents import validate
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner, Unseen
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbePlan, ProbeSite
from zaptrace.model.splats import Frame, Splat


def test_a_plan_survives_json() -> None:
    args = {
        "addr": ProbeArg("%r7", "x64", addend=4096),
        "vma": ProbeArg("%r3", "x64", at_entry=True),
        "details": ProbeArg(None, note="optimised out"),
    }
    site = ProbeSite("zap", "unmap_page_range", 802, 0x21A382, True, "mm/memory.c:1572", args, "z")
    plan = ProbePlan("ab" * 20, "s390x", "6.1", (site,), (MissingEvent("x", "y"),), {"page": 48})
    data = json.loads(json.dumps(plan.to_json()))
    validate(data, "probes")
    assert ProbePlan.from_json(data) == plan


def test_an_audit_survives_json() -> None:
    owner = Owner(7, "init", 0x3FF0000, "3ff0000-3ff1000 rw-p", 0x1234)
    finding = Finding(
        FindingClass.MORE_MAPCOUNT_THAN_PTES,
        0x694,
        0,
        1,
        0,
        ("uptodate",),
        (owner,),
        {"head": 1},
        0,
    )
    audit = AuditResult("6.1", 10, 2, 30, 0.5, (finding,), (Unseen("tables", 1),), {"special": 3})
    data = json.loads(json.dumps(audit.to_json()))
    validate(data, "inspect")
    assert AuditResult.from_json(data) == audit


def test_a_splat_is_what_the_schema_says() -> None:
    splat = Splat("bad_page_state", pfn=0x694, trace=(Frame("bad_page", 1, 2, 3),))
    validate([json.loads(json.dumps(splat.to_json()))], "splat")
