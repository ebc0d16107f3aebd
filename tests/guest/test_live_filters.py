"""Filters inside the kernel: by process, by cgroup, by the size of the folio; each to the page."""

from __future__ import annotations

import pytest

from tests.guest.builders import FAULT, PAGES, ROUNDS, Lines, removed_in_each_zap, touch
from tests.guest.lab import READY_SECONDS, Lab

pytestmark = pytest.mark.guest

FOLIO, FOLIOS = 16, 3
"""Pages of a large folio (tests/guest/programs/large.c), and how many are unmapped."""


def ordinary(lines: Lines) -> set[int]:
    """The processes of all events but reports of bugs, which no filter thins out."""
    kinds = ("zap", "zap_enter", "rmap_remove")
    return {line.get("tgid", -1) for line in lines if line["kind"] in kinds}


@pytest.mark.parametrize("source", ["bcc", "tracefs"])
def test_one_process_by_its_pid(live_lab: Lab, source: str) -> None:
    """Its children are others, also those that are gone before anybody can look at them."""
    waits = "until test -e /run/go; do sleep 0.2; done"
    forks = "n=0; while test $n -lt 200; do ( : ); n=$((n + 1)); done"
    script = f"{waits}; {forks}; exec /zaptrace/files/touch {PAGES} {ROUNDS} >/run/touched"
    live_lab.output(f"rm -f /run/go /run/touched; sh -c '{script}' & echo $! >/run/waiting")
    pid = int(live_lab.output("cat /run/waiting"))

    def go() -> None:
        touch(live_lab)  # another process
        live_lab.output("touch /run/go")
        live_lab.until("grep -q . /run/touched")

    recording, _ = live_lab.recorded(f"--source {source} --pid {pid}", go)
    assert recording.status == 0, recording.errors
    assert ordinary(recording.lines) == {pid}
    assert removed_in_each_zap(recording.lines, pid, PAGES) == [PAGES] * ROUNDS


def test_the_tasks_of_a_cgroup(live_lab: Lab) -> None:
    root = "/sys/fs/cgroup"
    live_lab.output(f"test -e {root}/cgroup.procs || mount -t cgroup2 cgroup2 {root}")
    live_lab.output(f"mkdir -p {root}/watched/below")

    def both() -> tuple[int, int]:
        outside = touch(live_lab)
        enter = f"echo 0 >{root}/watched/below/cgroup.procs"
        inside = live_lab.output(f"{enter}; exec /zaptrace/files/touch {PAGES} {ROUNDS}")
        return int(inside.split()[0]), outside

    recording, (inside, outside) = live_lab.recorded(f"--source bcc --cgroup {root}/watched", both)
    assert recording.status == 0, recording.errors
    assert removed_in_each_zap(recording.lines, inside, PAGES) == [PAGES] * ROUNDS
    assert ordinary(recording.lines) == {inside}
    assert outside != inside


def test_large_folios_only(live_lab: Lab) -> None:
    def unmap() -> int:
        live_lab.output(f"echo leak-large >{FAULT}")
        try:
            return int(live_lab.output(f"/zaptrace/files/large {PAGES} {FOLIOS}"))
        finally:
            live_lab.output(f"echo none >{FAULT}")

    def removed(lines: Lines, pid: int) -> list[int]:
        mine = [line for line in lines if line.get("pid") == pid]
        return [max(1, line.get("nr", 1)) for line in mine if line["kind"] == "rmap_remove"]

    large, pid = live_lab.recorded("--source bcc --large-only", unmap)
    assert large.status == 0, large.errors
    assert sum(removed(large.lines, pid)) == FOLIO * FOLIOS
    every, pid = live_lab.recorded("--source bcc --anonymous", unmap)
    assert sum(removed(every.lines, pid)) >= FOLIO * FOLIOS + PAGES


@pytest.mark.parametrize("source", ["bcc", "tracefs"])
@pytest.mark.parametrize(
    ("options", "word"),
    [("--comm sixteen.letters.", "task's name"), ("--pid 4000000", "no process 4000000")],
)
def test_what_names_nothing_is_refused(live_lab: Lab, source: str, options: str, word: str) -> None:
    command = f"zaptrace live --no-tui --source {source} --seconds 1 {options}"
    done = live_lab.run(command, READY_SECONDS)
    assert done.status == 2
    assert word in done.err and "Traceback" not in done.err


def test_a_folder_that_is_no_cgroup_is_refused(live_lab: Lab) -> None:
    command = "zaptrace live --no-tui --source bcc --seconds 1 --cgroup /run"
    done = live_lab.run(command, READY_SECONDS)
    assert done.status == 2
    assert "/run is no cgroup v2 folder" in done.err and "Traceback" not in done.err
