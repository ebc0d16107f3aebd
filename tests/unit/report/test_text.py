"""The report: every line fits a mail, everything that matters is in it."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sentences import sentences
from zaptrace.model.clues import Cause, Clue
from zaptrace.model.findings import Finding, FindingClass, Owner
from zaptrace.model.verdict import CodeSite, OrderStep, Verdict, VerdictKind
from zaptrace.report.html.page import page
from zaptrace.report.run_info import RunInfo
from zaptrace.report.shell_commands import wrapped
from zaptrace.report.splat_excerpt import excerpt, kernels_words
from zaptrace.report.text import render, subject
from zaptrace.splat import parse

WIDTH = 72
GOLDEN = Path(__file__).parents[2] / "golden" / "splat"

VERDICT = Verdict(
    VerdictKind.FREED_BEFORE_RMAP_REMOVED,
    sentences(
        "mount/41 freed pfn 0x1f3c5 while it was still counted as mapped (mapcount 1, refcount 0)."
    ),
    0x1F3C5,
    "mount",
    41,
    (
        OrderStep("zap_pte_range() begins", 1_204_000_000, 0, 41, evidence="event"),
        OrderStep("the page is handed to the allocator", 1_204_085_200, 0, 41, 0, 0, "event"),
        OrderStep("bad_page() refuses it: nonzero mapcount", None, 0, 41, evidence="registers"),
    ),
    (
        CodeSite(
            "unmap_page_range",
            0xD64,
            "include/asm-generic/tlb.h:460",
            (
                "__tlb_remove_page at include/asm-generic/tlb.h:460",
                "try_zap_anon_pte_range at mm/memory.c:1447",
                "zap_pte_range at mm/memory.c:1499",
            ),
            "freed",
            0x21B0E4,
        ),
    ),
    (
        Finding(
            FindingClass.MORE_MAPCOUNT_THAN_PTES,
            0x1F3C5,
            0,
            1,
            0,
            ("referenced", "uptodate", "swapbacked"),
            (Owner(41, "mount", 0x3FFD5A7F000, "3ffd5a60000-3ffd5a81000 rw-p [stack]"),),
        ),
    ),
    ("The kernel was stopped before the rmap removal.",),
    ("capture",),
    ("2 more pages: mapping_leaked",),
)
INFO = RunInfo(
    run="/var/tmp/run",
    arch="s390x",
    kernel_release="6.1.176-zaptrace",
    build_id="ab" * 20,
    machine="s390-ccw-virtio, 512M, 2 CPUs, TCG",
    command="zaptrace repro s390x",
    ended="bad_page",
    events=1234,
    lost=7,
    findings=1,
    timing={"boot": 1.61},
)


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


def test_environment_and_doubts_are_told() -> None:
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


def test_a_neighbour_s_lines_are_not_quoted() -> None:
    log = (GOLDEN / "two_cpus_no_callers.log").read_bytes()
    for splat, other in zip(parse(log), ("beta", "alpha"), strict=True):
        said = "\n".join(excerpt(log, splat))
        assert f"pfn:{splat.pfn:#x}" in said and f"Comm: {splat.comm} " in said
        assert other not in said


TEXTS = st.text(max_size=120)
NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**64))
FINDINGS = st.builds(
    Finding,
    st.sampled_from(FindingClass),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(TEXTS, max_size=4).map(tuple),
    st.lists(st.builds(Owner, NUMBERS, TEXTS, NUMBERS, TEXTS), max_size=3).map(tuple),
    note=TEXTS,
)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(VerdictKind),
    st.lists(TEXTS, max_size=2).map(lambda texts: sentences(*texts)),
    NUMBERS,
    TEXTS,
    NUMBERS,
    st.lists(st.builds(OrderStep, TEXTS, NUMBERS, NUMBERS), max_size=4).map(tuple),
    st.lists(
        st.builds(
            CodeSite,
            TEXTS,
            NUMBERS,
            TEXTS,
            st.lists(TEXTS, max_size=3).map(tuple),
            st.sampled_from(("freed", "reported", None)),
        ),
        max_size=3,
    ).map(tuple),
    st.lists(FINDINGS, max_size=2).map(tuple),
    st.lists(TEXTS, max_size=3).map(tuple),
)
INFOS = st.builds(
    RunInfo,
    run=TEXTS,
    arch=TEXTS,
    kernel_release=TEXTS,
    machine=TEXTS,
    splat=st.lists(TEXTS, max_size=4).map(tuple),
    timing=st.dictionaries(TEXTS, st.floats(0, 1e9), max_size=3),
)


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
def test_a_command_that_is_none(command: str) -> None:
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
