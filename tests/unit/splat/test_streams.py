"""Whose a line is, where a log holds more than one thing."""

from __future__ import annotations

import pytest

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


LOG = (
    b"[  125.616489] WARNING: CPU: 5 PID: 742 at kernel/trace/trace.c:1727 update_it+0xa8/0x148\n"
    b"[  125.645310] CPU: 5 PID: 742 Comm: worker Not tainted 5.9.0-test #1\n"
    b"[  125.657877] Call trace:\n"
    b"[  125.662120]  update_it+0xa8/0x148\n"
    b"[  231.493344] BUG: Bad page state in process sh  pfn:98af8\n"
    b"[  231.499000] page:0000000011223344 refcount:-1 mapcount:0 mapping:0 index:0x0 pfn:0x98af8\n"
    b"[  231.499500] page dumped because: nonzero _refcount\n"
    b"[  231.500310] CPU: 1 PID: 7037 Comm: sh Not tainted 5.9.0-test #1\n"
)


def test_reports_that_are_named_before_the_log_are_counted_once() -> None:
    summary = b"".join(
        line + b"\n" for line in LOG.splitlines() if b"BUG" in line or b"WARN" in line
    )
    warning, bad = parse(summary + b"\nThis is the log:\n\n" + LOG)
    assert (warning.pid, [frame.symbol for frame in warning.trace]) == (742, ["update_it"])
    assert (bad.pid, bad.reason, bad.trace) == (7037, "nonzero _refcount", ())


def test_a_log_that_an_answer_quotes_is_counted_once() -> None:
    quoted = b"".join(b"> " + line + b"\n" for line in LOG.splitlines())
    assert len(parse(LOG + b"I see this, too.\n" + quoted)) == 2


def test_a_line_of_another_time_is_no_part_of_a_report() -> None:
    bad, _ = parse(
        b"[  231.493344] BUG: Bad page state in process sh  pfn:98af8\n"
        b"[    1.500310] CPU: 1 PID: 7037 Comm: sh Not tainted 5.9.0-test #1\n"
        b"[  331.493344] BUG: Bad page state in process sh  pfn:98af9\n"
        b"[  931.500310] CPU: 1 PID: 7037 Comm: sh Not tainted 5.9.0-test #1\n"
    )
    assert bad.pid is None


def test_a_title_is_no_report() -> None:
    """Bug trackers begin with a summary, web pages with a title."""
    (bad,) = parse(
        b"            Bug ID: 216099\n"
        b"           Summary: [generic/388] BUG: Bad page state in process\n"
        b"                    worker  pfn:20bb5\n"
        b"           Product: File System\n"
        b"Bug 216099 - BUG: Bad page state in process worker pfn:20bb5\n"
        b"[36238.060736] BUG: Bad page state in process worker  pfn:20bb5\n"
        b"[36238.060900] page dumped because: nonzero mapcount\n"
    )
    assert (bad.time, bad.reason) == (36238.060736, "nonzero mapcount")


def test_a_headline_that_the_console_tore_and_printed_again() -> None:
    (bad,) = parse(
        b"[27065.826372] BUG: Bad page s\n"
        b"** replaying previous printk message **\n"
        b"[27065.826372] BUG: Bad page state in process fsx  pfn:26045\n"
        b"[27065.826408] page dumped because: nonzero mapcount\n"
    )
    assert (bad.kind, bad.pfn, bad.reason) == ("bad_page_state", 0x26045, "nonzero mapcount")


def test_two_reports_without_a_dump_are_two() -> None:
    two = parse(b"BUG: Bad page state in process fsx  pfn:26045\nsomething else\n" * 2)
    assert len(two) == 2


def test_a_dump_whose_first_line_is_lost() -> None:
    (bug,) = parse(
        b"page:ffffea0000000000 is uninitialized and poisoned\n"
        b"raw: ffffffffffffffff ffffea0000000008 ffffea0000000008 ffffffffffffffff\n"
        b"page dumped because: VM_BUG_ON_PAGE(PageCompound(page))\n"
        b"------------[ cut here ]------------\n"
        b"kernel BUG at include/linux/page-flags.h:356!\n"
    )
    assert bug.kind == "vm_bug_on"
    assert "PageCompound" in (bug.reason or "")
    assert len(bug.raw) == 4
    (dump,) = parse(
        b"> raw: 005005b48008000d dead000000000100 dead000000000122 ffff8897c7c76ad1\n"
        b"> page dumped because: VM_WARN_ON_ONCE_PAGE(!memcg)\n"
        b"> ...\n"
    )
    assert (dump.kind, dump.reason) == ("page_dump", "VM_WARN_ON_ONCE_PAGE(!memcg)")


def test_an_answer_in_the_middle_of_a_report() -> None:
    (bug,) = parse(
        b"> [   32.396193] kernel BUG at mm/mmap.c:3164!\n"
        b"> [   32.396195] Oops: Exception in kernel mode, sig: 5 [#1]\n"
        b"I see another one:\n"
        b" [  579.877217] mmap: tester (4287): VmData 1 exceed data ulimit 0.\n"
        b"> [   32.396262] CPU: 5 PID: 3023 Comm: tester Not tainted 5.18.0-test #16\n"
    )
    assert bug.pid == 3023


def test_the_reason_alone_of_a_dump() -> None:
    """Somebody left out the rest; alone, without the BUG() that follows, it says nothing."""
    (bug,) = parse(
        b"> page dumped because: VM_BUG_ON_FOLIO(folio_test_private_2(folio))\n"
        b"> ------------[ cut here ]------------\n"
        b"> kernel BUG at include/linux/netfs.h:44!\n"
        b"> ...\n"
        b"> page dumped because: VM_BUG_ON_FOLIO(folio_test_private_2(folio))\n"
        b"is what I look at.\n"
    )
    assert bug.kind == "vm_bug_on"
    assert "folio_test_private_2" in (bug.reason or "")


def test_what_grep_found_after_the_report() -> None:
    whole, other = parse(
        b"Sep 15 08:51:36 box kernel: BUG: Bad page map in process sh  pte:80845 pmd:7e54a5067\n"
        b"Sep 15 08:51:36 box kernel: page dumped because: bad pte\n"
        b"\n$ grep -i 'bad page' messages\n"
        b"Sep 15 08:51:36 box kernel: BUG: Bad page map in process sh  pte:80845 pmd:7e54a5067\n"
        b"Sep 15 08:51:36 box kernel: BUG: Bad page state in process sh  pfn:7e2e09\n"
    )
    assert (whole.kind, other.kind) == ("bad_page_map", "bad_page_state")


@pytest.mark.parametrize("quotes", [("> ", ""), ("", "> ")])
def test_a_report_below_another_with_quotes_or_without(quotes: tuple[str, str]) -> None:
    """An answer quotes one report and adds another, or the other way round."""
    report = (
        "BUG: Bad page map in process sh  pte:14ee2418 pmd:01372913\n"
        "addr:00000000f8406000 vm_flags:00000075 anon_vma:0 mapping:000000007f67e1a8 index:25\n"
        "CPU: 3 PID: 1 Comm: sh Not tainted 6.2.0+ #1\n"
        "Backtrace:\n"
        "  [<000000004020ac50>] show_stack+0x70/0x90\n"
    )
    one = "".join(f"{quotes[0]}{line}\n" for line in report.splitlines())
    other = report.replace("14ee2418", "14ee2419").replace("PID: 1", "PID: 2")
    other = "".join(f"{quotes[1]}{line}\n" for line in other.splitlines())
    first, second = parse(f"{one}I see this, too:\n{other}".encode())
    assert [(splat.pid, len(splat.trace)) for splat in (first, second)] == [(1, 1), (2, 1)]


def test_a_report_all_of_whose_blanks_are_no_break_spaces() -> None:
    (bug,) = parse("kernel BUG at mm/memory.c:3865!\n".replace(" ", "\xa0").encode())
    assert bug.reason == "kernel BUG at mm/memory.c:3865!"
