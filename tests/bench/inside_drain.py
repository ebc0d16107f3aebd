"""Runs in a live guest: the same records out of one ring, by our drain and by bcc's callbacks.

They take turns, as does a plain copy of the same bytes, which no reader can do without.  Prints
one JSON object: records, what was lost and where, and seconds of each way's turns.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from probes.bccrecords import RECORD
from probes.bccsource import BccSource
from probes.filters import Filters
from zaptrace.kernel import running_plan
from zaptrace.model.events import Kind, blank

_KEPT: list[Any] = []
"""Callbacks that C code calls."""


def _rings(descriptor: int, callback: Callable[[Any, Any, int], None]) -> Any:
    """What bcc's `open_ring_buffer()` makes of a ring and a callback."""
    bcc = importlib.import_module("bcc")
    wrapped = importlib.import_module("bcc.libbcc")._RINGBUF_CB_TYPE(_going_on(callback))
    rings = bcc.lib.bpf_new_ringbuf(descriptor, wrapped, None)
    _KEPT.append(wrapped)
    return rings


def _going_on(callback: Callable[[Any, Any, int], None]) -> Callable[[Any, Any, int], int]:
    """bcc's own wrapper: libbpf continues at 0."""

    def wrapped(context: Any, data: Any, size: int) -> int:
        callback(context, data, size)
        return 0

    return wrapped


def timed(read: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what was read."""
    started = time.perf_counter()
    found = read()
    return time.perf_counter() - started, found


def main(program: str, pages: str, turns: str) -> None:
    """Fill the ring by unmapping pages, and empty it again and again."""
    source: Any = BccSource(running_plan(), Filters(comms=("touch",)))
    subprocess.run([program, pages, "1"], check=True, stdout=subprocess.DEVNULL)
    source._bpf.open_gate(opened=False)
    ring = source._rings.first
    begin = int(ring._consumer[0])
    received: list[bytes] = []

    def callback(_context: Any, data: Any, size: int) -> None:
        received.append(ctypes.string_at(data, size))

    rings = _rings(source._bpf.ring("events"), callback)
    consume = importlib.import_module("bcc").lib.bpf_consume_ringbuf
    seconds: dict[str, list[float]] = {"drain": [], "callbacks": [], "copy": []}
    same = True
    for _ in range(int(turns)):
        took, drained = timed(ring.read)
        seconds["drain"].append(took)
        end, ring._consumer[0] = int(ring._consumer[0]), begin  # and the same ones again
        received.clear()
        seconds["callbacks"].append(timed(lambda: consume(rings))[0])
        same &= drained.tobytes() == b"".join(one[: RECORD.itemsize] for one in received)
        start, length = begin % ring._size, end - begin
        seconds["copy"].append(timed(ring._data[start : start + length].copy)[0])
        ring._consumer[0] = begin
    ring._consumer[0] = end

    decoding, increment = timed(lambda: source._increment(drained, blank(0)))
    source._losses.hurry()
    events = source._increment(drained[:0], source._losses.since(0))
    lost: Counter[str] = Counter()
    for one in events.of_kind(Kind.LOST):
        lost[events.symbols.get(int(one["site"]), "?")] += int(one["nr"])
    source.close()
    counts = {"records": len(drained), "decoded": len(increment.records)}
    answer = {**counts, "same": same, "lost": lost, "seconds": seconds, "decoding": decoding}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
