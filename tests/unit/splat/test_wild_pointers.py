"""What the kernel took for a pointer when it oopsed."""

from __future__ import annotations

from zaptrace.splat.wild_pointers import wild_pointers

_GPF = """\
[    1.516067] Oops: general protection fault, probably for non-canonical address \
0x5a5a5a5a5a5a5a5a: 0000 [#1] SMP
[    1.516900] CPU: 0 UID: 0 PID: 37 Comm: bystander Not tainted 6.12.117-zaptrace #1
[    1.517500] RIP: 0010:__page_cache_release.part.0+0x9e/0x1b0
[    1.518020] RSP: 0018:ffff8880025039c8 EFLAGS: 00000057
[    1.518100] RAX: 5a5a5a5a5a5a5a5a RBX: ffffea00007ff580 RCX: 000000000002dae1
[    1.518200] RDX: ffffea00007ff708 RSI: 0000000000000000 RDI: ffffffff818d9ea0
[    1.518300] R10: 0000000000000000 R11: 0000000000000028 R12: ffff888002503a00
[    1.518400] CR2: 00000000004617d0 CR3: 0000000002583000 CR4: 00000000000006b0
[    1.519000] Call Trace:
[    1.519100]  folios_put_refs+0xc6/0x120
[    1.528432] RIP: 0033:0x43bf87
[    1.529208] RAX: 5a5a5a5a5a5a5a00 RBX: 00007f9bd20fc000 RCX: 000000000043bf87
"""
_FAULT = """\
BUG: unable to handle page fault for address: ffffea0104ab0008
#PF: supervisor write access in kernel mode
RIP: 0010:free_unref_page_list+0x9e/0x1b0
RAX: ffffea0104ab0000 RBX: ffffea00007ff580 RCX: 0000000000000008
"""
_OLD = """\
general protection fault: 0000 [#1] SMP
RAX: dead000000000200 RBX: ffff88003d2f1a80 RCX: 00007f9bd20fc000
"""
_S390 = """\
[    3.016067] Unable to handle kernel pointer dereference in virtual kernel address space
[    3.016070] Failing address: 5a5a5a5a5a5a5000 TEID: 5a5a5a5a5a5a5803
[    3.016100] Krnl PSW : 0704c00180000000 000003ffe0301234 (lru_add+0x84/0x1d0)
[    3.016120]            R:0 T:1 IO:1 EX:1 Key:0 M:1 W:0 P:0 AS:3 CC:0 PM:0 RI:0 EA:3
[    3.016150] Krnl GPRS: 0000000000000001 5a5a5a5a5a5a5a5a 0000037200007fd0 0000000000000000
[    3.016160]            0000000000000020 000003ffe0812000 0000000000000000 0000037200007fc0
[    3.016170]            0000000001e90600 5a5a5a5a5a5a5ff8 000000000000000f 000003ffe0a12345
[    3.016180]            000003ff82078000 0000000000000001 000003ffe0301200 00000380000afb90
[    3.016190] Krnl Code: 000003ffe0301224: e31020000004 lg %r1,0(%r2)
"""


def test_the_registers_that_led_to_the_address_are_found() -> None:
    assert wild_pointers(_GPF.encode()) == (0x5A5A5A5A5A5A5A5A,)
    assert wild_pointers(_FAULT.encode()) == (0xFFFFEA0104AB0000,)
    wild = (0x5A5A5A5A5A5A5A5A, 0x5A5A5A5A5A5A5FF8)
    assert wild_pointers(_S390.encode()) == wild


def test_without_an_address_every_value_that_cannot_be_one_is() -> None:
    assert wild_pointers(_OLD.encode()) == (0xDEAD000000000200,)


def test_a_null_pointer_is_no_value_that_was_stored() -> None:
    null = _FAULT.replace("ffffea0104ab0008", "0000000000000008")
    assert wild_pointers(null.encode()) == ()


def test_only_the_first_oops_is_read() -> None:
    assert wild_pointers((_FAULT + "\n" * 70 + _GPF).encode()) == (0xFFFFEA0104AB0000,)
    assert wild_pointers(b"nothing of the kind\xff\n") == ()
