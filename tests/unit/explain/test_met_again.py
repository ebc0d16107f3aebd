"""A page that a zap freed while it was mapped, and met again with a mapcount of -1."""

from __future__ import annotations

import pytest

from tests.unit.explain.checked import explain
from zaptrace.explain import Evidence
from zaptrace.model.verdict import VerdictKind
from zaptrace.splat import parse

_PAGE = (
    "page:000000001234abcd refcount:0 mapcount:{count} mapping:0000000000000000 index:0x2aa1 "
    "pfn:0x11223\n"
)
_TASK = "CPU: 0 PID: 88 Comm: sshd Not tainted {release} #1\nCall Trace:\n"
_FREE = " dump_stack+0x1/0x9\n bad_page+0x1/0x9\n free_unref_page+0x1/0x9\n"
_BAD_PTE = " dump_stack+0x1/0x9\n print_bad_pte+0x1/0x9\n"
_ZAP = " unmap_page_range+0x{at}/0x90\n unmap_vmas+0x{out}/0x9\n"
_LOG = (
    "BUG: Bad page state in process sshd  pfn:11223\n"
    + _PAGE.format(count=1)
    + "page dumped because: nonzero mapcount\n"
    + _TASK
    + _FREE
    + _ZAP.format(at=10, out=2)
    + "BUG: Bad page map in process sshd  pte:1122340f pmd:0b3c2800\n"
    + _PAGE.format(count=-1)
    + "page dumped because: bad pte\n"
    "addr:000002aa10000000 vm_flags:00100073 anon_vma:0000000081a2b3c4 "
    "mapping:0000000000000000 index:2aa1\n" + _TASK + _BAD_PTE
)
ONE_ZAP = _LOG + _ZAP.format(at=20, out=2)
ANOTHER_ZAP = _LOG + _ZAP.format(at=20, out=4)


def _sentences(log: str, release: str) -> tuple[str, list[str]]:
    splats = parse(log.format(release=release).encode())
    verdict = explain(Evidence(None, splats, console=True))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    said = [one.text for one in verdict.sentences]
    return " ".join(said), [one.text for one in verdict.sentences if one.reading]


def test_where_bad_page_reset_the_count_one_removal_came_after_the_free() -> None:
    said, readings = _sentences(ONE_ZAP, "6.1.90")

    assert "met it once more, by PTE 0x1122340f at 0x2aa10000000, with mapcount -1" in said
    assert "bad_page() had reset its count, so one rmap removal came after the free." in said
    assert "freed_before_rmap_removed" in readings[0]
    assert "refcount_overput" in readings[1]
    assert not any("removed twice" in one for one in readings)


def test_where_bad_page_left_the_count_two_removals_came() -> None:
    said, readings = _sentences(ONE_ZAP, "6.12.1")

    assert "with mapcount -1." in said
    assert "reset" not in said
    assert "removed twice in one zap" in readings[0]


def test_where_no_release_is_printed_both_are_left_open() -> None:
    _, readings = _sentences(ONE_ZAP, "")

    assert "freed_before_rmap_removed" in readings[0]
    assert "removed twice in one zap" in readings[1]


@pytest.mark.parametrize("release", ["6.1.90", "6.12.1"])
def test_another_zap_met_it_for_a_reason_of_its_own(release: str) -> None:
    said, _ = _sentences(ANOTHER_ZAP, release)

    assert "once more" not in said
    assert "freed_before_rmap_removed" not in said
