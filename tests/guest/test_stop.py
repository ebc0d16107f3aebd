"""The event read from the stopped CPU's registers, against what the kernel printed itself."""

from __future__ import annotations

import pytest

from tests.guest.conftest import Boot
from zaptrace.capture.reader import read
from zaptrace.memory.open import open_program
from zaptrace.memory.stopped_cpu import stop_events
from zaptrace.model.events import ABSENT, Events, Kind, Origin
from zaptrace.splat import parse

pytestmark = pytest.mark.guest


@pytest.fixture
def events(founding: Boot) -> Events:
    """What the registers in the dump of the stop say."""
    prog = open_program(founding.vmcore, founding.vmlinux)
    return stop_events(prog, founding.vmcore, founding.plan)


def test_the_stop_is_the_kernels_own_report(founding: Boot, events: Events) -> None:
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


def test_the_stack_is_the_call_trace_that_the_kernel_prints(founding: Boot, events: Events) -> None:
    stop = events.records[-1]
    prog = open_program(founding.vmcore, founding.vmlinux)
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


def test_the_probes_saw_the_same_page(founding: Boot, events: Events) -> None:
    """The kprobe on the way into the allocator before the stop, that of bad_page after it."""
    stop, recorded = events.records[-1], read(founding.capture)
    assert not (recorded.records["origin"] == Origin.REGISTERS).any()
    for kind in (Kind.PAGE_FREE, Kind.BAD_PAGE):
        first = recorded.of_kind(kind)[0]
        for field in ("page", "pfn", "raw_mapcount", "refcount", "cpu", "pid", "comm"):
            assert first[field] == stop[field], (kind, field)


def test_what_came_after_the_stop_is_in_the_capture(founding: Boot) -> None:
    """The removal that made it this bug; the dump that showed it is gone."""
    recorded = read(founding.capture)
    refused = recorded.of_kind(Kind.BAD_PAGE)[0]
    assert (recorded.of_kind(Kind.RMAP_REMOVE)["clock"] > refused["clock"]).any()
    assert recorded.meta["after"] in ("exit", "timeout")
    assert not (founding.path / "vmcore.later").exists()
