"""Live events, measured inside an emulated x86_64 guest: drain, first event, overhead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.guest import lab
from tests.guest.lab import Lab

ARCH = "x86_64"
HERE = Path(__file__).parent
PAGES = 40_000
TRIES = 3
LOOP = (256, 40, 5)
"""Pages, rounds and turns of the munmap loop."""


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """drain_vs_bcc, first_event and overhead_vs_bpftrace; each in a guest of its own."""
    inside = sorted(HERE.glob("inside_*.py"))
    for measure in (drain, overhead, first_event):
        with lab.booted(ARCH, folder, files=inside) as guest:
            yield measure(guest)


def first_event(guest: Lab) -> dict[str, Any]:
    """From the command to its first event."""
    seconds = _inside(guest, "first_event", str(TRIES))["seconds"]
    return {
        "name": "first_event",
        "value": seconds[0],
        "unit": "s",
        "conditions": f"`zaptrace live` through bcc in an {ARCH} TCG guest, just booted; "
        f"again: {', '.join(f'{one:.1f}' for one in seconds[1:])} s",
    }


def drain(guest: Lab) -> dict[str, Any]:
    """Our drain against bcc's callback loop on the same records."""
    found = _inside(guest, "drain", "/zaptrace/files/touch", str(PAGES))
    seconds = found["seconds"]
    assert found["same"], "the two ways did not read the same bytes"
    assert not _events(found["lost"]), f"lost: {found['lost']}"
    return {
        "name": "drain_vs_bcc",
        "value": seconds["drain"] * 1e3,
        "unit": "ms",
        "peer": "bcc's ring_buffer_consume(), a callback that keeps the bytes",
        "peer_value": seconds["callbacks"] * 1e3,
        "ratio": seconds["callbacks"] / seconds["drain"],
        "conditions": f"{found['records']:,} records of 120 bytes in one ring, none lost, read "
        f"twice, byte for byte the same; {ARCH} TCG guest; to event records, with names and pfns: "
        f"{seconds['decode'] * 1e3:.0f} ms more",
    }


def overhead(guest: Lab) -> dict[str, Any]:
    """What a munmap loop costs under zaptrace and under bpftrace."""
    found = _inside(guest, "overhead", "/zaptrace/files/touch", *map(str, LOOP))
    each = {name: median(values) for name, values in found["nanoseconds"].items()}
    ours, theirs = (each[name] / each["alone"] for name in ("zaptrace", "bpftrace"))
    pages, rounds, turns = LOOP
    kept = {}
    for name, turns_of in found["events"].items():
        lost = [_events(one) for one in turns_of]
        assert not any(lost), f"{name} lost events: {lost}"
        kept[name] = min(one["kept"] for one in turns_of)
        assert kept[name] >= pages * rounds, f"{name} kept {kept[name]:,} events of a turn"
    return {
        "name": "overhead_vs_bpftrace",
        "value": ours,
        "unit": "x slower",
        "peer": "bpftrace, same probes, printf",
        "peer_value": theirs,
        "ratio": theirs / ours,
        "conditions": f"touch and munmap {pages} pages {rounds} times, {turns} turns each; "
        f"medians per page: alone {each['alone']:.0f} ns, zaptrace {each['zaptrace']:.0f} ns, "
        f"bpftrace {each['bpftrace']:.0f} ns; none lost by either, of {kept['zaptrace']:,} and "
        f"{kept['bpftrace']:,} events a turn at least; {ARCH} TCG guest, 2 CPUs",
    }


def _events(counts: dict[str, int]) -> dict[str, int]:
    """What was lost besides frees, of which some come while an interrupted one is judged."""
    return {at: count for at, count in counts.items() if at != "kept" and "free" not in at}


def _inside(guest: Lab, name: str, *words: str) -> dict[str, Any]:
    command = lab.quoted("python3", f"/zaptrace/files/inside_{name}.py", *words)
    answer = guest.run(command, 600)
    assert answer.status == 0, f"{command}: {answer.err[-2000:]}"
    found: dict[str, Any] = json.loads(answer.out)
    return found
