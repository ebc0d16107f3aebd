"""Guests out of the cache: each is its own, and what is kept of one is whole or not used."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest import lab
from tests.guest.lab import guests_of
from vm import saved_guest
from zaptrace.model import boot_ids

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def word(arch: str) -> Iterator[str]:
    """A kernel argument that no other guest has: its guest is saved here, and removed again."""
    before = {one["path"] for one in saved_guest.listed()}
    yield f"zaptrace.test={boot_ids.new()}"
    for one in saved_guest.listed():
        path = Path(one["path"])
        if one["path"] not in before and one["arch"] == arch:
            saved_guest.remove(path.stem)


def test_two_of_one_snapshot_share_nothing_but_their_boot(
    arch: str, word: str, tmp_path: Path
) -> None:
    seen = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "mark").write_text(f"the checkout's disk of {number}")
        with lab.booted(arch, folder, append=word, files=[folder / "mark"]) as guest:
            assert guest.output("cat /zaptrace/files/mark") == f"the checkout's disk of {number}"
            assert abs(int(guest.output("date +%s")) - time.time()) < 60
            assert guest.run("test -e /root/written").status
            guest.output("echo mine >/root/written; sync")
            random = guest.output("head -c 16 /dev/urandom | od -An -tx1")
            assert guest.restored is not None
            note = boot_ids.note(guest.boot_id, guest.restored)
            assert note in guest.output("dmesg")
            console = guest.console.read_text(errors="replace")
            assert note in console and f"zaptrace.boot={guest.boot_id}" in console
            assert boot_ids.on_console(guest.console.read_bytes()) == (
                boot_ids.joined(guest.boot_id, guest.restored),
            )
            seen.append((guest.boot_id, guest.restored, random))
    (one, first, some), (other, second, more) = seen
    assert one == other and first != second and some != more


def test_a_restored_guest_runs_to_its_proper_end(arch: str, word: str, tmp_path: Path) -> None:
    with lab.booted(arch, tmp_path, append=word) as guest:
        off = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'"
        guest.send(f"sleep 1; {off}")
        assert guest.end(60) == "exit"


@pytest.mark.parametrize("how", ["torn", "changed", "gone"])
def test_a_damaged_one_is_made_anew(arch: str, word: str, how: str, tmp_path: Path) -> None:
    """It is as if there were none."""
    with lab.booted(arch, tmp_path, append=word) as guest:
        boot = guest.boot_id
    (kept,) = (
        path
        for path in saved_guest.folder().glob("*.json")
        if f'"boot_id": "{boot}"' in path.read_text()
    )
    state = kept.with_suffix(".state")
    if how == "torn":
        os.truncate(state, state.stat().st_size - 1)
    elif how == "changed":
        with state.open("r+b") as file:
            file.seek(state.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
    else:
        state.unlink()
    again = tmp_path / "again"
    again.mkdir()
    with lab.booted(arch, again, append=word) as guest:
        assert guest.boot_id != boot
        assert guest.output("echo alive") == "alive\n"


CHILD = """
import asyncio, sys
from pathlib import Path
from vm import live_guest
from zaptrace.runs.watched_guest import lab_guest

async def go(arch, append, folder):
    request = lab_guest(arch, lambda update: None, fault="none")
    async with live_guest.booted(request, Path(folder)) as guest:
        print("restored", guest.found.restored, flush=True)
        await asyncio.sleep(600)

asyncio.run(go(*sys.argv[1:]))
"""


def test_a_restored_guest_dies_with_who_started_it(arch: str, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, arch, "", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline().startswith("restored ")
        assert len(guests_of(tmp_path)) == 1
        child.kill()
    deadline = time.monotonic() + 60
    while guests_of(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)
