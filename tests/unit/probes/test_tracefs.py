"""The tracefs source on this very kernel.

A build machine's kernel may have no kprobes; uprobe events are defined,
filtered, recorded and removed by the same code of the kernel
(kernel/trace/trace_probe.c), so functions of the C library stand in for the
kernel's here.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from probes.dynevents import DynamicEvents, clean_leftovers, own_name
from probes.filters import Filters
from probes.preflight import TRACING, check
from probes.tracefs import TracefsSource
from tests.unit.probes.uprobes import CONTROL, FUNCTIONS, place_of, plan
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import Missing
from zaptrace.model.events import ABSENT, Events, Kind
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

LIBC = ctypes.CDLL(None)


def itself() -> Filters:
    """This process alone, which is another than the one that collected the tests."""
    return Filters(pids=(os.getpid(),))


def usable() -> str | None:
    """Why this machine cannot do it, or None."""
    if platform.machine() != "x86_64":
        return "the registers named here are x86_64's"
    if os.geteuid() == 0 and not (TRACING / "instances").exists():
        # Whatever boots most machines has mounted it; what boots a build machine may not.
        mount = ("mount", "-t", "tracefs", "nodev", str(TRACING))
        subprocess.run(mount, capture_output=True, check=False)
    if os.geteuid() != 0 or not (TRACING / CONTROL).exists():
        return "no uprobe events here, or no right to them"
    probe = TRACING / "instances" / f"zaptrace_can_{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"no tracing instances here: {error}"
    return None


live = pytest.mark.skipif(bool(usable()), reason=str(usable()))


@pytest.fixture(scope="module", autouse=True)
def kernels_symbols() -> Iterator[None]:
    """Each source's own look at /proc/kallsyms is 57 ms of CPU: one for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kallsyms, "of_this_kernel", functools.cache(Kallsyms.of_this_kernel))
        yield


@pytest.fixture
def source() -> Iterator[TracefsSource]:
    made = TracefsSource(plan(), itself(), control=CONTROL)
    try:
        yield made
    finally:
        made.close()


def told(events: Events) -> int:
    """Events that came, without those that count lost ones."""
    return int(np.count_nonzero(events.records["kind"] != Kind.LOST))


def everything(source: TracefsSource, count: int, seconds: float = 60) -> Events:
    """Increments until `count` records came or were lost."""
    whole = Events()
    deadline = time.monotonic() + seconds
    while told(whole) + whole.lost < count and time.monotonic() < deadline:
        more = source.read(0.1)
        assert more is not None
        whole = appended(whole, more)
    return whole


def appended(whole: Events, more: Events) -> Events:
    """As Source.read says: ids are the stream's own."""
    return Events(
        np.concatenate([whole.records, more.records]),
        whole.strings | more.strings,
        whole.stacks | more.stacks,
        whole.symbols | more.symbols,
        whole.meta | more.meta,
    )


def call(function: str, *args: object) -> None:
    getattr(LIBC, function)(
        *(ctypes.c_uint64(one) if isinstance(one, int) else one for one in args)
    )


def left_behind() -> list[str]:
    """What of this process stands in tracefs."""
    instances = [path.name for path in (TRACING / "instances").glob("zaptrace_*")]
    groups = DynamicEvents(TRACING, CONTROL, "").groups()
    return [name for name in (*instances, *groups) if f"_{os.getpid()}_" in name]


@live
def test_exactly_23_with_every_field(source: TracefsSource) -> None:
    for number in range(23):
        call("labs", 0xFFFFEA0000000000 + 64 * number, number - 1)
    events = everything(source, 23)
    records = events.records
    assert len(records) == 23 and events.lost == 0
    assert set(records["kind"]) == {Kind.RMAP_REMOVE}
    assert records["page"].tolist() == [0xFFFFEA0000000000 + 64 * n for n in range(23)]
    assert records["raw_mapcount"].tolist() == list(range(-1, 22))
    assert set(records["tgid"]) == {os.getpid()}
    assert set(records["pid"]) == {threading.get_native_id()}
    assert set(records["comm"]) == {Path("/proc/self/comm").read_bytes().strip()}
    assert len(set(records["caller"])) == 1 and records["caller"][0] not in (0, ABSENT)
    clocks = records["clock"].astype(np.int64)
    assert (np.diff(clocks) > 0).all()
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert now - 20e9 < clocks[0] < clocks[-1] < now
    assert source.read(0).records.size == 0  # type: ignore[union-attr]


@live
def test_the_first_increment_says_what_is_watched(source: TracefsSource) -> None:
    first, second = source.read(0), source.read(0)
    assert first is not None and second is not None
    assert first.meta["source"] == "tracefs"
    assert [one["event"] for one in first.meta["sites"]] == list(FUNCTIONS)
    assert first.meta["missing"] == []
    assert (first.meta["release"], first.meta["page_size"]) == (os.uname().release, 4096)
    assert second.meta == {}


@live
def test_only_frees_of_mapped_pages_and_a_stack_each(source: TracefsSource) -> None:
    for raw_mapcount in (2**32 - 1, 0, 2**32 - 1, 5):
        call("llabs", 1, raw_mapcount)
        call("labs", 1, raw_mapcount)
    events = everything(source, 6)
    frees = events.of_kind(Kind.PAGE_FREE)
    assert frees["raw_mapcount"].tolist() == [0, 5]
    assert len(events.of_kind(Kind.RMAP_REMOVE)) == 4
    assert not events.of_kind(Kind.RMAP_REMOVE)["stack"].any()
    stacks = [events.stacks[number] for number in frees["stack"].tolist()]
    assert all(stacks), "the kernel's stack at the uprobe"
    assert any(address in events.symbols for address in stacks[0])


@live
def test_reasons_are_reported_once(source: TracefsSource) -> None:
    told: list[dict[int, str]] = []
    for text in (b"nonzero mapcount", b"nonzero _refcount", b"nonzero mapcount"):
        call("gnu_dev_major", 1, 2, ctypes.c_char_p(text))
        events = everything(source, 1)
        told.append(events.strings)
        assert len(events.records) == 1 and events.records["reason"][0] in {1, 2}
    assert told == [{1: "nonzero mapcount"}, {2: "nonzero _refcount"}, {}]


def busy(count: int) -> None:
    function = LIBC.labs
    for number in range(count):
        function(ctypes.c_uint64(number), 7)


@live
def test_threads_on_all_cpus_come_in_order_and_none_is_lost(source: TracefsSource) -> None:
    count = 3000
    workers = [threading.Thread(target=busy, args=(count,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    events = everything(source, 3 * count)
    for worker in workers:
        worker.join()
    assert len(events.records) == 3 * count and events.lost == 0
    assert (np.diff(events.records["clock"].astype(np.int64)) >= 0).all()
    for pid in set(events.records["pid"].tolist()):
        own = events.records[events.records["pid"] == pid]
        assert own["page"].tolist() == list(range(count))


@live
def test_what_is_lost_is_counted() -> None:
    source = TracefsSource(plan(), itself(), control=CONTROL, buffer_kib=16)
    try:
        count = 5000
        busy(count)
        events = everything(source, count)
        came = events.of_kind(Kind.RMAP_REMOVE)
        assert 0 < len(came) < count
        assert len(came) + events.lost == count
        assert set(events.of_kind(Kind.LOST)["cpu"]) <= set(range(os.cpu_count() or 1))
    finally:
        source.close()


CHILD = "import ctypes,sys\nfor n in range(int(sys.argv[1])): ctypes.CDLL(None).labs(n)"


@live
def test_other_processes_are_not_seen_neither_are_children(source: TracefsSource) -> None:
    subprocess.run([sys.executable, "-c", CHILD, "50"], check=True)
    call("labs", 1, 1)
    records = everything(source, 1).records
    assert records["page"].tolist() == [1]


FORKS = """
import ctypes, os, sys
call = ctypes.CDLL(None).labs
sys.stdin.read(1)
for n in range(int(sys.argv[1])):
    call(n)
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        call(n)
        os._exit(0)
"""
"""A program that does a thing so many times, and has a child do it each time as well."""


@live
def test_children_that_end_at_once_are_not_seen() -> None:
    count = 300
    command = [sys.executable, "-c", FORKS, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:
        source = TracefsSource(plan(), Filters(pids=(parent.pid,)), control=CONTROL)
        try:
            assert parent.stdin is not None
            parent.stdin.write(b"x")
            parent.stdin.close()
            records = everything(source, count).records
            assert set(records["tgid"]) == {parent.pid}
            assert records["page"].tolist() == list(range(count))
        finally:
            source.close()


@live
def test_our_own_process_is_not_seen_unless_it_is_asked_for() -> None:
    source = TracefsSource(plan(), control=CONTROL)
    try:
        source.read(0)
        thread = threading.Thread(target=busy, args=(5,))
        call("labs", 1, 1)
        thread.start()
        thread.join()
        child = subprocess.Popen([sys.executable, "-c", CHILD, "23"])
        child.wait()
        records = everything(source, 23).records
        assert set(records["pid"]) == {child.pid} and len(records) == 23
        assert str(os.getpid()) in source._instance.read("set_event_notrace_pid").split()
    finally:
        source.close()


@live
def test_a_task_name_chooses_and_a_dead_tasks_process_is_known() -> None:
    name = f"zt{os.getpid()}"
    source = TracefsSource(plan(), Filters(comms=("nobody", name)), control=CONTROL)
    try:
        script = f"open('/proc/self/comm','w').write('{name}')\n" + CHILD
        script += "\nimport time; time.sleep(.1)"
        child = subprocess.Popen([sys.executable, "-c", script, "23"])
        child.wait()
        call("labs", 1, 1)
        records = everything(source, 23).records
        assert len(records) == 23
        assert set(records["comm"]) == {name.encode()}
        assert set(records["pid"]) == set(records["tgid"]) == {child.pid}
    finally:
        source.close()


@live
def test_what_the_kernel_refuses_is_said_in_its_words_and_the_rest_continues() -> None:
    bad = ProbeSite(
        "bad_pte", place_of("labs"), 0, None, False, None, {"page": ProbeArg("%nox", "x64")}
    )
    unfiltered = ProbeSite("page_free", place_of("labs"), 0, None, False, None, {})
    source = TracefsSource(plan(bad, unfiltered), itself(), control=CONTROL)
    try:
        first = source.read(0)
        assert first is not None
        assert [one["event"] for one in first.meta["missing"]] == ["bad_pte", "page_free"]
        assert "Invalid" in first.meta["missing"][0]["why"]
        assert "raw_mapcount" in first.meta["missing"][1]["why"]
        call("labs", 1, 1)
        assert len(everything(source, 1).records) == 1
    finally:
        source.close()


@live
def test_when_all_is_refused_that_is_an_error_and_nothing_stays() -> None:
    bad = ProbeSite(
        "bad_pte", place_of("labs"), 0, None, False, None, {"page": ProbeArg("%nox", "x64")}
    )
    with pytest.raises(Missing, match=r"takes none of the probes.*Invalid"):
        TracefsSource(ProbePlan("00", "x86_64", None, (bad,)), control=CONTROL)
    assert left_behind() == []


@live
def test_nothing_stays_after_close_and_closing_twice_is_fine() -> None:
    source = TracefsSource(plan(), itself(), control=CONTROL)
    assert left_behind() != []
    source.close()
    source.close()
    assert left_behind() == []
    assert source.read(0) is None


KILLED = """
import sys, time
from tests.unit.probes.uprobes import CONTROL, plan
from probes.tracefs import TracefsSource
source = TracefsSource(plan(), control=CONTROL)
print(source._events.group, flush=True)
time.sleep(60)
"""


@live
def test_what_a_killed_one_left_is_removed_by_the_next_and_foreign_things_stay() -> None:
    foreign = [
        DynamicEvents(TRACING, CONTROL, f"foreign_{os.getpid()}"),
        DynamicEvents(TRACING, CONTROL, own_name()),  # ours, and alive
    ]
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    group = child.stdout.readline().strip()
    try:
        for one in foreign:
            one.define("zt0_zap", f"{place_of('labs')} x=%di:x64")
        assert group in DynamicEvents(TRACING, CONTROL, "").groups()
        assert (TRACING / "instances" / group).is_dir()
        child.kill()
        child.wait()
        child.stdout.close()
        clean_leftovers(TRACING, CONTROL)  # a source that starts beside us may have come first
        assert DynamicEvents(TRACING, CONTROL, group).names() == []
        assert not (TRACING / "instances" / group).exists()
        assert [one.names() for one in foreign] == [["zt0_zap"], ["zt0_zap"]]
    finally:
        for one in foreign:
            one.remove()


def test_filters_that_only_bcc_has_are_refused() -> None:
    for filters in (
        Filters(cgroup=Path("/sys/fs/cgroup")),
        Filters(anonymous=True),
        Filters(large_only=True),
    ):
        with pytest.raises(Missing, match="needs bcc"):
            TracefsSource(ProbePlan("00", "x86_64", None, ()), filters)


def test_without_tracefs_that_is_said(tmp_path: Path) -> None:
    empty = ProbePlan("00", "x86_64", None, ())
    with pytest.raises(Missing, match="not mounted" if os.geteuid() == 0 else "root"):
        TracefsSource(empty, root=tmp_path, control=CONTROL)
    (tmp_path / "events").mkdir()
    with pytest.raises(Missing, match="no uprobe_events" if os.geteuid() == 0 else "root"):
        TracefsSource(empty, root=tmp_path, control=CONTROL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets past the check of its rights")
def test_a_kernel_that_is_locked_down_says_so(tmp_path: Path) -> None:
    lockdown = tmp_path / "lockdown"
    lockdown.write_text("none integrity [confidentiality]\n")
    with pytest.raises(Missing, match="locked down"):
        check(tmp_path, CONTROL, lockdown)
    lockdown.write_text("[none] integrity confidentiality\n")
    with pytest.raises(Missing, match="not mounted"):
        check(tmp_path, CONTROL, lockdown)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets past the check of its rights")
def test_a_kernel_without_kprobes_says_so_before_it_is_asked_for_tracefs(tmp_path: Path) -> None:
    kallsyms = tmp_path / "kallsyms"
    kallsyms.write_text("0000000000000000 T register_kprobes\n")
    with pytest.raises(Missing, match="has no kprobes"):
        check(tmp_path, "kprobe_events", tmp_path / "none", kallsyms)
    kallsyms.write_text("0000000000000000 T register_kprobe\n")
    with pytest.raises(Missing, match="not mounted"):
        check(tmp_path, "kprobe_events", tmp_path / "none", kallsyms)
