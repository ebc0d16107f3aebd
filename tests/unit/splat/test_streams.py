"""Whose a line is, where a log holds more than one thing."""

from __future__ import annotations

from zaptrace.splat import parse


def test_each_depth_of_quotes_has_its_own_lines() -> None:
    """A mail quotes one log's headline, and pastes another log."""
    quoted, pasted = parse(
        b"> > [  952.018368] BUG: Bad page map in process reaper  pte:06e77111 pmd:0583f067\n"
        b"\n"
        b"Here is mine:\n"
        b"[ 1135.168577] BUG: Bad page map in process tester  pte:01280022 pmd:06bfb067\n"
        b"[ 1135.169694] addr:289e2000 vm_flags:00100073 anon_vma:c2e29b28 mapping:00000000 "
        b"index:289e2\n"
        b"[ 1135.172381] CPU: 2 PID: 3128 Comm: tester Not tainted 5.18.0-test #1\n"
        b"[ 1135.175263] Call Trace:\n"
        b"[ 1135.175662]  dump_stack_lvl+0x44/0x57\n"
    )
    assert (quoted.process, quoted.addr, quoted.comm) == ("reaper", None, None)
    assert (pasted.addr, pasted.pid) == (0x289E2000, 3128)
    assert [frame.symbol for frame in pasted.trace] == ["dump_stack_lvl"]


def test_a_dump_is_no_part_of_what_is_no_check() -> None:
    """free_large_kmalloc() dumps a page after its WARN(); what comes next is lockdep's."""
    dump, other = parse(
        b"page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x40 pfn:0x18671\n"
        b"flags: 0x57fffc000000000(node=1|zone=2|lastcpupid=0x1ffff)\n"
        b"page dumped because: Not a kmalloc allocation\n"
        b"BUG: MAX_LOCKDEP_ENTRIES too low!\n"
        b"turning off the locking correctness validator.\n"
    )
    assert (dump.kind, dump.pfn, dump.reason) == (
        "page_dump",
        0x18671,
        "Not a kmalloc allocation",
    )
    assert (other.kind, other.pfn) == ("other", None)
