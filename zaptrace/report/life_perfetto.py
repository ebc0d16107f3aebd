"""A page's life as a Perfetto trace, for ui.perfetto.dev and trace_processor.

Counter tracks hold `_refcount` and `_mapcount` as the kernel stores them, `_entire_mapcount` of a
large folio's first page, and how many PTEs map the page; slices reach from the page's allocation to
its free, and from the store that set a PTE or PMD to the one that cleared it; each store is an
instant of its CPU's track, with its line and its stack.

Times are since the recording began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zaptrace.life.named_life import NamedLife, NamedWrite
from zaptrace.life.page_life import CLEARS, ENTIRE, SETS, Role
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT, TYPED_BELOW, PageFields
from zaptrace.report.life import change_text, frame_line
from zaptrace.report.trace_packets import (
    BEGIN,
    END,
    INSTANT,
    Timed,
    count,
    event,
    fact,
    trace_of,
    track,
)

_PAGE, _ALLOCATED, _PTES, _STOP = 1, 2, 3, 4
_COUNTERS = {REFCOUNT: 5, MAPCOUNT: 6, ENTIRE: 7}
_CPUS, _SLOTS = 1 << 32, 2 << 32
"""Track uuids; those of CPUs and page-table entries begin here."""
MOST_SLOTS = 256
"""Page-table entries that get a track of their own."""


def life_trace(named: NamedLife, fields: PageFields) -> bytes:
    """Return the whole trace."""
    writes = named.writes
    slots = {
        one.write.slot: one.write.changes[0].name for one in writes if one.write.slot is not None
    }
    tracks = {slot: _SLOTS + at for at, slot in enumerate(list(slots)[:MOST_SLOTS])}
    todo = [*_counts(writes), *_allocated(writes), *_mapped(writes, tracks), *_stopped(writes)]
    todo += [
        (one.write.ns, 2, event(INSTANT, _CPUS + one.write.cpu, _title(one), _facts(one, fields)))
        for one in writes
    ]
    return trace_of(_descriptors(named, tracks, slots), todo)


def _descriptors(
    named: NamedLife, tracks: dict[int, int], slots: dict[int, str]
) -> Iterator[bytes]:
    writes = named.writes
    yield track(_PAGE, f"pfn {named.life.pfn:#x}")
    yield track(_ALLOCATED, "allocated", _PAGE)
    for name, uuid in _COUNTERS.items():
        if name == ENTIRE and not named.life.folio:
            continue
        yield track(uuid, name, _PAGE, counter=True)
    if named.life.entries:
        yield track(_PTES, "PTEs", _PAGE, counter=True)
    for slot, uuid in tracks.items():
        yield track(uuid, f"{slots[slot]} at {slot:#x}", _PAGE)
    for cpu in sorted({one.write.cpu for one in writes}):
        yield track(_CPUS + cpu, f"stores of CPU {cpu}", _PAGE)
    if any(one.write.after_stop for one in writes):
        yield track(_STOP, "guest", _PAGE)


def _counts(writes: Sequence[NamedWrite]) -> Iterator[Timed]:
    """Yield each value of the counters; a page type in the place of `_mapcount` is no count."""
    ptes = 0
    for one in writes:
        for change in one.write.changes:
            typed = change.name == MAPCOUNT and change.after < TYPED_BELOW
            if change.name in _COUNTERS and not typed:
                yield one.write.ns, 1, count(_COUNTERS[change.name], change.after)
        step = {Role.PTE_SET: 1, Role.PTE_CLEARED: -1}.get(one.write.pte or Role.OTHER, 0)
        if step:
            ptes += step
            yield one.write.ns, 1, count(_PTES, ptes)


def _allocated(writes: Sequence[NamedWrite]) -> Iterator[Timed]:
    """Yield a slice for each time that the page was in use, the last one to the life's end."""
    begun: NamedWrite | None = None
    for one in writes:
        if one.role == Role.ALLOCATED:
            if begun is not None:
                yield one.write.ns, 1, event(END, _ALLOCATED)
            begun = one
            yield one.write.ns, 1, event(BEGIN, _ALLOCATED, "allocated", _places(one))
        elif one.role == Role.FREED and begun is not None:
            begun = None
            yield one.write.ns, 1, event(END, _ALLOCATED)
    if begun is not None:
        yield writes[-1].write.ns, 3, event(END, _ALLOCATED)


def _mapped(writes: Sequence[NamedWrite], tracks: dict[int, int]) -> Iterator[Timed]:
    """Yield a slice for each PTE, or PMD, while it maps the page."""
    opened: set[int] = set()
    for one in writes:
        uuid = tracks.get(one.write.slot) if one.write.slot is not None else None
        if uuid is None:
            continue
        if one.write.pte in (*SETS, *CLEARS) and uuid in opened:
            opened.remove(uuid)
            yield one.write.ns, 1, event(END, uuid)
        if one.write.pte in SETS:
            opened.add(uuid)
            yield one.write.ns, 1, event(BEGIN, uuid, "mapped", _places(one))
    for uuid in sorted(opened):
        yield writes[-1].write.ns, 3, event(END, uuid)


def _stopped(writes: Sequence[NamedWrite]) -> Iterator[Timed]:
    first = next((one for one in writes if one.write.after_stop), None)
    if first is not None:
        said = "the guest had been stopped and dumped before this"
        yield first.write.ns, 1, event(INSTANT, _STOP, said)


def _title(one: NamedWrite) -> str:
    return one.role or next((change.name for change in one.write.changes), "store")


def _facts(one: NamedWrite, fields: PageFields) -> bytes:
    """Return a store as debug annotations: what it changed, by whom."""
    write = one.write
    out = [fact("number", write.number), _places(one)]
    for change in write.changes:
        out.append(fact(change.name, change_text(change, fields).removeprefix(f"{change.name} ")))
    out += [fact(name, "yes") for name, known in _ways(one).items() if known]
    if write.slot is not None:
        out.append(fact("entry", write.slot, address=True))
    return b"".join(out)


def _ways(one: NamedWrite) -> dict[str, bool]:
    write = one.write
    return {
        "alias": write.alias,
        "after_stop": write.after_stop,
        "storage_to_storage": write.storage,
        "value_unknown": not write.valued,
    }


def _places(one: NamedWrite) -> bytes:
    """Return the line that did it, and every function from there outwards."""
    author = one.author
    stack = "\n".join(frame_line(frame) for frame in one.chain)
    out = [fact("function", str(author)), fact("pc", one.write.pc, address=True)]
    out += [
        fact(name, said) for name, said in (("source", author.source), ("stack", stack)) if said
    ]
    return b"".join(out)
