"""Live events, measured inside emulated guests: first event, drain, overhead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench import bench_shell
from tests.bench.limits import judged, spread
from tests.guest import lab
from tests.guest.lab import Lab
from zaptrace.arch import ARCHES

ARCH = "x86_64"
HERE = Path(__file__).parent
PAGES, DRAINS, TIMES_BCC = 40_000, 9, 50
RESTORED_TRIES, FRESH_PAIRS = 3, 9
RESTORED_SECONDS, ABOVE_IMPORT = 3.0, 3.0
LOOP = (256, 40, 16)
"""Pages, rounds and turns of the munmap loop."""


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """vm_shell, first_event, drain_vs_bcc and overhead_vs_bpftrace; each in a guest of its own."""
    inside = sorted(HERE.glob("inside_*.py"))
    for arch in sorted(ARCHES):
        yield from bench_shell.rows(arch)
        warmed_up(arch, folder)
        with lab.booted(arch, folder, files=inside) as guest:
            yield from first_event(guest)
    for measure in (drain, overhead):
        with lab.booted(ARCH, folder, files=inside) as guest:
            yield measure(guest)


def warmed_up(arch: str, folder: Path) -> None:
    """Let a guest compile the program, which the next ones are given."""
    with lab.booted(arch, folder) as guest:
        guest.output("zaptrace record /run/capture --source bcc --seconds 0.1", 300)


def first_event(guest: Lab) -> Iterator[dict[str, Any]]:
    """From the command to its first event: in a guest from its snapshot, and in a fresh Python."""
    found = _inside(guest, "first_event", str(RESTORED_TRIES), str(FRESH_PAIRS))
    ours, theirs = found["ours"], median(found["bpftrace"])
    row = {
        "name": "first_event",
        "measure": f"{guest.arch}, restored",
        "value": ours[0],
        "unit": "s",
        "peer": "bpftrace's first line, same probes, same guest",
        "peer_value": theirs,
        "ratio": theirs / ours[0],
        "conditions": "`zaptrace live` through bcc, the program compiled before, in a TCG guest "
        f"that has just been restored; again: {_seconds(ours[1:])} s",
    }
    yield judged(row, f"{RESTORED_SECONDS:g} s", met=ours[0] <= RESTORED_SECONDS)
    yield fresh_python(guest.arch, found)


def fresh_python(arch: str, found: dict[str, Any]) -> dict[str, Any]:
    """The row of a first event by a fresh Python, beside imports of bcc, in turns.

    How fast the guest reads its disk changes from one minute to the next, so that each is compared
    with the import just before it.  What these imports alone take is the floor.
    """
    fresh, alone = np.array(found["fresh"]), np.array(found["import_bcc"])
    above = fresh - alone
    value, peer = float(np.median(fresh)), float(np.median(alone))
    row = {
        "name": "first_event",
        "measure": f"{arch}, fresh Python, empty page cache",
        "value": value,
        "unit": "s",
        "peer": "`import bcc` alone, likewise",
        "peer_value": peer,
        "ratio": peer / value,
        "conditions": f"`python3 -m zaptrace live`, TCG, {len(above)} pairs in turns: median "
        f"{np.median(above):.2f} s more, each {_range(above)}; floor: the imports alone took "
        f"{_range(alone)}; with all in the page cache {found['warm_fresh']:.1f} s, `import bcc` "
        f"{found['warm_import']:.1f} s",
    }
    met = bool(np.median(above) <= ABOVE_IMPORT)
    return judged(row, f"`import bcc` + {ABOVE_IMPORT:g} s", met=met)


def _range(seconds: NDArray[np.float64]) -> str:
    return f"{seconds.min():.2f} to {seconds.max():.2f} s"


def _seconds(values: list[float]) -> str:
    return ", ".join(f"{one:.1f}" for one in values)


def drain(guest: Lab) -> dict[str, Any]:
    """Our drain against bcc's callback loop on the same records."""
    found = _inside(guest, "drain", "/zaptrace/files/touch", str(PAGES), str(DRAINS))
    assert found["same"], "the two ways did not read the same bytes"
    assert not _events(found["lost"]), f"lost: {found['lost']}"
    turns = {name: [one * 1e3 for one in each] for name, each in found["seconds"].items()}
    ours, theirs, copy = median(turns["drain"]), median(turns["callbacks"]), min(turns["copy"])
    row = {
        "name": "drain_vs_bcc",
        "value": ours,
        "unit": "ms",
        "peer": "bcc's ring_buffer_consume(), a callback that keeps the bytes",
        "peer_value": theirs,
        "ratio": theirs / ours,
        "conditions": f"{found['records']:,} records of 120 bytes in one ring, none lost, read "
        f"{DRAINS} times by each in turns, byte for byte the same; medians, of which ours took "
        f"{turns['drain'][0]:.1f} ms the first time; floor: a plain copy of the same bytes takes "
        f"{copy:.1f} ms ({theirs / copy:.0f} times as fast) at best; {ARCH} TCG "
        f"guest; to event records, with names and pfns: {found['decoding'] * 1e3:.0f} ms more",
    }
    return judged(row, f"{TIMES_BCC} times", met=theirs >= TIMES_BCC * ours)


def overhead(guest: Lab) -> dict[str, Any]:
    """What a munmap loop costs under zaptrace and under bpftrace, turn by turn."""
    return compared(_inside(guest, "overhead", "/zaptrace/files/touch", *map(str, LOOP)))


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """The row of such turns, paired.

    How fast the guest is changes within a second, so that each of zaptrace's turns is compared
    with bpftrace's next to it.  How far bpftrace's own turns are from each other, likewise
    compared, is the floor: what is nearer to 1 than that is no difference that can be measured.
    A pair in which one of them lost events is left out: the one that loses is the faster for it.
    """
    pages, rounds, turns = LOOP
    events: dict[str, list[dict[str, int]]] = found["events"]
    kept = {name: min(one["kept"] for one in each) for name, each in events.items()}
    assert min(kept.values()) >= pages * rounds, f"turns are not whole: kept {kept} events"
    lost = {name: [sum(_events(one).values()) for one in each] for name, each in events.items()}
    whole = ~np.any(list(lost.values()), axis=0)
    assert whole.sum() > turns / 2, f"events lost in most turns: {lost}"
    each = {name: np.array(values)[whole] for name, values in found["nanoseconds"].items()}
    alone, ours, theirs = each["alone"], each["zaptrace"], each["bpftrace"]
    ratio, floor = float(np.median(theirs / ours)), spread(theirs[1:] / theirs[:-1])
    row = {
        "name": "overhead_vs_bpftrace",
        "value": float(np.median(ours / alone)),
        "unit": "x slower",
        "peer": "bpftrace, same probes, printf",
        "peer_value": float(np.median(theirs / alone)),
        "ratio": ratio,
        "conditions": f"touch and munmap {pages} pages {rounds} times, {turns} turns each, paired, "
        f"{turns - whole.sum()} left out as events were lost ({_losses(lost)}); "
        f"half of the pairs within {spread(theirs / ours):.0%} of their median; floor: half of "
        f"bpftrace's turns are within {floor:.0%} of the one before; "
        f"medians per page: alone {np.median(alone):.0f} ns, zaptrace {np.median(ours):.0f} ns, "
        f"bpftrace {np.median(theirs):.0f} ns; {kept['zaptrace']:,} and {kept['bpftrace']:,} "
        f"events a turn at least; {ARCH} TCG guest, 2 CPUs",
    }
    met = ratio >= 1 - floor and not any(lost["zaptrace"])
    return judged(row, "bpftrace's own, within the floor, and none lost", met=met)


def _losses(lost: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} {sum(each)}" for name, each in lost.items())


def _events(counts: dict[str, int]) -> dict[str, int]:
    """What was lost besides frees, of which some come while an interrupted one is judged."""
    return {at: count for at, count in counts.items() if at != "kept" and "free" not in at}


def _inside(guest: Lab, name: str, *words: str) -> dict[str, Any]:
    command = lab.quoted("python3", f"/zaptrace/files/inside_{name}.py", *words)
    answer = guest.run(command, 600)
    assert answer.status == 0, f"{command}: {answer.err[-2000:]}"
    found: dict[str, Any] = json.loads(answer.out)
    return found
