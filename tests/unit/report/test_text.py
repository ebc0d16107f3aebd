"""The report: every line fits a mail, everything that matters is in it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sentences import sentences
from tests.unit.report.builders import INFO, INFOS, VERDICT, VERDICTS
from zaptrace.model.clues import Cause, Clue
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.report.html.page import page
from zaptrace.report.run_info import RunInfo
from zaptrace.report.shell_commands import wrapped
from zaptrace.report.splat_excerpt import excerpt, kernels_words
from zaptrace.report.text import render, subject
from zaptrace.splat import parse

WIDTH = 72
GOLDEN = Path(__file__).parents[2] / "golden" / "splat"


def lines_of(verdict: Verdict = VERDICT, info: RunInfo = INFO) -> list[str]:
    return render(verdict, info).splitlines()


def test_the_first_line_is_a_subject() -> None:
    assert lines_of()[0] == "mm: page freed before its rmap was removed (pfn 0x1f3c5, mount/41)"


def test_times_are_relative_and_aligned() -> None:
    (start,) = (line for line in lines_of() if "zap_pte_range() begins" in line)
    (freed,) = (line for line in lines_of() if "handed to the allocator" in line)
    (bad,) = (line for line in lines_of() if "bad_page() refuses" in line)
    assert start.split()[:3] == ["+0.0", "CPU", "0"]
    assert freed.split()[:3] == ["+85.2", "CPU", "0"]
    assert bad.split()[:3] == ["-", "CPU", "0"]
    assert start.index("CPU") == freed.index("CPU") == bad.index("CPU")


def test_the_line_inside_the_zap_is_marked() -> None:
    marked = [line for line in lines_of() if line.startswith("  > ")]
    assert [line.split() for line in marked] == [
        [">", "try_zap_anon_pte_range", "mm/memory.c:1447"]
    ]


def test_the_proof_is_a_table() -> None:
    text = render(VERDICT, INFO)
    (row,) = (line for line in text.splitlines() if "more_mapcount_than_ptes" in line)
    assert row.split() == ["0x1f3c5", "0", "1", "0", "more_mapcount_than_ptes"]
    assert "mapped by mount/41 at 0x3ffd5a7f000" in text
    assert "flags: referenced|uptodate|swapbacked" in text


def test_environment_and_doubts_are_reported() -> None:
    text = render(VERDICT, INFO)
    for said in ("6.1.176-zaptrace s390x", "ab" * 20, "1234 events (7 lost)", "boot=1.61"):
        assert said in text
    assert "  zaptrace repro s390x\n" in text
    assert "  - The kernel was stopped before the rmap removal." in text
    assert "Nothing yet: it was stopped at the first instruction" in text


def test_nothing_seen_by_too_little_evidence_is_no_bug_and_not_clean() -> None:
    blind = Verdict(VerdictKind.UNEXPLAINED, sentences("Nothing wrong is seen."))
    info = dataclasses.replace(INFO, ended="exit", splats=0, findings=0)
    assert subject(blind, info).startswith("mm: nothing wrong was seen, by too little evidence")
    for wrong in (dataclasses.replace(info, findings=1), dataclasses.replace(info, ended="panic")):
        assert subject(blind, wrong).startswith("mm: something went wrong")
    assert subject(dataclasses.replace(blind, pfn=7), info).startswith("mm: something went wrong")


def test_a_clean_report_is_short() -> None:
    lines = lines_of(Verdict(VerdictKind.CLEAN, sentences("All is well.")))
    assert lines[0] == "mm: no bad page found (6.1.176-zaptrace, s390x)"
    assert len(lines) < 20
    assert not any("reproduce" in line for line in lines)


def test_the_splat_is_quoted_without_its_dumps() -> None:
    log = (GOLDEN / "x86_64_6.12_callers.log").read_bytes()
    first, second = parse(log)
    said = excerpt(log, second)
    assert said[0] == "BUG: Bad page state in process postgres  pfn:2b3c4d"
    assert said[1].startswith("page: refcount:0") and said[1].endswith("pfn:0x2b3c4d")
    assert not any(line.startswith(("raw:", "Modules")) or "T412" in line for line in said)
    assert said[-1] == " asm_exc_page_fault+0x26/0x30"
    assert excerpt(log, first)[0].endswith("pfn:10a00")
    lines = lines_of(info=dataclasses.replace(INFO, splat=said))
    assert "    ? __pfx_ext4_release+0x10/0x10" in lines


def test_what_a_page_is_is_quoted() -> None:
    """Its type, its folio's counters, its file system, and why it was dumped before a BUG()."""
    log = b"""[ 7.000001] page: refcount:2 mapcount:1 mapping:0000000000000000 index:0x5 pfn:0x7a7a7
[ 7.000002] head: order:1 mapcount:1 entire_mapcount:0 nr_pages_mapped:1 pincount:0
[ 7.000003] memcg:ffff888100041500
[ 7.000004] aops:ext4_da_aops ino:1c2 dentry name(?):"log"
[ 7.000005] flags: 0x20000000000006d(locked|referenced|uptodate|lru|head|node=0|zone=2)
[ 7.000006] page_type: f5(slab)
[ 7.000007] raw: 0200000000000040 ffff888100041500 dead000000000100 dead000000000122
[ 7.000008] page dumped because: VM_BUG_ON_FOLIO(folio_mapped(folio))
[ 7.000009] ------------[ cut here ]------------
[ 7.000010] kernel BUG at mm/filemap.c:154!
[ 7.000011] CPU: 7 UID: 0 PID: 4470 Comm: manager Not tainted 6.18.0-test #54 PREEMPT(voluntary)
[ 7.000012] RIP: 0010:filemap_unaccount_folio+0x153/0x1f0
"""
    said = excerpt(log, parse(log)[0])
    begun = ("page:", "head:", "memcg:", "aops:", "flags:", "page_type:", "page dumped", "kernel")
    assert all(any(line.startswith(word) for line in said) for word in begun), said
    assert not any(line.startswith("raw:") for line in said)


def test_a_neighbour_s_lines_are_not_quoted() -> None:
    log = (GOLDEN / "two_cpus_no_callers.log").read_bytes()
    for splat, other in zip(parse(log), ("beta", "alpha"), strict=True):
        said = "\n".join(excerpt(log, splat))
        assert f"pfn:{splat.pfn:#x}" in said and f"Comm: {splat.comm} " in said
        assert other not in said


@settings(max_examples=150, deadline=None)
@given(VERDICTS, INFOS)
def test_whatever_a_guest_says_it_fits_a_mail(verdict: Verdict, info: RunInfo) -> None:
    text = render(verdict, info)
    assert text.endswith("\n") and not text.endswith("\n\n")
    for line in text.split("\n"):
        assert len(line) <= WIDTH
        assert line.isprintable() and line == line.rstrip()


WORDS = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x17F, exclude_categories=("Cs", "Cc"))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(WORDS, WORDS.map(lambda word: word * 9)), min_size=1, max_size=8))
def test_a_wrapped_command_is_the_same_command(words: list[str]) -> None:
    import shlex

    lines = wrapped(shlex.join(words), WIDTH)
    assert all(len(line) <= WIDTH for line in lines)
    script = "args() { printf '%s\\0' \"$@\"; }\nargs " + "\n".join(lines) + "\n"
    told = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert told.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("command", ["", "echo 'open"])
def test_an_invalid_command(command: str) -> None:
    assert all(len(line) <= WIDTH for line in wrapped(command, WIDTH))


def test_the_report_does_not_name_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    text = render(VERDICT, dataclasses.replace(INFO, run="/home/somebody/runs/s390x-1"))
    assert "~/runs/s390x-1" in text
    assert "somebody" not in text


def test_the_kernel_s_words_are_about_what_the_verdict_is_about() -> None:
    console = (
        b"[    1.0] BUG: Bad page state in process a  pfn:00012\n"
        b"[    2.0] BUG: Bad rss-counter state mm:00000000ab type:MM_ANONPAGES val:6\n"
    )
    splats = parse(console)
    state, rss = VerdictKind.REFCOUNT_OVERPUT, VerdictKind.RSS_MISMATCH
    assert kernels_words(console, splats, state, 0x12)[0].endswith("pfn:00012")
    assert kernels_words(console, splats, rss, None)[0].endswith("val:6")
    assert kernels_words(console, splats, state, 0x13) == ()
    assert kernels_words(console, splats, VerdictKind.UNEXPLAINED, None) == ()


@pytest.mark.parametrize(
    ("kind", "evidence", "shown"),
    [
        (VerdictKind.FREED_BEFORE_RMAP_REMOVED, ("capture",), False),
        (VerdictKind.REFCOUNT_OVERPUT, ("splat", "vmcore"), False),
        (VerdictKind.FREED_BEFORE_RMAP_REMOVED, ("splat",), True),
        (VerdictKind.UNEXPLAINED, ("capture",), True),
    ],
)
def test_what_a_console_leaves_open_is_not_listed_where_events_explain_it(
    kind: VerdictKind, evidence: tuple[str, ...], shown: bool
) -> None:
    clue = Clue("mapcount", "a title", "The page was freed.", (Cause("a stray write"),))
    verdict = dataclasses.replace(VERDICT, kind=kind, evidence=evidence)
    info = dataclasses.replace(INFO, triage=(clue,))
    assert ("What stands out" in render(verdict, info)) is shown
    assert ('id="triage"' in page(verdict, info)) is shown
