"""What bcc's kprobes could not deliver is reported, and they leave nothing in tracefs."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.guest.builders import PAGES
from tests.guest.lab import READY_SECONDS, Lab

pytestmark = pytest.mark.guest

LEFT = "ls /sys/kernel/tracing/instances; cat /sys/kernel/tracing/kprobe_events"

WATCHED = """
import ctypes, json, os, platform, struct, subprocess, sys
from probes.bccsource import BccSource
from probes.filters import Filters
from zaptrace.kernel import running_plan
from zaptrace.model.events import Kind

source = BccSource(running_plan(None), Filters(comms=("touch",)))
number = next(at for at, site in enumerate(source._sites) if site.event == "rmap_remove")
name = f"zt{number}_rmap_remove_{os.getpid()}"

def touched():
    subprocess.run(["/zaptrace/files/touch", "23", "1"], check=True, stdout=subprocess.DEVNULL)
    while len((events := source.read(0)).records):
        for one in events.records[events.records["kind"] == Kind.LOST]:
            site = source._symbols.names([int(one["site"])]).get(int(one["site"]))
            lost.append([site, int(one["nr"])])
        removed.append(int((events.records["kind"] == Kind.RMAP_REMOVE).sum()))
    hits, missed = source._kprobes.profile()[name]
    return {"hits": hits, "missed": missed, "lost": lost.copy(), "removed": sum(removed),
            "entered": int(source._counts()["entered"][number].sum()),
            "recursions": source._losses._counters.recursions()}

lost, removed = [], []
whole = touched()
# The kprobe stays armed, but the program is gone from it: every hit is one that BPF skips.
events = source._kprobes._events
event = int((events.root / "events" / events.group / name / "id").read_text())
number_of_call = {"x86_64": 298, "s390x": 331}[platform.machine()]  # perf_event_open
attr = ctypes.create_string_buffer(struct.pack("=IIQQQQQIIQ", 2, 64, event, *[0] * 7))
armed = ctypes.CDLL(None).syscall(number_of_call, attr, -1, 0, -1, 8)
assert armed >= 0
order = [one for one, site in enumerate(source._sites) if site.symbol != "mm_page_free"]
os.close(source._kprobes._held.pop(order.index(number)))
lost, removed = [], []
skipped = touched()
os.close(armed)
source.close()
json.dump({"whole": whole, "skipped": skipped}, sys.stdout)
"""


def ran(lab: Lab, script: str) -> Any:
    """What a Python script in the guest prints as JSON."""
    text = base64.b64encode(script.encode()).decode()
    command = f"echo {text} | base64 -d >/run/script.py; python3 /run/script.py"
    return json.loads(lab.output(command, READY_SECONDS))


def test_hits_that_bpf_skips_are_counted(live_lab: Lab) -> None:
    seen = ran(live_lab, WATCHED)
    whole, skipped = seen["whole"], seen["skipped"]
    print(seen)
    assert whole["removed"] >= PAGES and whole["missed"] == 0
    assert whole["entered"] >= whole["removed"]
    # Frees alone may be lost, where an interrupt frees while one is judged.
    assert all("free" in site for site, _ in whole["lost"]), whole
    assert whole["recursions"]
    assert skipped["removed"] == 0 and skipped["entered"] == whole["entered"]
    at_rmap = sum(count for site, count in skipped["lost"] if "free" not in site)
    assert at_rmap == skipped["hits"] - whole["hits"] >= PAGES
    assert live_lab.output(LEFT) == ""


@pytest.mark.parametrize("number", ["INT", "TERM", "KILL"])
def test_bcc_leaves_nothing_in_tracefs(live_lab: Lab, number: str) -> None:
    live_lab.output("rm -f /run/capture")
    live_lab.output("zaptrace record /run/capture --source bcc >/dev/null 2>&1 &")
    live_lab.until("grep -q '\"sites\"' /run/capture")
    assert "zaptrace_" in live_lab.output(LEFT)
    live_lab.output(f"pkill -{number} -x python3")
    live_lab.until("! pgrep -x python3")
    if number == "KILL":
        assert "zaptrace_" in live_lab.output(LEFT)
        command = "zaptrace record /run/second --source bcc --seconds 1"
        done = live_lab.run(command, READY_SECONDS)
        assert done.status == 0, done.err
        assert "which is gone, left in tracefs" in done.err
    assert live_lab.output(LEFT) == ""


def test_without_tracefs_that_is_said_in_a_line(live_lab: Lab) -> None:
    live_lab.output("umount /sys/kernel/tracing")
    try:
        command = "zaptrace record /run/capture --source bcc --seconds 1"
        done = live_lab.run(command, READY_SECONDS)
    finally:
        live_lab.output("mount -t tracefs tracefs /sys/kernel/tracing")
    assert done.status == 2
    assert "tracefs is not mounted" in done.err and "Traceback" not in done.err


PROGRAMS = "/root/.cache/zaptrace/programs"


def test_the_program_is_compiled_once(live_lab: Lab) -> None:
    """Then it is loaded without bcc; a damaged one costs a compile, which replaces it.

    In a Python of its own: the guest's agent, which `zaptrace` is forked from, has bcc in memory.
    """
    clang = "grep -c libbcc /proc/$(pgrep -x python3)/maps || true"
    seen = []
    for damage in (f"rm -rf {PROGRAMS}", "true", f"truncate -s -9 {PROGRAMS}/*", "true"):
        live_lab.output(damage)
        live_lab.output("rm -f /run/capture")
        live_lab.output("python3 -m zaptrace record /run/capture --source bcc >/dev/null 2>&1 &")
        live_lab.until("grep -q '\"sites\"' /run/capture")
        seen.append(int(live_lab.output(clang)) > 0)
        kept = live_lab.output(f"stat -c %a {PROGRAMS} {PROGRAMS}/*").split()
        live_lab.output("pkill -INT -x python3")
        live_lab.until("! pgrep -x python3")
        assert kept == ["700", "600"]
    assert seen == [True, False, True, False]
