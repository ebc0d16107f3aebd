"""Invented logs, whole and in pieces: whatever is said stands in the log."""

from __future__ import annotations

import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.triage.builders import ALLOCATED, DRAINED, FREED, Dump, bad_map, log
from zaptrace.explain import Evidence, explain
from zaptrace.explain.evidence import LOG
from zaptrace.model.task_name import task_name
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.report.clues import clue_lines, short_lines
from zaptrace.splat import parse
from zaptrace.splat.kinds import from_mm
from zaptrace.triage import BootFacts, Console, triage
from zaptrace.triage.fingerprint import fingerprint
from zaptrace.triage.groups import LogOrigin, group
from zaptrace.triage.stacks import Way, read_stack

ZAP = ("zap_pte_range", "unmap_page_range", "unmap_vmas")
STACKS = (
    (),
    ("bad_page",),
    FREED,
    ALLOCATED,
    DRAINED,
    (*FREED[:4], *ZAP),
    (*DRAINED[:4], *ZAP),
    (*ALLOCATED[:3], "rcu_do_batch"),
    (*FREED[:4], "rcu_do_batch", "handle_softirqs"),
)
REASONS = (
    *("nonzero mapcount", "nonzero _refcount", "non-NULL mapping", "page_pool leak"),
    *("PAGE_FLAGS_CHECK_AT_FREE flag(s) set", "PAGE_FLAGS_CHECK_AT_PREP flag(s) set"),
    *("corrupted mapping in tail page", "page still charged to cgroup"),
)
ONE_LINERS = (
    "BUG: Bad rss-counter state mm:00000000aa11bb22 type:MM_ANONPAGES val:1",
    "BUG: non-zero pgtables_bytes on freeing mm: 4096",
    "mm/pgtable-generic.c:33: bad pmd ffff882101234cd8(0000012c111001e2)",
    "get_swap_device: Bad swap file entry 2f00000000000",
    "BUG: Bad page state: 3 messages suppressed",
    "kernel BUG at mm/rmap.c:1234!",
    "WARNING: CPU: 0 PID: 826 at mm/rmap.c:414 page_add_anon_rmap+0xa9/0x2ef",
    "EXT4-fs (vda): mounted filesystem",
)
numbers = st.sampled_from((-(1 << 20), -129, -128, -2, -1, 0, 1, 2, 65536))
words = st.sampled_from((0, 1, 0x400, 0xDEAD000000000100, 0x6B6B6B6B6B6B6B6B, 0x50545448_20202020))
dumps = st.builds(
    Dump,
    pfn=st.sampled_from((0x1234, 0x5678)),
    refcount=numbers,
    mapcount=numbers,
    mapping=words,
    flags=st.sampled_from(("node=0", "locked|lru", "reserved|node=0", "head|node=0")),
    reason=st.sampled_from(REASONS),
    task=st.sampled_from(("a/7", "b/8", "ksoftirqd/0")),
    taint=st.sampled_from(("", "G    B", "P           OE")),
    stack=st.sampled_from(STACKS),
    words=st.dictionaries(st.integers(0, 7), words, max_size=3),
).map(Dump.lines)
maps = st.builds(
    bad_map,
    mapcount=st.sampled_from((None, -1, 0, 1, -128)),
    vm_flags=st.sampled_from((0x75, 0x4404, 0x10000000)),
    flags=st.sampled_from(("node=0", "reserved|node=0", "slab|node=0")),
    pfn=st.sampled_from((0x1234, 0x5678)),
    stack=st.sampled_from(((), ("print_bad_pte", *ZAP), ("print_bad_pte", "other"))),
)
reports = st.lists(
    st.one_of(dumps, maps, st.sampled_from(ONE_LINERS).map(lambda line: [line])), max_size=6
)


def explained(data: bytes) -> tuple[Verdict, Console]:
    boot = BootFacts(lines=True)
    splats = tuple(parse(data))
    return explain(Evidence(splats=splats, ended=LOG, console=True, boot=boot)), Console(splats)


def is_true(data: bytes) -> None:
    verdict, console = explained(data)
    splats = console.splats
    if any(from_mm(splat) for splat in splats):
        assert verdict.kind is not VerdictKind.CLEAN
    assert verdict.pfn is None or any(splat.pfn == verdict.pfn for splat in splats)
    freers = [
        f"{task_name(splat.comm or splat.process, splat.pid)} freed"
        for splat in splats
        if splat.kind == "bad_page_state" and read_stack(splat.trace).way is Way.FREE
    ]
    for said in re.findall(r"(\S+ freed) pfn", verdict.summary):
        assert said in freers, data.decode()
    if not freers:
        assert not any(site.role == "freed" for site in verdict.sites)
        assert verdict.kind is not VerdictKind.FREED_BEFORE_RMAP_REMOVED
    printed = data.decode().lower().replace("0x", "")
    for value in re.findall(r"0x([0-9a-f]{3,16})\b", verdict.summary):
        assert value.lstrip("0") in printed, (value, data.decode())
    for clue in triage(console):
        assert clue.lines
        assert all(len(line) <= 72 for line in clue_lines(clue, 72))
    assert all(len(line) <= 80 for line in short_lines(triage(console), 80))
    for splat in splats:
        assert len(fingerprint(splat)) == 12
    assert sum(one.count for one in group([(LogOrigin("x"), splats)])) == len(splats)


@settings(max_examples=150, deadline=None)
@given(reports)
def test_whole_reports(some: list[list[str]]) -> None:
    is_true(log(*some))


@settings(max_examples=150, deadline=None)
@given(reports, st.randoms(use_true_random=False))
def test_reports_that_lost_lines(some: list[list[str]], rng: random.Random) -> None:
    lines = log(*some).splitlines(keepends=True)
    kept = [line for line in lines if rng.random() > 0.2]
    is_true(b"".join(kept))


@settings(max_examples=100, deadline=None)
@given(reports, st.integers(0, 1 << 12))
def test_logs_that_begin_and_end_in_the_middle(some: list[list[str]], at: int) -> None:
    data = log(*some)
    at = at % (len(data) or 1)
    is_true(data[at:])
    is_true(data[:at])
