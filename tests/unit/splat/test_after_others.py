"""What a report takes after a line that is not its own: only what the kernel prints next there."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed

GAP = "usb 1-1: reset\n"
CPU = "CPU: 5 UID: 0 PID: 71 Comm: own Not tainted 6.8.1 #3\n"
OTHERS_CPU = "CPU: 3 UID: 0 PID: 72 Comm: other Not tainted 6.8.2 #3\n"
STATE = "BUG: Bad page state in process own  pfn:ab000\n"
PAGE = "page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x7 pfn:0xab000\n"
FLAGS = "flags: 0x100000000080014(uptodate|lru|swapbacked|node=0|zone=1)\n"
RAW = "raw: 0100000000080014 dead000000000100 0000000000000000 0000000000000007\n"
REASON = "page dumped because: nonzero mapcount\n"
HARDWARE = "Hardware name: Another Board\n"
STACK = "Call Trace:\n dump_stack_lvl+0x1/0x2\n bad_page+0x1/0x2\n free_it+0x1/0x2\n"
OOPS = "kernel BUG at mm/page_table_check.c:143!\n"
RIP = "RIP: 0010:check_it+0x1/0x2\n"
CORRUPTED = "own: Corrupted page table at address 7f1122334000\n"
WALK = "PGD 800000010a0b0067 P4D 10a0b0067 PUD 10a0b1067 PMD 10a0b2067 PTE 8000fffffffff237\n"


@pytest.mark.parametrize(
    ("own", "others", "absent"),
    [
        (STATE, FLAGS + RAW + REASON, ("flags_word", "reason")),
        (STATE + PAGE, REASON, ("reason",)),
        (STATE + PAGE, RAW + REASON, ("reason",)),
        (STATE + PAGE + FLAGS + REASON, HARDWARE, ("hardware",)),
        (STATE + PAGE + FLAGS + REASON, HARDWARE + STACK, ("hardware",)),
        (OOPS + HARDWARE, OTHERS_CPU, ("pid", "cpu", "kernel_release")),
        (OOPS + RIP, OTHERS_CPU, ("pid", "cpu", "kernel_release")),
        (OOPS + "Tainted: [B]=BAD_PAGE\n", OTHERS_CPU, ("pid", "cpu", "kernel_release")),
        (OOPS + CPU, "Modules linked in: one two\n" + HARDWARE + STACK, ("hardware",)),
        (OOPS + CPU, STACK, ()),
        (STATE + CPU, STACK, ()),
        (CORRUPTED + CPU, WALK, ("pte", "pmd")),
        (CORRUPTED, "Call Trace:\n walk_it+0x1/0x2\n", ()),
        (
            f"BUG: Bad page map in process own  pte:8000000111222067\n{CPU}",
            "pgd:10a0b0067 p4d:10a0b0067 pud:10a0b1067 pmd:122233067\n",
            ("pmd",),
        ),
    ],
)
def test_a_line_of_which_another_one_is_missing(
    own: str, others: str, absent: tuple[str, ...]
) -> None:
    """What follows another's line is read where nothing is missing in between."""
    splat = parsed(own + GAP + others)[0]

    assert {name: getattr(splat, name) for name in absent} == dict.fromkeys(absent)
    assert (splat.raw, [one for one in names(splat) if one != "check_it"]) == ((), [])


@pytest.mark.parametrize("line", [FLAGS + RAW, PAGE.replace(" pfn:0xab000", "") + FLAGS + RAW])
def test_lines_before_another_task_s_are_that_task_s(line: str) -> None:
    """A report of which the first lines are lost follows one of which the last are."""
    own = STATE if "page:" in line else STATE + PAGE

    (splat,) = parsed(own + GAP + line + REASON + OTHERS_CPU + HARDWARE + STACK)

    assert (splat.pfn, splat.raw, splat.reason, splat.pid) == (0xAB000, (), None, None)
    assert (splat.hardware, splat.trace) == (None, ())


def test_lines_before_the_modules_once_more_are_another_s() -> None:
    modules = "Modules linked in: one two\n"

    (splat,) = parsed(CORRUPTED + modules + GAP + WALK + modules + OTHERS_CPU)

    assert (splat.pte, splat.pmd, splat.pid) == (None, None, None)


def test_words_of_a_page_with_other_flags_are_another_page_s() -> None:
    (splat,) = parsed(STATE + PAGE + FLAGS + GAP + RAW.replace("080014", "080015"))

    assert (splat.flags_word, splat.raw) == (0x100000000080014, ())


def test_lines_before_their_own_task_are_read() -> None:
    (splat,) = parsed(STATE + PAGE + GAP + FLAGS + RAW + REASON + CPU + STACK)

    assert (len(splat.raw), splat.reason, splat.pid) == (4, "nonzero mapcount", 71)
    assert names(splat)[-1] == "free_it"


def test_a_dump_whose_headline_is_lost_takes_no_task_after_others() -> None:
    (splat,) = parsed(PAGE + GAP + FLAGS + REASON + OTHERS_CPU + STACK)[:1] or (None,)

    assert splat is None or (splat.pid, splat.trace) == (None, ())


def test_a_vma_s_lines_are_no_part_of_a_page_s_dump() -> None:
    """The BUG() after them is not that of the page's dump."""
    vma = "prot 8000000000000025 anon_vma 0000000000000000 vm_ops 0000000000000000\n"

    splat = parsed(f"{PAGE}{FLAGS}{RAW}{vma}kernel BUG at mm/mprotect.c:77!\n{CPU}")[-1]

    assert (splat.kind, splat.pfn, splat.raw) == ("other", None, ())


def test_a_dump_after_the_headline_that_one_stood_before_is_another_s() -> None:
    own = f"{PAGE}{FLAGS}{RAW}page dumped because: VM_BUG_ON_PAGE(1)\n{OOPS}"

    splat = parsed(f"{own}{GAP}memcg:ffff888101234567\n")[0]

    assert (splat.pfn, splat.memcg) == (0xAB000, None)


def test_flags_that_the_page_s_line_had_are_another_page_s() -> None:
    page = "page:ffffea0000a12b80 flags:40000000000014 count:0 mapcount:1 mapping:(null) index:7\n"

    (splat,) = parsed(STATE + page + GAP + FLAGS + RAW)

    assert (splat.flags_word, splat.raw) == (0x40000000000014, ())


@pytest.mark.parametrize(
    ("rest", "is_read"),
    [
        (" zap_it+0x1/0x2\n", False),
        (
            " zap_it+0x1/0x2\n do_syscall_64+0x1/0x2\n entry_SYSCALL_64_after_hwframe+0x1/0x2\n",
            True,
        ),
        (" zap_it+0x1/0x2\n </TASK>\n", True),
        (" print_bad_pte+0x1/0x2\n zap_it+0x1/0x2\n </TASK>\n", False),
    ],
    ids=["no end", "entry", "</TASK>", "what prints another kind"],
)
def test_a_stack_after_others_must_come_to_its_end(rest: str, *, is_read: bool) -> None:
    (splat,) = parsed(STATE + PAGE + FLAGS + REASON + CPU + STACK + GAP + rest)

    assert names(splat)[:3] == ["dump_stack_lvl", "bad_page", "free_it"]
    assert ("zap_it" in names(splat)) is is_read


def test_frames_of_a_report_whose_task_is_missing_end_with_others_lines() -> None:
    """It lost lines: those after another's can be another report's, whole as their stack is."""
    stack = "Call Trace:\n check_it+0x1/0x2\n"

    splat = parsed(f"{OOPS}{RIP}{stack}{GAP} zap_it+0x1/0x2\n </TASK>\n")[0]

    assert names(splat) == ["check_it"]


def test_a_new_kernel_s_line_about_the_page_is_no_other_s() -> None:
    (splat,) = parsed(f"{STATE}the folio has a colour\n{FLAGS}{REASON}")

    assert (splat.reason, splat.unread) == ("nonzero mapcount", ("the folio has a colour",))


def test_registers_once_more_are_another_oops_s() -> None:
    other = "RIP: 0010:free_it+0x1/0x2\n drop_it+0x1/0x2\n do_syscall_64+0x1/0x2\n"

    splat = parsed(OOPS + RIP + GAP + other)[0]

    assert names(splat) == ["check_it"]


def test_a_dump_with_a_machine_is_not_that_of_the_next_check() -> None:
    dump = f"{PAGE}{FLAGS}page dumped because: VM_BUG_ON_PAGE(1)\n{HARDWARE}"

    splat = parsed(f"{dump}WARNING: CPU: 5 PID: 4 at mm/swap.c:7 lru_add+0xa9/0x2ef\n{CPU}")[-1]

    assert (splat.pfn, splat.hardware) == (None, None)


def test_a_dump_after_registers_is_not_that_of_the_next_check() -> None:
    dump = f"{PAGE}{FLAGS}page dumped because: VM_BUG_ON_PAGE(1)\nRIP: 0010:free_it+0x1/0x2\n"

    splat = parsed(f"{dump}WARNING: CPU: 5 PID: 4 at mm/swap.c:7 lru_add+0xa9/0x2ef\n{CPU}")[-1]

    assert splat.pfn is None


@pytest.mark.parametrize("after", ["Modules linked in: one two\n", "RIP: 0010:free_it+0x1/0x2\n"])
def test_no_line_of_a_page_follows_modules_or_registers(after: str) -> None:
    splat = parsed(f"{PAGE}{after}{FLAGS}{REASON}")[0:1]

    assert not splat or (splat[0].flags, splat[0].reason) == ((), None)


def test_the_stack_of_another_architecture_is_another_oops_s() -> None:
    oops = f"kernel BUG at mm/slub.c:4123!\n{CPU}{RIP}"
    others = (
        "Call trace:\n free_it+0x1/0x2 (P)\n el0t_64_sync+0x1/0x2\n",
        "Call Trace:\n[c0000000f1234560] [c0000000001a2b3c] dump_stack+0x1/0x2 (unreliable)\n",
    )

    for other in others:
        assert names(parsed(oops + GAP + other)[0]) == ["check_it"]


def test_a_page_s_line_with_its_flags_is_the_whole_dump() -> None:
    """bad_page() until 2.6.38: no other line of the page follows it."""
    old = "page:ffffea0000a12b80 flags:40000000000014 count:0 mapcount:1 mapping:(null) index:7\n"
    later = "memcg:ffff888101234567\npage_type: f2(table)\n" + REASON

    splat = parsed(STATE + old + GAP + later)[0]

    assert (splat.memcg, splat.page_type, splat.reason) == (None, None, None)


def test_registers_of_another_function_are_not_a_warning_s() -> None:
    warning = "WARNING: CPU: 5 PID: 71 at mm/swap.c:7 lru_add+0xa9/0x2ef\n"

    assert names(parsed(warning + GAP + RIP)[0]) == []
    assert names(parsed(f"{warning}{GAP}RIP: 0010:lru_add+0xa9/0x2ef\n")[0]) == ["lru_add"]


def test_an_oops_after_the_task_is_another_one() -> None:
    other = f"Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI\n{HARDWARE}"

    splat = parsed(CORRUPTED + CPU + GAP + other)[0]

    assert (splat.pid, splat.hardware) == (71, None)


def test_xmon_names_the_bug_once_more() -> None:
    """powerpc's debugger prints it without its file, and the kernel's banner, before the stack."""
    log = """\
[  287.743843][ T1867] kernel BUG at arch/powerpc/mm/foo.c:187!
cpu 0x0: Vector: 700 (Program Check) at [c00000044037f4f0]
    pc: c000000000094ca4: clear_it+0x6c/0x23c
    lr: c000000000645dec: zap_it+0xb0/0x868
    sp: c00000044037f790
   msr: 800000000282b033
  current = 0xc0000004032c1a00
  paca    = 0xc000000004fe0000   irqmask: 0x03   irq_happened: 0x09
    pid   = 1867, comm = worker
kernel BUG at :187!
Linux version 6.19.0-test (gcc) #27 SMP PREEMPT
enter ? for help
[link register   ] c000000000645dec zap_it+0xb0/0x868
[c00000044037f790] c00000044037f7d0 (unreliable)
[c00000044037f7d0] c000000000645dcc zap_it+0x90/0x868
[c00000044037fe50] c00000000000d05c system_call_vectored_common+0x15c/0x2ec
"""
    (splat,) = parsed(log)

    assert (splat.pid, splat.unread_count) == (1867, 0)
    assert names(splat) == ["clear_it", "zap_it", "system_call_vectored_common"]


def test_a_bug_that_xmon_alone_names() -> None:
    (splat,) = parsed("kernel BUG at :5521!\nLinux version 5.19.0 (gcc) #625 SMP\n1:mon> t\n")

    assert splat.reason == "kernel BUG at :5521!"
