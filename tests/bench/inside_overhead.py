"""Runs in a live guest: a munmap loop alone, under zaptrace, and under bpftrace's same probes.

The three take turns, each turn in the other order.  Prints one JSON object: nanoseconds a page of
each turn, and what each tracer saw and lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from zaptrace.capture.reader import read
from zaptrace.kernel import running_plan
from zaptrace.model.events import Kind
from zaptrace.model.plan import ProbeSite

OURS, THEIRS = Path("/run/ours"), Path("/run/theirs")
ROOM = "2048"
"""Pages of bpftrace's buffer of each CPU, on two CPUs as many as zaptrace has for all: with its
usual 64 it could lose events, and be the faster for it."""
PATIENCE = 60.0


def bpftrace_program() -> str:
    """The plan's probes, and what zaptrace records at them, in bpftrace's language."""
    plan = running_plan()
    sites = [site for site in plan.sites if site.event != "page_free"]
    probes = [f"kprobe:{_place(site)} {{ {_printed(_values(site))} }}" for site in sites]
    counter = plan.offsets["page._mapcount"]
    freed = f"rawtracepoint:mm_page_free /(*(int32 *)(arg0 + {counter})) != -1/"
    return "\n".join([*probes, f"{freed} {{ {_printed(['arg0'])} }}"])


def _place(site: ProbeSite) -> str:
    return f"{site.symbol}+{site.offset}" if site.offset else site.symbol


def _values(site: ProbeSite) -> list[str]:
    """What is recorded besides the time and the task."""
    if site.event == "rmap_remove":
        page, vma = ("arg1", "arg3") if "folio" in site.args else ("arg0", "arg1")
        mapcount, refcount = (f"*(int32 *)({page} + {offset})" for offset in (48, 52))
        return [page, vma, f"*(uint64 *)({vma} + 16)", mapcount, refcount]
    if site.event == "zap_enter":
        return ["arg1", "arg2", "arg3", "*(uint64 *)(arg1 + 16)"]
    return [] if site.inlined else ["arg0", "arg1"]


def _printed(values: list[str]) -> str:
    # Without the pid, which it cannot have in a kernel without PID namespaces: less to do.
    wanted = ["nsecs(boot)", "cpu", "comm", *values]
    form = " ".join(["%llu", "%d", "%s", *("%llx" for _ in values)])
    return f'printf("{form}\\n", {", ".join(wanted)});'


@contextlib.contextmanager
def zaptrace() -> Iterator[None]:
    """Record with zaptrace."""
    OURS.unlink(missing_ok=True)
    child = subprocess.Popen(
        ["zaptrace", "record", str(OURS), "--source", "bcc"], stdout=subprocess.DEVNULL
    )
    with ended(child, lambda: OURS.exists() and b'"sites"' in OURS.read_bytes()):
        yield


@contextlib.contextmanager
def bpftrace() -> Iterator[None]:
    """Record with bpftrace."""
    THEIRS.unlink(missing_ok=True)
    child = subprocess.Popen(
        ["bpftrace", "-o", str(THEIRS), "-e", bpftrace_program()],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"BPFTRACE_PERF_RB_PAGES": ROOM},
    )
    with ended(child, lambda: THEIRS.exists() and THEIRS.stat().st_size > 0):
        yield


@contextlib.contextmanager
def ended(child: subprocess.Popen[bytes], ready: Callable[[], bool]) -> Iterator[None]:
    """Wait until a tracer is ready; end it."""
    deadline = time.monotonic() + PATIENCE
    try:
        while not ready():
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{child.args!r}: did not get ready")
            subprocess.run(["true"], check=True)  # bpftrace writes when it has 4 KiB of events
            time.sleep(0.1)
        time.sleep(1.0)
        yield
        time.sleep(0.5)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait()


def loop(program: str, pages: str, rounds: str) -> float:
    """Nanoseconds a page."""
    done = subprocess.run([program, pages, rounds], check=True, stdout=subprocess.PIPE)
    return int(done.stdout.split()[1]) / (int(pages) * int(rounds))


def ours() -> dict[str, int]:
    """What zaptrace's last turn kept, and lost where."""
    events = read(OURS)
    told = Counter(kept=int((events.records["kind"] != Kind.LOST).sum()))
    for one in events.of_kind(Kind.LOST):
        told[events.symbols.get(int(one["site"]), "?")] += int(one["nr"])
    return dict(told)


def theirs() -> dict[str, int]:
    """What bpftrace's last turn kept and lost, by its own words."""
    text = THEIRS.read_text(errors="replace")
    lost = sum(int(number) for number in re.findall(r"[Ll]ost (\d+) events", text))
    return {"kept": text.count("\n"), **({"lost": lost} if lost else {})}


def main(program: str, pages: str, rounds: str, turns: str) -> None:
    """Take turns."""
    ways: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "alone": contextlib.nullcontext,
        "zaptrace": zaptrace,
        "bpftrace": bpftrace,
    }
    told = {"zaptrace": ours, "bpftrace": theirs}
    seen: dict[str, list[float]] = {name: [] for name in ways}
    events: dict[str, list[dict[str, int]]] = {name: [] for name in told}
    for turn in range(int(turns)):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            with ways[name]():
                seen[name].append(loop(program, pages, rounds))
            if name in told:
                events[name].append(told[name]())
    json.dump({"nanoseconds": seen, "events": events}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
