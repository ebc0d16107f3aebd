"""The plan as a BPF program: what is fetched from where, and for whom."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from probes.bccrecords import RECORD
from probes.bpflosses import COUNTS
from probes.bpfprogram import FREED, PT_REGS_WORDS, render
from probes.filters import Filters
from zaptrace.arch import ARCHES
from zaptrace.model.errors import Missing
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

OFFSETS = {
    "page._mapcount": 48,
    "page._refcount": 52,
    "page.compound_head": 8,
    "page.mapping": 24,
    "sizeof page": 64,
}


def plan(arch: str, site: ProbeSite) -> ProbePlan:
    return ProbePlan("00", arch, "6.1", (site,), offsets=OFFSETS)


def site(event: str, **args: tuple[str, str]) -> ProbeSite:
    places = {name: ProbeArg(location, kind) for name, (location, kind) in args.items()}
    return ProbeSite(event, "function", 4, 0x1000, False, None, places)


def function(text: str, number: int = 0) -> str:
    found = re.search(rf"^int site_{number}\(.*?^}}$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("arch", "location", "kind", "field", "value"),
    [
        ("x86_64", "%di", "x64", "page", "ctx->word[14]"),
        ("s390x", "%r2", "x64", "page", "ctx->word[5]"),
        ("x86_64", "+16(%si)", "x64", "mm", "at(ctx->word[13] + (16))"),
        ("x86_64", "-120(%bp)", "x64", "addr", "at(ctx->word[4] + (-120))"),
        ("s390x", "+8(+208(%r15))", "x64", "end", "at(at(ctx->word[18] + (208)) + (8))"),
        ("s390x", "+48(%r2)", "s32", "raw_mapcount", "at32(ctx->word[5] + (48))"),
    ],
)
def test_fetch_arguments(arch: str, location: str, kind: str, field: str, value: str) -> None:
    program = render(plan(arch, site("zap", **{field: (location, kind)})), Filters())
    assert f"event->{field} = {value};" in function(program.text)


def test_both_counters_are_read_at_once() -> None:
    both = site("bad_page", raw_mapcount=("+48(%di)", "s32"), refcount=("+52(%di)", "s32"))
    text = function(render(plan("x86_64", both), Filters()).text)
    assert "bpf_probe_read_kernel(&event->raw_mapcount, 8, (void *)(ctx->word[14] + (48)));" in text
    assert "at32" not in text
    apart = site("bad_page", raw_mapcount=("+48(%di)", "s32"), refcount=("+56(%di)", "s32"))
    text = function(render(plan("x86_64", apart), Filters()).text)
    assert "event->refcount = at32(ctx->word[14] + (56));" in text


def test_a_reason_is_kept_by_its_address() -> None:
    program = render(plan("x86_64", site("bad_page", reason=("+0(%si)", "string"))), Filters())
    text = function(program.text)
    assert "event->more = ctx->word[13] + (0);" in text
    assert "keep_reason(0, ctx->word[13] + (0));" in text


def test_registers_lie_within_what_the_kernel_lets_read() -> None:
    for words in (arch.pt_regs_words for arch in ARCHES.values()):
        assert max(words.values()) < PT_REGS_WORDS


@pytest.mark.parametrize("location", ["$arg1", "%nothing", "@symbol", "%di; evil()", ""])
def test_a_location_of_no_known_form_is_refused(location: str) -> None:
    with pytest.raises(Missing, match="has a form that is not known"):
        render(plan("x86_64", site("zap", addr=(location, "x64"))), Filters())


def test_filters_thin_out_ordinary_traffic_only() -> None:
    for event in ("zap", "zap_enter", "rmap_remove"):
        text = function(render(plan("x86_64", site(event)), Filters()).text)
        assert "task_wanted(who, state->self)" in text
    for event in ("bad_page", "bad_pte"):
        program = render(plan("x86_64", site(event)), Filters(pids=(1,)))
        assert "task_wanted(who, state->self)" not in function(program.text)
        assert "task_wanted(who, state->self)" not in function(
            program.text, program.sites.index(FREED)
        )


def test_tasks_by_pid_and_by_name() -> None:
    filters = Filters(pids=(7, 8), comms=("stress-ng",))
    text = render(plan("x86_64", site("zap")), filters).text
    low, high = struct.unpack("=QQ", b"stress-ng".ljust(16, b"\0"))
    assert "#define ZT_TASK(tgid, self) (tgid == 7 || tgid == 8)" in text
    assert f"(low == {low:#x}ULL && high == {high:#x}ULL)" in text


def test_we_do_not_watch_ourselves() -> None:
    """And the text is the same for every reader: it is compiled once."""
    text = render(plan("x86_64", site("zap")), Filters()).text
    assert "#define ZT_TASK(tgid, self) (tgid != self)" in text


def test_a_page_filter_needs_the_places_of_its_members() -> None:
    few = {name: OFFSETS[name] for name in ("page._mapcount", "page._refcount")}
    poor = ProbePlan("00", "x86_64", "6.1", (site("zap"),), offsets=few)
    with pytest.raises(Missing, match="does not say"):
        render(poor, Filters(anonymous=True))


def test_every_kprobe_counts_its_hits_before_anything_else() -> None:
    program = render(plan("x86_64", site("rmap_remove")), Filters(pids=(1,), anonymous=True))
    first = function(program.text).splitlines()[2]
    assert first == "\tCOUNT(0, entered);"
    assert "entered" not in function(program.text, program.sites.index(FREED))
    assert "#define ZT_SITES 2\n" in program.text


def test_stacks_that_are_not_kept_are_counted() -> None:
    text = function(render(plan("x86_64", site("bad_pte")), Filters()).text)
    assert "if (event->stack < 0)\n\t\tCOUNT(0, stackless);" in text


def test_the_counts_are_the_c_structs() -> None:
    source = (Path(__file__).parents[3] / "probes" / "zap.bpf.c").read_text()
    body = re.search(r"struct counts \{(.*?)\n\};", source, re.DOTALL)
    assert body is not None
    assert re.findall(r"^\tu64 (\w+);", body[1], re.MULTILINE) == list(COUNTS.names or ())


def test_the_record_is_the_c_structs() -> None:
    source = (Path(__file__).parents[3] / "probes" / "zap.bpf.c").read_text()
    body = re.search(r"struct event \{(.*?)\n\};", source, re.DOTALL)
    assert body is not None
    members = re.findall(r"^\t(u64|s32|u32|u16|u8|char) (\w+)(\[16\])?;", body[1], re.MULTILINE)
    sizes = {"u64": 8, "s32": 4, "u32": 4, "u16": 2, "u8": 1, "char": 16}
    offset = 0
    assert [name for _, name, _ in members] == list(RECORD.names or ())
    for kind, name, _ in members:
        assert RECORD.fields is not None
        assert RECORD.fields[name][1] == offset
        offset += sizes[kind]
    assert offset == RECORD.itemsize
