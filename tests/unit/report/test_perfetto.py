"""Perfetto traces, read back by Perfetto's own code: its protobuf classes, its trace processor."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from zaptrace import demo
from zaptrace.capture.reader import read
from zaptrace.model.events import EVENT, Events, Kind, Origin, blank
from zaptrace.report.perfetto import trace

EVENTS = protos.TrackEvent


def packets(events: Events) -> list[Any]:
    told = protos.Trace()
    told.ParseFromString(trace(events))
    return list(told.packet)


def tracks(told: list[Any]) -> dict[int, str]:
    found = {}
    for packet in told:
        if packet.HasField("track_descriptor"):
            one = packet.track_descriptor
            found[one.uuid] = one.thread.thread_name or one.name
    return found


@pytest.fixture(scope="module")
def founding() -> Events:
    return read(demo.path())


def test_each_event_is_on_its_task_s_track_and_its_cpu_s(founding: Events) -> None:
    told = packets(founding)
    names = tracks(told)
    here = [one for one in told if one.HasField("track_event")]
    for kind, wanted in (("bad_page", Kind.BAD_PAGE), ("rmap_remove", Kind.RMAP_REMOVE)):
        instants = [one for one in here if one.track_event.name == kind]
        records = founding.of_kind(wanted)
        assert len(instants) == 2 * len(records) > 0
        assert all(one.track_event.type == EVENTS.TYPE_INSTANT for one in instants)
        assert sorted({one.timestamp for one in instants}) == sorted(set(records["clock"].tolist()))
        where = {names[one.track_event.track_uuid] for one in instants}
        last = {int(one["pid"]): one["comm"].decode() for one in founding.records}
        assert where == {f"CPU {cpu}" for cpu in records["cpu"]} | {
            last[int(pid)] for pid in records["pid"]
        }


def test_zaps_are_slices_that_close_before_the_next_opens(founding: Events) -> None:
    depth: dict[int, int] = {}
    opened = 0
    for packet in packets(founding):
        event = packet.track_event
        if event.type == EVENTS.TYPE_SLICE_BEGIN:
            depth[event.track_uuid] = depth.get(event.track_uuid, 0) + 1
            opened += 1
        elif event.type == EVENTS.TYPE_SLICE_END:
            depth[event.track_uuid] -= 1
        assert depth.get(event.track_uuid, 0) in (0, 1)
    assert not any(depth.values())
    assert opened == 2 * len(founding.of_kind(Kind.ZAP))


def test_the_counter_of_a_refused_page_is_its_mapcount(founding: Events) -> None:
    told = packets(founding)
    pfn = int(founding.of_kind(Kind.BAD_PAGE)["pfn"][0])
    (uuid,) = (one for one, name in tracks(told).items() if name == f"mapcount of pfn {pfn:#x}")
    counts = [one.track_event.counter_value for one in told if one.track_event.track_uuid == uuid]
    about = founding.records[founding.records["pfn"] == pfn]
    about = about[np.argsort(about["clock"], kind="stable")]
    stored = about["raw_mapcount"][about["raw_mapcount"] != -(2**31)]
    assert counts == [one for one in counts if one is not None]
    assert counts == (stored + 1).tolist()


def test_what_has_no_clock_comes_last_and_says_so() -> None:
    records = blank(2)
    records["clock"][1] = 1000
    records["kind"] = (Kind.BAD_PAGE, Kind.RMAP_REMOVE)
    records["origin"][0] = Origin.REGISTERS
    records["pid"] = 9
    *_, last = packets(Events(records))
    assert (last.timestamp, last.track_event.name) == (1001, "bad_page")
    assert any(one.name == "time" for one in last.track_event.debug_annotations)


def test_any_bytes_of_a_guest_make_a_trace() -> None:
    raw = random.Random(11).randbytes(EVENT.itemsize * 300)
    records = np.frombuffer(raw, EVENT).copy()
    records["kind"] %= 9
    records["clock"][::3] %= 100
    times = [one.timestamp for one in packets(Events(records)) if one.timestamp]
    assert times == sorted(times)


def test_the_trace_is_as_perfetto_s_own_schema_wants_it(founding: Events) -> None:
    """What its importer counts as an error, asked of its own protobuf classes."""
    data = trace(founding)
    whole = protos.Trace()
    whole.ParseFromString(data)
    whole.DiscardUnknownFields()
    assert whole.ByteSize() == len(data)  # it knows every field that we wrote
    told = list(whole.packet)
    first, *rest = told
    # Without this flag the whole sequence is dropped; once is enough.
    assert first.sequence_flags == protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert not any(one.sequence_flags for one in rest)
    assert {one.trusted_packet_sequence_id for one in told} == {1}
    described: set[int] = set()
    for packet in rest:
        if packet.HasField("track_descriptor"):
            one = packet.track_descriptor
            assert one.uuid and one.uuid not in described
            assert not one.HasField("parent_uuid") or one.parent_uuid in described
            described.add(one.uuid)
            continue
        event = packet.track_event
        assert event.track_uuid in described
        assert packet.timestamp_clock_id == protos.BuiltinClock.BUILTIN_CLOCK_BOOTTIME
        if event.type == EVENTS.TYPE_COUNTER:
            assert event.HasField("counter_value") and not event.HasField("name")
        else:
            assert event.type == EVENTS.TYPE_SLICE_END or (event.name and event.categories)
        for note in event.debug_annotations:
            assert note.name and note.WhichOneof("value")


def test_no_events_make_an_empty_trace() -> None:
    assert not any(one.HasField("track_event") for one in packets(Events()))


def test_the_trace_processor_reads_it(founding: Events, tmp_path: Path) -> None:
    """With Perfetto's own binary, where it is installed: no test downloads one."""
    shell = shutil.which("trace_processor_shell") or shutil.which("trace_processor")
    prebuilt = sorted((Path.home() / ".local/share/perfetto/prebuilts").glob("*shell-*"))
    shell = shell or next((str(one) for one in prebuilt if one.suffix != ".tmp"), None)
    if shell is None:
        pytest.skip("Perfetto's trace_processor_shell is not installed: read by protobuf only")
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    path = tmp_path / "trace.pftrace"
    path.write_bytes(trace(founding))
    with TraceProcessor(str(path), config=TraceProcessorConfig(bin_path=shell)) as processor:
        rows = processor.query("select count(*) as n from slice where name = 'bad_page'")
        assert [row.n for row in rows] == [2 * len(founding.of_kind(Kind.BAD_PAGE))]
        rows = processor.query(
            "select value as n from stats where name = 'track_event_parser_errors'"
        )
        assert [row.n for row in rows] in ([], [0])
