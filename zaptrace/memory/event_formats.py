"""What the kernel itself says about its trace events: ids, fields, missed hits."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

import drgn
from drgn.helpers.linux.list import list_for_each_entry

from zaptrace.ftrace.formats import TraceField, TraceFormat
from zaptrace.model.kprobe_names import GROUP

_MAX_EVENTS = 100_000  # all events of all modules; more is a broken list
_MAX_FIELDS = 128  # MAX_TRACE_ARGS (kernel/trace/trace_probe.h)


def kprobe_formats(prog: drgn.Program, names: Collection[str]) -> dict[str, TraceFormat]:
    """Map event names to formats, for those of the named kprobe events that exist.

    From the ftrace_events list (kernel/trace/trace_events.c); each event's
    fields are those that it registered, nothing is assumed.

    Raises:
        drgn.FaultError, LookupError: the kernel has no trace events, or broken ones.
    """
    tracepoint = prog.constant("TRACE_EVENT_FL_TRACEPOINT").value_()
    found: dict[str, TraceFormat] = {}
    events = prog["ftrace_events"].address_of_()
    for call in _bounded("struct trace_event_call", events, "list", _MAX_EVENTS):
        if call.flags.value_() & tracepoint:
            continue
        name = _text(call.name)
        if name not in names or name in found:
            continue
        kind = call.member_("class")
        if _text(kind.system) == GROUP:
            found[name] = TraceFormat(call.event.type.value_(), _fields(kind), _missed(call))
    return found


def _fields(kind: drgn.Object) -> dict[str, TraceField]:
    fields = {}
    head = kind.fields.address_of_()
    for one in _bounded("struct ftrace_event_field", head, "link", _MAX_FIELDS):
        size = one.size.value_()
        if size in (1, 2, 4, 8) and one.offset.value_() >= 0:  # what we record; else not ours
            fields[_text(one.name)] = TraceField(
                offset=one.offset.value_(),
                size=size,
                signed=bool(one.is_signed.value_()),
                dynamic=_text(one.type).startswith("__data_loc"),
            )
    return fields


def _missed(call: drgn.Object) -> int:
    """Return kprobe.nmissed over the probes of one event (kernel/trace/trace_kprobe.c)."""
    event = drgn.container_of(call, "struct trace_probe_event", "call")
    probes = _bounded("struct trace_probe", event.probes.address_of_(), "list", _MAX_EVENTS)
    return sum(
        int(drgn.container_of(probe, "struct trace_kprobe", "tp").rp.kp.nmissed.value_())
        for probe in probes
    )


def _text(string: drgn.Object) -> str:
    raw: bytes = string.string_()
    return raw.decode(errors="replace")


def _bounded(kind: str, head: drgn.Object, member: str, most: int) -> Iterator[drgn.Object]:
    """Yield a list's entries; a list that runs in a circle ends after `most`."""
    return itertools.islice(list_for_each_entry(kind, head, member), most)
