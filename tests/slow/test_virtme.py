"""Inside a virtme-ng guest: the lab's kernel, on this machine's own root file system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest.builders import PAGES, ROUNDS, Lines, removed_in_each_zap
from tests.guest.lab import PROGRAMS, compiled
from vm import lab_kernel
from zaptrace.arch import arch_named
from zaptrace.capture.reader import read
from zaptrace.model.progress import ignore
from zaptrace.report.event_lines import JsonLines

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
SECONDS = 900.0
"""Each of the guest's files comes from here one by one, and clang is a large one."""
SOURCES = ("tracefs", "bcc")
WATCH = """\
live="sudo {zaptrace} live --comm {touch.name} --source {source}"
mkdir {out}
$live --record {out}/capture >{out}/lines 2>{out}/errors &
until grep -q '"sites"' {out}/capture || ! kill -0 $!; do sleep 0.2; done
{touch} {pages} {rounds} >{out}/touched
sleep 1
kill -TERM $!
wait $!
echo $? >{out}/status
"""


class Watched:
    """What one session left."""

    def __init__(self, folder: Path) -> None:
        self.errors = (folder / "errors").read_text()
        self.status = int((folder / "status").read_text())
        self.pid = int((folder / "touched").read_text().split()[0])
        self.lines = (folder / "lines").read_text().splitlines()
        self.events: Lines = [json.loads(line) for line in JsonLines()(read(folder / "capture"))]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """What `sudo zaptrace live` saw of exactly so many pages, through each source."""
    folder = tmp_path_factory.mktemp("virtme")
    touch = compiled("x86_64", PROGRAMS / "touch.c", folder)
    words = {"zaptrace": BIN / "zaptrace", "touch": touch, "pages": PAGES, "rounds": ROUNDS}
    parts = (WATCH.format(source=source, out=folder / source, **words) for source in SOURCES)
    (folder / "script").write_text("".join(parts))
    run_in_guest(folder)
    return {source: Watched(folder / source) for source in SOURCES}


def run_in_guest(folder: Path) -> None:
    """Run a folder's script in a guest of virtme-ng's that can write there.

    What it prints is not looked at: without udev on this machine, virtme-ng does not find
    the port that would bring it.
    """
    built = lab_kernel.build(arch_named("x86_64"), ignore, flavour="virtme")
    # --disable-kvm: it would take KVM unproven.
    argv = [str(BIN / "vng"), "--run", str(built.image), "--disable-kvm", "--cpus", "2"]
    log = folder / "log"
    with log.open("wb") as file:
        subprocess.run(
            [*argv, "--rwdir", str(folder), "--verbose", "--", f"bash {folder}/script"],
            check=False,
            cwd=built.folder,  # of the guest's shell too, which finds the vmlinux there
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            timeout=SECONDS,
        )
    done = [(folder / source / "status").exists() for source in SOURCES]
    assert all(done), log.read_text(errors="replace")[-4000:]


@pytest.mark.parametrize("source", SOURCES)
def test_exactly_23_pages(watched: dict[str, Watched], source: str) -> None:
    here = watched[source]
    assert here.status == 0, here.errors
    assert "LOST" not in here.errors
    assert removed_in_each_zap(here.events, here.pid, PAGES) == [PAGES] * ROUNDS


@pytest.mark.parametrize("source", SOURCES)
def test_where_no_terminal_is_it_prints(watched: dict[str, Watched], source: str) -> None:
    """As in `vng -- sudo zaptrace live`."""
    here = watched[source]
    assert "no terminal here" in here.errors
    printed = [line for line in here.lines if " rmap_remove " in line]
    assert len(printed) == sum(event["kind"] == "rmap_remove" for event in here.events)


@pytest.mark.parametrize("source", SOURCES)
def test_the_vmlinux_in_the_folder_at_hand_is_found(
    watched: dict[str, Watched], source: str
) -> None:
    """It is what knows where an inlined zap_pte_range begins."""
    assert "without debug info" not in watched[source].errors
    assert any(event["kind"] == "zap" for event in watched[source].events)
