"""A run's audit is used as long as it belongs to the run's dump."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.explain.audits import audit
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import AuditResult
from zaptrace.model.progress import ignore
from zaptrace.runs import evidence_loader
from zaptrace.runs.dump_identity import Identity
from zaptrace.runs.evidence_loader import EvidenceLoader
from zaptrace.runs.folder import RunFacts, RunFolder

FACTS = RunFacts("s390x", "image", __file__, "initrd", None, "zaptrace", ended="bad_page")
GONE = replace(FACTS, vmlinux="gone")
DUMP = Identity("aa", "0a77d9c2-1111", 4, 1)
STORED, FRESH = audit(), AuditResult("6.1.0", 1, 1, 1, 0.1)
PROG: Any = object()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    run = RunFolder.create("s390x", tmp_path / "run")
    run.vmcore.write_bytes(b"core")
    monkeypatch.setattr(
        evidence_loader, "audit", lambda *_, **__: SimpleNamespace(result=lambda: FRESH)
    )
    monkeypatch.setattr(evidence_loader, "cpu_registers", lambda _: {})
    monkeypatch.setattr(evidence_loader, "identity_of", lambda *_: DUMP)
    monkeypatch.setattr(evidence_loader, "open_program", lambda *_: PROG)
    return run


def test_the_audit_of_the_same_dump_is_kept(folder: RunFolder) -> None:
    folder.save_audit(STORED, DUMP)
    assert EvidenceLoader(folder, FACTS, ignore).audit() == STORED


@pytest.mark.parametrize(
    "of",
    [
        None,
        Identity("bb", DUMP.boot_id, 4, 1),
        Identity("aa", "0b77d9c2-1111", 4, 1),
        Identity("aa", DUMP.boot_id, 5, 1),
        Identity("aa", DUMP.boot_id, 4, 2),
    ],
)
def test_a_dump_that_was_replaced_is_audited_anew(folder: RunFolder, of: Identity | None) -> None:
    folder.save_audit(STORED, of)
    assert EvidenceLoader(folder, FACTS, ignore).audit() == FRESH
    assert (folder.audit(), folder.audited()) == (FRESH, DUMP)


def test_where_the_dump_cannot_be_opened_its_size_must_do(folder: RunFolder) -> None:
    folder.save_audit(STORED, DUMP)
    assert EvidenceLoader(folder, GONE, ignore).audit() == STORED
    folder.vmcore.write_bytes(b"another core")
    assert EvidenceLoader(folder, GONE, ignore).audit() is None
    folder.vmcore.unlink()
    assert EvidenceLoader(folder, GONE, ignore).audit() == STORED


def test_an_audit_of_an_older_zaptrace_does_not_say_of_what_it_is(folder: RunFolder) -> None:
    folder.save_audit(STORED)
    assert folder.audited() is None
    assert EvidenceLoader(folder, GONE, ignore).audit() == STORED


@pytest.mark.parametrize("of", ['"x"', "[1]", '{"size": 1}'])
def test_what_an_audit_says_of_its_dump_is_checked(folder: RunFolder, of: str) -> None:
    folder.audit_file.write_text(f'{{"vmcore": {of}}}')
    with pytest.raises(BadInput, match="of which dump"):
        folder.audited()
