"""Direct calls, by the bytes before the address that they return to: of real 6.12 kernels."""

from __future__ import annotations

import pytest

from zaptrace.arch import arch_named
from zaptrace.kernel.machinecode import call_target

BACK = 0x1000000


@pytest.mark.parametrize(
    ("arch", "code", "target"),
    [
        ("s390x", "c0e5ffffff80", BACK - 6 - 0x100),  # brasl %r14,.-0x100
        ("s390x", "c0e500000010", BACK - 6 + 0x20),
        ("s390x", "0707a7e5fff0", BACK - 4 - 0x20),  # bras %r14,.-0x20
        ("s390x", "c0e4ffffff80", None),  # brcl
        ("s390x", "070707070de1", None),  # basr %r14,%r1
        ("x86_64", "90e800010000", BACK + 0x100),  # call .+0x105
        ("x86_64", "90e800ffffff", BACK - 0x100),
        ("x86_64", "909090ffd000", None),  # call *%rax, and not at its end
        ("x86_64", "e8", None),
    ],
)
def test_a_direct_call_s_target(arch: str, code: str, target: int | None) -> None:
    assert call_target(arch_named(arch), bytes.fromhex(code), BACK) == target
