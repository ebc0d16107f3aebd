"""`zaptrace inspect`: what it prints and its exit codes; the audit itself is replaced."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zaptrace.audit
import zaptrace.memory.open
from tests.documents import validate
from tests.unit.audit.inspect_words import FREED, parse
from zaptrace.cli import inspect
from zaptrace.model.errors import BadInput, Exit, Missing
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner, Unseen
from zaptrace.report import audit_text

BUSY = Finding(
    FindingClass.IN_FLIGHT, None, 0, None, None, mappings=(Owner(29, "init", None, None),)
)


def result(*findings: Finding, unseen: tuple[Unseen, ...] = ()) -> AuditResult:
    return AuditResult("6.1.0", 131072, 3, 519, 0.05, findings, unseen, {"special_ptes": 1})


Run = Callable[[AuditResult, str], Exit]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    def go(answer: AuditResult, *options: str) -> Exit:
        monkeypatch.setattr(zaptrace.memory.open, "open_program", lambda *_, **__: None)
        monkeypatch.setattr(
            zaptrace.audit, "audit", lambda prog, cpus: SimpleNamespace(result=lambda: answer)
        )
        core = tmp_path / "vmcore"
        core.write_bytes(b"KDUMP   ")  # a format without registers
        return inspect.run(parse(str(core), *options))

    return go


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ((), Exit.OK),
        ((BUSY,), Exit.OK),
        ((FREED,), Exit.BUG_FOUND),
        ((FREED, BUSY), Exit.BUG_FOUND),
    ],
)
def test_a_cpu_in_flight_is_no_bug_and_every_other_finding_is(
    run: Run, findings: tuple[Finding, ...], code: Exit
) -> None:
    assert run(result(*findings), "--json") is code


def test_json_is_one_document_of_the_schema(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(result(FREED, BUSY, unseen=(Unseen("page tables not in the dump", 2),)), "--json")
    document = json.loads(capsys.readouterr().out)
    validate(document, "inspect")
    assert document["findings"][0]["mappings"][0]["address"] == 0x3FFFFFFB000
    assert document["unseen"] == [{"what": "page tables not in the dump", "count": 2}]


def test_text_names_page_counters_and_owner_worst_class_first(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run(result(FREED, BUSY), *[])
    text = capsys.readouterr().out
    assert "pfn 0xa80: 0 PTEs, mapcount 1, refcount 0" in text
    assert "init/29 at 0x3ffffffb000" in text
    assert text.index("refcount_below_mapcount") < text.index("in_flight")


def test_text_says_so_when_all_is_well(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(result(), *[])
    assert "no finding" in capsys.readouterr().out


def test_pages_of_one_cause_are_shown_together() -> None:
    pages = [dataclasses.replace(FREED, pfn=2688 + number) for number in range(500)]
    text = "\n".join(audit_text.lines(result(*pages)))
    assert text.count("init/29 at") == 1
    assert "refcount_below_mapcount: 500\n" in text
    assert "499 alike" in text
    assert "0xa81, 0xa82" in text
    assert "(475 more)" in text


def test_causes_beyond_the_first_are_counted_and_the_most_frequent_comes_first() -> None:
    owners = [Owner(pid, "init", 0x1000, None, pid) for pid in range(100, 150)]
    alone = [dataclasses.replace(FREED, mappings=(owner,)) for owner in owners]
    twice = dataclasses.replace(FREED, mappings=(Owner(7, "leak", 0x1000, None),))
    text = "\n".join(audit_text.lines(result(*alone, twice, twice)))
    assert "refcount_below_mapcount: 52 of 51 causes" in text
    assert text.index("leak/7") < text.index("init/100")
    assert text.count("pfn 0xa80:") == audit_text.SHOWN_PER_CLASS
    assert "and 45 more" in text


def test_a_finding_names_the_pages_beside_it() -> None:
    beside = {"pfn": 0xA81, "kind": "free", "ptes": 0, "mapcount": None, "refcount": 0}
    folio = {"pfn": 0xA80, "order": 2, "kind": "anon", "free": False, "neighbours": [beside]}
    text = "\n".join(audit_text.lines(result(dataclasses.replace(FREED, folio=folio))))
    rows = [line.split() for line in text.splitlines()]
    assert [">", "0xa80", "anon", "0", "1", "0"] in rows
    assert ["0xa81", "free", "0", "-", "0"] in rows
    assert "anon, folio 0xa80 of order 2" in text


words = st.text("abc-/", min_size=1, max_size=70)
owners = st.builds(
    Owner,
    pid=st.none() | st.integers(1, 2**22),
    comm=words,
    address=st.none() | st.integers(0, 2**64 - 1),
    vma=st.none() | words,
)
numbers = st.none() | st.integers(-(2**31), 2**31)
findings_of_any_kind = st.builds(
    Finding,
    cls=st.sampled_from(FindingClass),
    pfn=st.none() | st.integers(0, 2**40),
    ptes=numbers,
    mapcount=numbers,
    refcount=numbers,
    flags=st.lists(words, max_size=9).map(tuple),
    mappings=st.lists(owners, max_size=6).map(tuple),
    note=st.none() | st.text("ab ", max_size=200),
)


@settings(deadline=None)
@given(st.lists(findings_of_any_kind, max_size=4), st.lists(words, max_size=2))
def test_any_result_fits_80_columns_and_the_schema(
    findings: list[Finding], gaps: list[str]
) -> None:
    answer = result(*findings, unseen=tuple(Unseen(what, 1) for what in gaps))
    assert all(len(line) <= 80 for line in audit_text.lines(answer))
    validate(json.loads(json.dumps(answer.to_json())), "inspect")


def test_every_class_has_its_meaning() -> None:
    assert set(audit_text.MEANING) == set(FindingClass)


def test_input_that_is_no_vmcore_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a dump")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        inspect.run(parse(str(text)))
    with pytest.raises(Missing, match="nowhere"):
        inspect.run(parse(str(tmp_path / "nowhere")))
