"""The kernel's place in its guest, read from what QEMU's monitor prints of it."""

from __future__ import annotations

import asyncio

import pytest

from vm.relocation import Anchors, anchors_of, offset
from zaptrace.arch import arch_named
from zaptrace.model.plan import ProbePlan, ProbeSite

TEXT = b"Linux version 6.12 "
BYTES = """\
{at:016x}: 0x4c 0x69 0x6e 0x75 0x78 0x20 0x76 0x65\r
{after:016x}: 0x72 0x73 0x69 0x6f 0x6e 0x20 0x36 0x2e\r
{last:016x}: 0x31 0x32 0x20\r
"""


def banner(at: int) -> str:
    return BYTES.format(at=at, after=at + 8, last=at + 16)


def found(arch: str, anchors: Anchors, answers: dict[str, str]) -> int | None:
    async def monitor(command: str) -> str:
        return answers.get(command, "Cannot access memory\r\n")

    return asyncio.run(offset(monitor, arch_named(arch), anchors))


S390 = Anchors(0xC158A0, 0xD7F200, TEXT)
PSW = "xp /2gx 0x1d0"
X86 = Anchors(0xFFFFFFFF81E01280, 0xFFFFFFFF82151580, TEXT)
REGISTERS = (
    "RIP=ffffffff8c2012\r\nGDT=     fffffe0000001000 0000007f\r\nIDT=     {:016x} 00000fff\r\n"
)


def test_a_new_psw_and_the_banner_tell_on_s390x() -> None:
    said = "00000000000001d0: 0x0400c00180000000 0x000003ffe0c158a0\r\n"
    banner_at = "x /19xb 0x3ffe0d7f200"
    assert found("s390x", S390, {PSW: said, banner_at: banner(0x3FFE0D7F200)}) == 0x3FFE0000000
    assert found("s390x", S390, {PSW: said}) is None  # no banner there: another kernel's handler
    wrong = banner(0x3FFE0D7F200).replace("0x36", "0x37")
    assert found("s390x", S390, {PSW: said, banner_at: wrong}) is None


def test_a_gate_and_the_banner_tell_on_x86_64() -> None:
    at = 0xFFFFFE0000000000
    gate = {f"x /2gx {at + 0xE0:#x}": f"{at + 0xE0:x}: 0x8c208e0000101280 0x00000000ffffffff\r\n"}
    answers = {"info registers": REGISTERS.format(at), **gate}
    answers["x /19xb 0xffffffff8c551580"] = banner(0xFFFFFFFF8C551580)
    assert found("x86_64", X86, answers) == 0xA400000
    assert found("x86_64", X86, {"info registers": REGISTERS.format(at)}) is None


@pytest.mark.parametrize(
    "said", ["", "0x12", "IDT= nonsense", "00000000000001d0: 0x0000000000000000\r\n"]
)
def test_what_cannot_be_read_means_nothing(said: str) -> None:
    for arch, anchors in (("s390x", S390), ("x86_64", X86)):
        assert found(arch, anchors, {PSW: said, "info registers": said}) is None


def test_a_handler_that_is_no_whole_pages_away_is_another() -> None:
    said = "00000000000001d0: 0x0400c00180000000 0x000003ffe0c158a8\r\n"
    assert found("s390x", S390, {PSW: said, "x /19xb 0x3ffe0d7f208": banner(0x3FFE0D7F208)}) is None


def test_anchors_come_from_a_plan_that_has_them_all() -> None:
    told = {"vector": 1, "banner": 2}
    assert anchors_of(told, "6.12") == Anchors(1, 2, TEXT)
    assert anchors_of({"vector": 1}, "6.12") is None
    assert anchors_of(told, None) is None


def test_a_plan_moves_with_its_kernel() -> None:
    sites = (
        ProbeSite("bad_page", "bad_page", 0, 0xFFFFFFFF81000000, False, None),
        ProbeSite("zap", "zap_pte_range", 0, None, False, None),
    )
    plan = ProbePlan("00", "x86_64", "6.12", sites)
    assert [site.address for site in plan.moved(0x1000).sites] == [0xFFFFFFFF81001000, None]
    assert plan.moved(-0x1000 % 2**64).moved(0x1000) == plan
    assert plan.moved(0) is plan
