"""`zaptrace vm shell` as a user types it, at a terminal: from the command to the prompt."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.limits import judged
from vm import saved_guest

TRIES = 3
LIMIT_SECONDS = 1.0
PATIENCE = 300.0
LEAVE = b"\x1d"
_PROMPT = b"# "


def rows(arch: str) -> Iterator[dict[str, Any]]:
    """`vm_shell`, twice: the guest alone, and the whole command; beside a guest that is booted."""
    for one in saved_guest.listed():
        if one["arch"] == arch:
            saved_guest.remove(Path(one["path"]).stem)
    booted = prompted(arch)  # and saved
    shells = [prompted(arch) for _ in range(TRIES)]
    answers = [answered(arch) for _ in range(TRIES)]
    steps, guest, began = (median(column) for column in zip(*answers, strict=True))
    row = {
        "name": "vm_shell",
        "measure": f"{arch}, a guest that answers",
        "value": guest,
        "unit": "s",
        "conditions": f"from its snapshot, TCG, median of {TRIES}: QEMU started, the state "
        f"loaded and checked ({guest - began:.2f} s), time, entropy and checkout given "
        f"and a first command run ({began:.2f} s, Python in the guest); all of `zaptrace vm boot "
        f"{arch} -- true` took {steps:.1f} s",
    }
    yield judged(row, f"{LIMIT_SECONDS:g} s", met=guest <= LIMIT_SECONDS)
    yield {
        "name": "vm_shell",
        "measure": f"{arch}, command to prompt",
        "value": median(shells),
        "unit": "s",
        "peer": "the first time: booted, saved, restored",
        "peer_value": booted,
        "ratio": booted / median(shells),
        "conditions": f"`zaptrace vm shell {arch}` at a terminal, TCG, median of {TRIES}",
    }


def prompted(arch: str) -> float:
    """Seconds until `vm shell` shows a prompt."""
    ours, theirs = pty.openpty()
    started = time.monotonic()
    argv = [sys.executable, "-m", "zaptrace", "vm", "shell", arch]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        drawn = b""
        while b"Ctrl-]" not in drawn or _PROMPT not in drawn.partition(b"Ctrl-]")[2]:
            left = started + PATIENCE - time.monotonic()
            assert left > 0 and select.select([ours], [], [], left)[0], drawn[-500:]
            drawn += os.read(ours, 4096)
        seconds = time.monotonic() - started
        os.write(ours, LEAVE)
        with contextlib.suppress(OSError):  # it has closed its end
            while os.read(ours, 4096):
                continue
    os.close(ours)
    return seconds


_TIMED = """
import asyncio, json, sys, tempfile, time
from pathlib import Path
from vm import live_guest
from zaptrace.model.progress import ignore
from zaptrace.runs.watched_guest import wanted_guest

async def go(request, timing):
    with tempfile.TemporaryDirectory() as folder:
        async with live_guest.booted(request, Path(folder), ignore, timing) as guest:
            assert guest.found.restored
            asked = time.monotonic()
            await guest.run("true")
            timing["true"] = time.monotonic() - asked

timing = {}
begin = live_guest.LiveGuest.begin

async def timed_begin(guest):
    started = time.monotonic()
    await begin(guest)
    timing["begin"] = time.monotonic() - started

live_guest.LiveGuest.begin = timed_begin
asyncio.run(go(wanted_guest(sys.argv[1], ignore), timing))
print(json.dumps(timing))
"""


def answered(arch: str) -> tuple[float, float, float]:
    """Seconds of a process that restores a guest and runs `true` in it; of that, the guest; and of
    that, what it is given before its first command, and that."""
    started = time.monotonic()
    argv = [sys.executable, "-c", _TIMED, arch]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    timing = json.loads(done.stdout)
    whole, command = time.monotonic() - started, float(timing["true"])
    return whole, timing["boot"] + command, timing["begin"] + command
