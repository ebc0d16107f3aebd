"""A page's life as a Perfetto trace, read back by Perfetto's own classes and compared with JSON."""

from __future__ import annotations

from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from tests.unit.life.builders import MAPCOUNT, PFN, page_fields
from tests.unit.life.folios import Folio
from tests.unit.life.lives import Mapped, resolve
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.report.life import life_json
from zaptrace.report.life_perfetto import life_trace

EVENTS = protos.TrackEvent


def a_life(stop: int | None = None) -> NamedLife:
    page = Mapped()
    page.refs(1, 7, 0x25)
    page.maps(1, 2, 0x25)
    page.sets(0x33, 0x25, slot=0x4008)
    page.zap(slot=0x4008)
    page.zap()
    return named_life(page.life(tables=1, stop=stop), PFN, resolve)


class Trace:
    """What stands in a trace."""

    def __init__(self, named: NamedLife) -> None:
        whole = protos.Trace()
        data = life_trace(named, page_fields())
        whole.ParseFromString(data)
        whole.DiscardUnknownFields()
        assert whole.ByteSize() == len(data)  # Perfetto knows every field
        described = [one.track_descriptor for one in whole.packet]
        self.names = {one.uuid: one.name for one in described if one.uuid}
        self.packets = [one for one in whole.packet if one.HasField("track_event")]
        times = [one.timestamp for one in self.packets]
        assert times == sorted(times)
        assert {one.track_event.track_uuid for one in self.packets} <= set(self.names)

    def on(self, track: str) -> list[Any]:
        """The events of the tracks whose names begin so."""
        return [
            one for one in self.packets if self.names[one.track_event.track_uuid].startswith(track)
        ]

    def slices(self, track: str) -> list[tuple[int, int]]:
        kinds = [one.track_event.type for one in self.on(track)]
        times = [one.timestamp for one in self.on(track)]
        begin, end = EVENTS.TYPE_SLICE_BEGIN, EVENTS.TYPE_SLICE_END
        assert kinds == [begin, end] * (len(kinds) // 2)
        return list(zip(times[::2], times[1::2], strict=True))


def notes(packet: Any) -> dict[str, Any]:
    return {
        one.name: getattr(one, one.WhichOneof("value"))
        for one in packet.track_event.debug_annotations
    }


def test_each_store_is_an_instant_with_its_line_and_stack() -> None:
    named = a_life()
    document = life_json(named, "RUN", None, ())
    instants = Trace(named).on("stores of CPU 0")
    assert len(instants) == len(document["writes"])
    by_number = {notes(one)["number"]: one for one in instants}
    for write in document["writes"]:
        packet = by_number[write["number"]]
        said = notes(packet)
        assert packet.timestamp == write["ns"]
        assert packet.track_event.name == (write["role"] or write["changes"][0]["field"])
        assert (said["function"], said["source"]) == (write["function"], write["source"])
        frames = [*write["inline_chain"], *(f for one in write["stack"] for f in one["frames"])]
        assert said["stack"].splitlines() == [f"{f['function']} {f['source']}" for f in frames]
        for change in write["changes"]:
            assert change["field"] in said


def test_its_counters_are_those_of_the_kernel() -> None:
    named = a_life()
    document = life_json(named, "RUN", None, ())
    trace = Trace(named)
    for name in ("_refcount", "_mapcount"):
        wanted = [
            (write["ns"], change["after"])
            for write in document["writes"]
            for change in write["changes"]
            if change["field"] == name
        ]
        found = [(one.timestamp, one.track_event.counter_value) for one in trace.on(name)]
        assert found == wanted and wanted
    assert [one.track_event.counter_value for one in trace.on("PTEs")] == [1, 2, 1, 0]


def test_slices_show_while_it_is_allocated_and_mapped() -> None:
    named = a_life()
    at = {
        role: [one.write.ns for one in named.writes if one.role == role]
        for role in ("allocated", "freed", "PTE set", "PTE cleared")
    }
    trace = Trace(named)
    assert trace.slices("allocated") == [(at["allocated"][0], at["freed"][0])]
    outer, inner = at["PTE set"], at["PTE cleared"]
    assert trace.slices("PTE at 0x4000") == [(outer[0], inner[1])]
    assert trace.slices("PTE at 0x4008") == [(outer[1], inner[0])]


def test_what_never_ends_ends_with_the_life() -> None:
    page = Mapped()
    trace = Trace(named_life(page.life(tables=1), PFN, resolve))
    last = max(one.timestamp for one in trace.packets)
    assert [end for _, end in trace.slices("allocated")] == [last]
    assert [end for _, end in trace.slices("PTE at")] == [last]


def test_a_page_type_is_no_mapcount_and_the_stop_is_shown() -> None:
    page = Mapped()
    page.store(MAPCOUNT, -129, pc=9)
    named = named_life(page.life(stop=len(page.rows) - 1), PFN, resolve)
    trace = Trace(named)
    assert min(one.track_event.counter_value for one in trace.on("_mapcount")) >= -1
    (stop,) = trace.on("guest")
    assert "stopped and dumped" in stop.track_event.name
    (late,) = (one for one in trace.on("stores of") if "after_stop" in notes(one))
    assert late.timestamp == stop.timestamp


def test_a_page_without_stores_makes_a_trace() -> None:
    page = Mapped()
    trace = Trace(named_life(page.life(), PFN + 1, resolve))
    assert not trace.packets


def test_a_large_folio_has_its_pmds_and_their_counter() -> None:
    assert not Trace(a_life()).on("_entire_mapcount")
    folio = Folio()
    folio.fault()
    folio.zap()
    trace = Trace(folio.named())
    assert [one.track_event.counter_value for one in trace.on("_entire_mapcount")] == [0, -1]
    assert len(trace.slices("PMD at 0x4000")) == 1 and not trace.on("PTE at")
