"""Stacks and registers as each architecture prints them, in invented reports."""

from __future__ import annotations

import pytest

from zaptrace.splat import parse

HEAD = "BUG: Bad page state in process sh  pfn:00001\n"
BUG = "kernel BUG at mm/memory.c:1!\n"

# What is printed -> the frames, `?` before those that the kernel does not vouch for.
STACKS: dict[str, tuple[str, str]] = {
    "x86_64": (
        (
            "Call Trace:\n <IRQ>\n dump_stack+0x5c/0x80\n ? bad_page.cold+0x7d/0xfe\n"
            " </IRQ>\n <TASK>\n"
            " asm_sysvec+0x12/0x20\nRIP: 0010:zap_one+0x1/0x2\nCode: 0f 0b\n"
            "RSP: 0018:ffffc90 EFLAGS: 1\n"
            "RAX: 0000000000000000 RBX: ffff888 RCX: 1\n do_it+0x3/0x4 [mod]\n"
            "RIP: 0033:0x7f1234567890\n"
        ),
        "dump_stack ?bad_page.cold asm_sysvec zap_one do_it",
    ),
    "x86_64, 2.6.9": (
        (
            "Call Trace:<ffffffff8015f5c8>{bad_page+104} <ffffffff801603b9>{buffered_rmqueue+713}\n"
            "       <ffffffff80160a1f>{:ext3:__alloc_pages+223}\n"
        ),
        "bad_page buffered_rmqueue __alloc_pages",
    ),
    "x86_64, 4.4": (
        (
            "Call Trace:\n [<ffffffff8112a1c7>] bad_page+0x107/0x160\n"
            " [<ffffffff8112c6f9>] ? free_it+0x1a9/0x220 [vbox]\n"
            " [<ffffffff81005678>] 0xffffffff81005678\n"
        ),
        "bad_page ?free_it None",
    ),
    "i386": (
        (
            "Call Trace:\n [<c0155ae4>] bad_page+0x60/0x8f\n"
            " [<c01555bd>] ? prep_new_page+0x197/0x1a4\n"
            " =======================\n"
        ),
        "bad_page ?prep_new_page",
    ),
    "arm, 2.6": (
        (
            "Backtrace: \n"
            "[<c0027a10>] (dump_backtrace+0x0/0x110) from [<c02e2a4c>] (dump_stack+0x18/0x1c)\n"
            " r7:c0a1b000 r6:00000000\n[<c02e2a34>] (dump_stack+0x0/0x1c) from [<c008a1b4>] "
            "(bad_page+0xc8/0xf4)\n"
        ),
        "dump_stack bad_page",
    ),
    "arm, 4.9": (
        (
            "[<8010fb3c>] (unwind_backtrace) from [<8010c058>] (show_stack+0x20/0x24)\n"
            "[<8010c058>] (show_stack) from [<80456104>] (dump_stack+0xd4/0x118)\n"
            "[<80456104>] (dump_stack) from [<bf002118>] (ko_page+0x108/0x16c [ko])\n"
        ),
        "show_stack dump_stack ko_page",
    ),
    "arm, 6.1": (
        (
            " unwind_backtrace from show_stack+0x10/0x14\n"
            " show_stack from dump_stack_lvl+0x40/0x4c\n"
            " dump_stack_lvl from bad_page+0xd4/0x118\n"
        ),
        "show_stack dump_stack_lvl bad_page",
    ),
    "arm64, 4.4": (
        (
            "Call trace:\n[<ffffff800808a1b0>] dump_backtrace+0x0/0x1a8\n"
            "[<ffffff8008194a2c>] bad_page+0xe4/0x140\n"
        ),
        "dump_backtrace bad_page",
    ),
    "arm64, 6.10": (
        (
            "Call trace:\n dump_backtrace+0x94/0xec\n bad_page+0xe4/0x140 (P)\n"
            " el0_svc+0x3c/0x108 (PL)\n"
        ),
        "dump_backtrace bad_page el0_svc",
    ),
    "powerpc64": (
        (
            "Call Trace:\n[c0000000f1234560] [c0000000001a2b3c] dump_stack+0xb0/0xf4 (unreliable)\n"
            "[c0000000f12345a0] [c0000000003d5e0c] .bad_page+0x178/0x1b0\n"
            "--- interrupt: 300 at zap+0x1c/0x30\n    LR = zap+0x18/0x30\n"
            "[c0000000f12345d0] [0000000000000000] 0x0\n"
            "[c0000000f1234600] [c000000000008888] exit+0x4/0x8\n"
        ),
        "?dump_stack bad_page exit",
    ),
    "powerpc32": (
        (
            "Call Trace:\n[c1a2bd10] [c0016a3c] show_stack+0x48/0x168 (unreliable)\n"
            "[c1a2bd50] [c00a1b2c] bad_page+0xcc/0x120\n"
        ),
        "?show_stack bad_page",
    ),
    "powerpc, hashed": (
        (
            "Call Trace:\n"
            "[(____ptrval____)] [(____ptrval____)] show_stack+0x48/0x168 (unreliable)\n"
            "[(ptrval)] [(ptrval)] bad_page+0xcc/0x120\n"
        ),
        "?show_stack bad_page",
    ),
    "s390x": (
        (
            "Call Trace:\n [<00000000003c4762>] dump_stack_lvl+0x62/0x80 \n"
            "([<0000000000238778>] clue+0x8/0x10)\n [<0000000000238764>] bad_page+0xec/0x120 \n"
            "Last Breaking-Event-Address:\n [<0000000000238000>] _printk+0x2/0x50\n"
        ),
        "dump_stack_lvl ?clue bad_page",
    ),
    "riscv": (
        (
            "Call Trace:\n[<ffffffff80005b7e>] dump_backtrace+0x1c/0x24\n"
            "[<ffffffff8011a2b4>] bad_page+0x9c/0xd0\n"
        ),
        "dump_backtrace bad_page",
    ),
    "sparc64": (
        (
            "Call Trace:\n [00000000004f5b6c] bad_page+0xec/0x120\n"
            " [00000000004f60a4] free_it+0x84/0x3a0\n"
            "Caller[00000000004a5b6c]: zap_pte_range+0x1b4/0x6a0\n"
        ),
        "bad_page free_it zap_pte_range",
    ),
    "sparc32": (
        "[f00a1b2c : bad_page+0xcc/0x120 ] [f00a2c3d : free_it+0x1d/0x20 ] \n",
        "bad_page free_it",
    ),
    "OpenRISC": (
        "Call trace:\n[<(ptrval)>] show_stack+0x44/0x54\n[<(ptrval)>] ? cpumask_next+0x24/0x34\n",
        "show_stack ?cpumask_next",
    ),
    "LoongArch": (
        (
            "Call Trace:\n[<9000000000223d5c>] show_stack+0x5c/0x180\n"
            "[<90000000004a1b2c>] bad_page+0xcc/0x120\n"
        ),
        "show_stack bad_page",
    ),
    "MIPS": (
        "Call Trace:\n[<8010a1b0>] show_stack+0x88/0xa4\n[<801a1b2c>] bad_page+0xcc/0x120\n",
        "show_stack bad_page",
    ),
    "ia64": (
        (
            "Call Trace:\n [<a000000100016b60>] show_stack+0x80/0xa0\n"
            "                                sp=e0000001f0b7fb90 bsp=e0000001f0b79178\n"
            " [<a000000100123b60>] bad_page+0x80/0xa0\n"
        ),
        "show_stack bad_page",
    ),
    "decoded": (
        (
            "Call Trace:\n <TASK>\ndump_stack_lvl (lib/dump_stack.c:88 lib/dump_stack.c:106)\n"
            "? bad_page (mm/page_alloc.c:655 (discriminator 3))\n"
            "zap_pte_range+0x12/0x34 mm/memory.c:1450\nfree_one mm/free.c:12 [inline]\n"
            "nv_free (/build/nv.c:7) nvidia\n"
            "exit_mmap (include/linux/mm.h:1 mm/mmap.c:3) \n </TASK>\n"
        ),
        "dump_stack_lvl ?bad_page zap_pte_range free_one nv_free exit_mmap",
    ),
    "decoded, some lines unknown": (
        (
            "Call Trace:\n ? die (arch/x86/kernel/dumpstack.c:?)\n"
            "free_all (mm/memblock.c:12)\n start_it (init/main.c:?)\n"
        ),
        "?die free_all start_it",
    ),
    "names alone": (
        (
            "Call trace:\n dump_backtrace\n show_stack\n ? bad_page\n free_it [nvidia]\n"
            " free_all at mm/page_alloc.c:1348\n (inlined by) free_it at mm/page_alloc.c:9\n"
            " vfree\nThanks\n"
        ),
        "dump_backtrace show_stack ?bad_page free_it vfree",
    ),
    "names alone, without a title": (
        "unwind_backtrace\nshow_stack\nbad_page\n\nvfree\n",
        "unwind_backtrace show_stack bad_page",
    ),
    "powerpc, without names": (
        (
            "Call Trace:\n[c000000006763880] [c0000000067638c0] 0xc0000000067638c0 (unreliable)\n"
            "[c0000000067638c0] [c000000000087c28] set_pte_at+0x68/0x210\n"
        ),
        "?None set_pte_at",
    ),
    "a word after a stack": (
        "Call Trace:\n bad_page+0x60/0x8f\nrebooting\n",
        "bad_page",
    ),
}

# What is printed of the registers -> the function.
FAULTS: dict[str, str] = {
    "RIP: 0010:zap_one+0x1/0x2": "zap_one",
    "RIP: 0010:[<ffffffff81123456>]  [<ffffffff81123456>] zap_one+0x1/0x2": "zap_one",
    "RIP: e030:[<ffffffff81123456>]  [<ffffffff81123456>] zap_one+0x1/0x2": "zap_one",
    "RIP: 0010:[<ffffffff80123456>] <ffffffff80123456>{zap_one+12}": "zap_one",
    "RIP: zap_one+0x1/0x2": "zap_one",
    "RIP: 0010:zap_one (include/linux/mm.h:340 mm/memory.c:7)": "zap_one",
    "RIP: 0010:zap_one+0x1/0x2 mm/memory.c:7": "zap_one",
    "EIP is at zap_one+0x1/0x2": "zap_one",
    "EIP: zap_one+0x1/0x2": "zap_one",
    "EIP: 0060:zap_one+0x1/0x2": "zap_one",
    "PC is at zap_one+0x1/0x2": "zap_one",
    "pc : zap_one+0x1/0x2": "zap_one",
    "pc : [<ffffff8008194a2c>] zap_one+0x1/0x2": "zap_one",
    "epc : zap_one+0x1/0x2": "zap_one",
    "epc   : 80123456 zap_one+0x1/0x2": "zap_one",
    "NIP [c0000000003d5e0c] zap_one+0x1/0x2": "zap_one",
    "NIP [c0000000003d5e0c] .zap_one+0x1/0x2": "zap_one",
    "Krnl PSW : 0704c00180000000 00000000001f3a52 (zap_one+0x1/0x2)": "zap_one",
    "TPC: <zap_one+0x1/0x2>": "zap_one",
    "ERA: 9000000000223d5c zap_one+0x1/0x2": "zap_one",
    "IAOQ[0]: zap_one+0x1/0x2": "zap_one",
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("prefix", ["", "[    1.000000] ", "Mär 05 09:07:35 box kernel: "])
def test_a_stack_is_read_whole(name: str, prefix: str) -> None:
    stack, wanted = STACKS[name]
    data = "".join(f"{prefix}{line}\n" for line in (HEAD + stack).splitlines())
    (splat,) = parse(data.encode())
    found = [f"{'' if one.reliable else '?'}{one.symbol}" for one in splat.trace]
    assert found == wanted.split()


@pytest.mark.parametrize("line", FAULTS)
def test_the_faulting_function_comes_first(line: str) -> None:
    data = (
        f"{BUG}CPU: 1 PID: 2 Comm: sh Not tainted 6.1.0 #1\n{line}\nCall Trace:\n caller+0x1/0x2\n"
    )
    (splat,) = parse(data.encode())
    assert [one.symbol for one in splat.trace] == [FAULTS[line], "caller"]


@pytest.mark.parametrize(
    "line",
    [
        "LR is at zap_one+0x20/0x40",
        "lr : zap_one+0x20/0x40",
        " ra : zap_one+0x20/0x40",
        "LR [c0000000003d5e0c] zap_one+0x20/0x40",
        "RIP: 0033:0x7f1234567890",
        "RPC: <zap_one+0x1/0x2>",
        "I7: <zap_one+0x1/0x2>",
    ],
)
def test_where_the_cpu_was_not_is_no_frame(line: str) -> None:
    data = f"{BUG}PC is at fault+0x1/0x2\n{line}\nCall Trace:\n caller+0x1/0x2\n"
    (splat,) = parse(data.encode())
    assert [one.symbol for one in splat.trace] == ["fault", "caller"]


def test_functions_inlined_at_the_fault() -> None:
    """Syzkaller gives each of them a line of its own, innermost first."""
    data = (
        f"{BUG}RIP: 0010:put_one include/linux/mm.h:1135 [inline]\n"
        "RIP: 0010:put_all include/linux/mm.h:1141 [inline]\n"
        "RIP: 0010:free_it+0x8ee/0x8f0 io_uring/kbuf.c:196\nCall Trace:\n caller+0x1/0x2\n"
        "RIP: 0010:put_one include/linux/mm.h:1135 [inline]\n"
    )
    (splat,) = parse(data.encode())
    assert [one.symbol for one in splat.trace] == ["put_one", "put_all", "free_it", "caller"]
