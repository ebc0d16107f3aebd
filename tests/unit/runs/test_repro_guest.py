"""A repro guest after its dump: how long it runs on, and what its death costs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.unit.vm.builders import config, needs_qemu
from vm.qemu import running
from zaptrace.runs import repro_guest
from zaptrace.runs.repro_guest import _resume


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(repro_guest, "QUIET_SECONDS", 0.3)
    monkeypatch.setattr(repro_guest, "LOOK_SECONDS", 0.01)
    path = tmp_path / "console.log"
    path.write_bytes(b"Bad page state\n")
    return path


async def seconds_until_reported(console: Path, words: list[bytes]) -> float:
    """Seconds of waiting for a guest that says something each tenth of a second."""
    begun = time.monotonic()
    waiting = asyncio.create_task(repro_guest._until_reported(console))
    for word in words:
        await asyncio.sleep(0.1)
        with console.open("ab") as file:
            file.write(word)
    await waiting
    return time.monotonic() - begun


def test_it_runs_for_as_long_as_it_speaks(console: Path) -> None:
    assert asyncio.run(seconds_until_reported(console, [b"x\n"] * 8)) >= 0.8 + 0.3


def test_a_silent_guest_has_said_all(console: Path) -> None:
    assert asyncio.run(seconds_until_reported(console, [])) >= 0.3


def test_the_end_of_the_report_is_the_end(console: Path) -> None:
    slow = [b"x\n", b"BUG: Bad rss-counter state mm:1 type:2 val:3\n"]
    assert asyncio.run(asyncio.wait_for(seconds_until_reported(console, slow), 5)) >= 0.2


@needs_qemu
@pytest.mark.parametrize("breakpoints", [(), (0x1000,)])
def test_a_death_while_it_is_resumed_costs_what_came_after_only(
    tmp_path: Path, breakpoints: tuple[int, ...]
) -> None:
    some = config(tmp_path)

    async def go() -> str:
        async with running(some, tmp_path / "qemu.log") as guest:
            guest._process.kill()
            await guest._process.wait()
            return await _resume(guest, breakpoints, some.console)

    assert asyncio.run(go()) == "lost"
