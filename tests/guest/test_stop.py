"""The event read from the stopped CPU's registers, against what the kernel printed itself."""

from __future__ import annotations

from tests.guest.conftest import Boot
from zaptrace.capture.reader import read
from zaptrace.memory.opening import open_vmcore
from zaptrace.model.events import ABSENT, Kind, Origin
from zaptrace.splat import parse


def test_the_stop_is_the_kernels_own_report(founding: Boot) -> None:
    events = read(founding.capture)
    (stop,) = events.records[events.records["origin"] == Origin.REGISTERS]
    splat = parse(founding.console.read_bytes())[0]
    assert splat.kind == "bad_page_state"
    assert stop["kind"] == Kind.BAD_PAGE
    assert stop["clock"] == ABSENT
    assert stop["pfn"] == splat.pfn
    assert stop["raw_mapcount"] + 1 == splat.mapcount
    assert stop["refcount"] == splat.refcount
    assert stop["comm"].decode() == splat.comm
    assert (stop["cpu"], stop["pid"]) == (splat.cpu, splat.pid)
    assert events.strings[int(stop["reason"])] == splat.reason == "nonzero mapcount"


def test_the_stack_is_the_call_trace_that_the_kernel_prints(founding: Boot) -> None:
    events = read(founding.capture)
    stop = events.records[-1]
    prog = open_vmcore(founding.vmcore, founding.vmlinux)
    ours = events.stacks[int(stop["stack"])]
    frames = [frame for frame in parse(founding.console.read_bytes())[0].trace if frame.reliable]
    names = [(frame.symbol or "").removesuffix(".cold") for frame in frames]
    kernels = [
        prog.symbol(frame.symbol).address + frame.offset
        for frame in frames[names.index("bad_page") + 1 :]
        if frame.symbol is not None and frame.offset is not None
    ]
    assert len(ours) > 5
    assert list(ours) == kernels


def test_the_boot_time_record_before_it_is_the_same_page(founding: Boot) -> None:
    """The kprobe on the way into the allocator saw what the registers then say."""
    events = read(founding.capture)
    stop = events.records[-1]
    (freed,) = events.of_kind(Kind.PAGE_FREE)
    for field in ("page", "pfn", "raw_mapcount", "refcount", "cpu", "pid", "comm"):
        assert freed[field] == stop[field], field
