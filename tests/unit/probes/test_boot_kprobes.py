"""The plan as boot-time kprobes, and bootconfig as the kernel reads it."""

from __future__ import annotations

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.boot_kprobes import append_bootconfig, render
from zaptrace.model.errors import BadInput
from zaptrace.model.kprobe_names import recorded_args, site_names
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

PAGE = {
    "page": ProbeArg("%r2", "x64"),
    "raw_mapcount": ProbeArg("+48(%r2)", "s32"),
    "caller": ProbeArg("%r14", "x64"),
}


def site(event: str, symbol: str, **args: ProbeArg) -> ProbeSite:
    return ProbeSite(event, symbol, 0, None, False, None, args)


def plan(*sites: ProbeSite, arch: str = "s390x") -> ProbePlan:
    return ProbePlan("00", arch, "6.1", sites)


PLAN = plan(
    ProbeSite(
        "zap",
        "unmap_page_range",
        0x2E6,
        None,
        True,
        None,
        {
            "end": ProbeArg("%r14", "x64"),
            "vma": ProbeArg("%r3", "x64", at_entry=True),
            "tlb": ProbeArg("%r8", "x64"),
            "pmd": ProbeArg(None, note="optimised out"),
        },
    ),
    site("rmap_remove", "page_remove_rmap", **PAGE),
    site("page_free", "free_unref_page", **PAGE),
    site(
        "bad_page",
        "bad_page",
        page=PAGE["page"],
        raw_mapcount=PAGE["raw_mapcount"],
        reason=ProbeArg("+0(%r3)", "string"),
    ),
)


def kernel_reads(initrd: bytes) -> tuple[bytes, str] | None:
    """What the kernel makes of an initrd (get_boot_config_from_initrd, init/main.c)."""
    magic = b"#BOOTCONFIG\n"
    for slack in range(4):
        at = len(initrd) - len(magic) - slack
        if at >= 8 and initrd[at : at + len(magic)] == magic:
            size, checksum = struct.unpack("<II", initrd[at - 8 : at])
            start = at - 8 - size
            if start < 0 or sum(initrd[start : at - 8]) % 2**32 != checksum:
                return None
            return initrd[:start], initrd[start : at - 8].split(b"\0")[0].decode()
    return None


@given(st.binary(max_size=300), st.text(st.characters(codec="ascii", exclude_characters="\0")))
def test_the_kernel_finds_the_text_and_the_initrd_again(initrd: bytes, text: str) -> None:
    whole = append_bootconfig(initrd, text)
    assert len(whole) % 4 == 0
    if b"#BOOTCONFIG" not in initrd:
        assert kernel_reads(whole) == (initrd, text)


def test_bootconfig_that_is_there_already_is_kept_in_front() -> None:
    once = append_bootconfig(b"initrd", "kernel.quiet")
    assert kernel_reads(append_bootconfig(once, "ftrace.options = x\n")) == (
        b"initrd",
        "kernel.quiet\nftrace.options = x\n",
    )
    aligned_by_a_boot_loader = once + b"\0\0\0"
    assert kernel_reads(append_bootconfig(aligned_by_a_boot_loader, "a"))[1] == "kernel.quiet\na"  # type: ignore[index]


def test_a_broken_trailer_is_part_of_the_initrd() -> None:
    broken = bytearray(append_bootconfig(b"initrd", "kernel.quiet"))
    broken[7] ^= 1
    assert kernel_reads(append_bootconfig(bytes(broken), "a")) == (bytes(broken), "a")


def test_more_than_the_kernel_takes_is_refused() -> None:
    append_bootconfig(b"", "x" * 32_700)
    with pytest.raises(BadInput, match="the kernel takes 32766"):
        append_bootconfig(b"", "x" * 32_767)


def test_every_site_is_an_event_of_its_own_with_what_can_be_recorded() -> None:
    trace = render(PLAN)
    probes = re.findall(r'^\tprobes = "([^"]*)"$', trace.bootconfig, re.M)
    assert probes == [
        "unmap_page_range+0x2e6 end=%r14:x64 comm=$comm",
        "page_remove_rmap page=%r2:x64 raw_mapcount=+48(%r2):s32 caller=%r14:x64 comm=$comm",
        "free_unref_page page=%r2:x64 raw_mapcount=+48(%r2):s32 caller=%r14:x64 comm=$comm",
        "bad_page page=%r2:x64 raw_mapcount=+48(%r2):s32 reason=+0(%r3):string comm=$comm",
    ]
    names = re.findall(r"^ftrace\.event\.kprobes\.(\S+) \{$", trace.bootconfig, re.M)
    assert names == list(site_names(PLAN)) == ["zt0_zap", "zt1_rmap_remove", *names[2:]]
    assert trace.bootconfig.count("\tenable\n") == 4
    assert trace.dropped == ()


def test_only_page_free_is_filtered_and_stacks_are_asked_for_where_they_tell_something() -> None:
    blocks = render(PLAN).bootconfig.split("ftrace.event.kprobes.")[1:]
    settings = {
        block.split(" ")[0]: dict(re.findall(r'^\t(filter|actions) = "([^"]*)"$', block, re.M))
        for block in blocks
    }
    assert settings == {
        "zt0_zap": {},
        "zt1_rmap_remove": {},
        "zt2_page_free": {
            "filter": "raw_mapcount != -1",
            "actions": "stacktrace if raw_mapcount != -1",
        },
        "zt3_bad_page": {"actions": "stacktrace"},
    }


def test_kernel_arguments() -> None:
    trace = render(PLAN, buffer_kib=512)
    settings = ("ftrace=nop", "trace_buf_size=512K", "trace_clock=boot")
    assert trace.arguments == ("bootconfig", *settings)
    assert trace.command_line is not None
    assert trace.command_line[:-1] == settings
    assert trace.command_line[-1] == (
        "kprobe_event=p:kprobes/zt0_zap,unmap_page_range+0x2e6,end=%r14:x64,comm=$comm;"
        "p:kprobes/zt1_rmap_remove,page_remove_rmap,page=%r2:x64,raw_mapcount=+48(%r2):s32,"
        "caller=%r14:x64,comm=$comm;"
        "p:kprobes/zt3_bad_page,bad_page,page=%r2:x64,raw_mapcount=+48(%r2):s32,"
        "reason=+0(%r3):string,comm=$comm"
    )


def test_a_command_line_that_does_not_fit_is_not_given() -> None:
    many = plan(*[site("rmap_remove", f"function_{number}", **PAGE) for number in range(30)])
    assert render(many).command_line is not None
    x86_64 = plan(*many.sites, arch="x86_64")
    assert render(x86_64).command_line is None
    assert render(x86_64).bootconfig.count("enable") == 30


def test_a_page_free_that_cannot_be_filtered_is_left_out_and_named() -> None:
    trace = render(plan(site("page_free", "free_unref_page", page=PAGE["page"])))
    assert trace.bootconfig == ""
    assert trace.command_line is None
    (sentence,) = trace.dropped
    assert "zt0_page_free" in sentence
    assert "raw_mapcount" in sentence


def test_definitions_stay_within_the_kernels_buffer() -> None:
    long = "f" * 190
    trace = render(plan(site("rmap_remove", long, **PAGE)))
    (definition,) = re.findall(r'probes = "([^"]*)"', trace.bootconfig)
    assert len(f"p:kprobes/zt0_rmap_remove {definition}") <= 250
    assert f"{long} page=%r2:x64" in definition
    assert any("raw_mapcount" in sentence for sentence in trace.dropped)


def test_the_rule_of_what_is_recorded() -> None:
    assert list(recorded_args(PLAN.sites[0])) == ["end"]
    assert list(recorded_args(PLAN.sites[0], at_entry=True)) == ["vma"]
    own = site("zap", "f", clock=ProbeArg("%r1", "x64"), pid=ProbeArg("%r2", "s32"))
    assert recorded_args(own) == {}
