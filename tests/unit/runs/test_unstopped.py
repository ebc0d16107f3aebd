"""A run in which bad_page() ran and no stop came of it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zaptrace.capture.writer import write
from zaptrace.model.events import Events, Kind, blank
from zaptrace.model.progress import ignore
from zaptrace.runs.explain_run import analyse
from zaptrace.runs.folder import RunFacts, RunFolder


def explained(path: Path, frees: int, **more: object) -> tuple[RunFacts, str]:
    folder = RunFolder.create("s390x", path)
    facts = RunFacts("s390x", "image", "vmlinux", "initrd", None, "zaptrace")
    for name, value in more.items():
        setattr(facts, name, value)
    records = blank(frees + 1)
    records["kind"] = Kind.BAD_PAGE
    records["kind"][0] = Kind.RMAP_REMOVE
    records["clock"] = np.arange(frees + 1)
    records["pfn"], records["raw_mapcount"], records["refcount"] = 7, 0, 0
    write(folder.capture, Events(records))
    folder.console.write_bytes(b"[    1.0] Linux version 6.12\n")
    folder.save_facts(facts)
    report = analyse(folder, facts, ignore).report
    return folder.facts(), report


def test_it_is_said_with_its_reason(tmp_path: Path) -> None:
    facts, report = explained(tmp_path, 3, ended="exit", stop_at="bad_page", kernel_offset=1 << 40)
    assert facts.not_stopped is not None
    assert facts.not_stopped.startswith("bad_page() ran 3 times, and the guest was not stopped")
    assert "its breakpoint was not hit" in facts.not_stopped
    assert "its memory shows a later moment" in " ".join(report.split())


def test_a_kernel_that_was_not_found_is_the_reason(tmp_path: Path) -> None:
    facts, _ = explained(tmp_path, 1, ended="exit", stop_at="bad_page")
    assert "ran once" in (facts.not_stopped or "")
    assert "where the kernel lies in memory was not found out" in (facts.not_stopped or "")


@pytest.mark.parametrize(
    ("frees", "more"),
    [
        (3, {"ended": "bad_page", "stop_at": "bad_page"}),
        (3, {"ended": "exit", "stop_at": "exit"}),
        (3, {"ended": "exit"}),
        (0, {"ended": "exit", "stop_at": "bad_page"}),
    ],
)
def test_nothing_is_said_where_no_stop_is_missing(
    frees: int, more: dict[str, object], tmp_path: Path
) -> None:
    assert explained(tmp_path, frees, **more)[0].not_stopped is None
