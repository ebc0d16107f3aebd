"""A report of the kernel's end on its console is noticed, and waited for until it is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from zaptrace.runs import kernel_death
from zaptrace.runs.kernel_death import Trouble

BUG = b"[    1.2] kernel BUG at mm/filemap.c:154!\n"
ENDED = b"[    1.3] ---[ end Kernel panic - not syncing: Fatal exception ]---\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_death, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(kernel_death, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(kernel_death, "MOST_SECONDS", 0.3)


def kind_of(console: Path, seconds: float = 5.0) -> str | None:
    async def go() -> str | None:
        watched = Trouble(console)
        try:
            await asyncio.wait_for(watched.reported(), seconds)
        except TimeoutError:
            return None
        return watched.kind

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (BUG, "oops"),
        (b"[    1.2] Oops: 0002 [#1] PREEMPT SMP\n", "oops"),
        (b"[    1.2] illegal operation: 0001 ilc:1 [#1] SMP\n", "oops"),
        (b"[    1.2] Kernel panic - not syncing: Fatal exception\n", "panic"),
        (BUG + b"[    1.3] Kernel panic - not syncing: Fatal exception\n", "panic"),
        (BUG + ENDED, "panic"),
    ],
)
def test_it_is_heard(text: bytes, kind: str, tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(b"[    0.1] Linux version 6.12\n" * 1000 + text)
    assert kind_of(console) == kind


def test_a_kernel_that_continues_is_left_alone(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    assert kind_of(console, 0.1) is None
    console.write_bytes(b"[    1.2] BUG: Bad page state in process init  pfn:00b12\n[#]\n" * 100)
    assert kind_of(console, 0.1) is None


def test_a_word_in_two_pieces_is_heard(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(BUG[:18])

    async def go() -> str | None:
        watched = Trouble(console)
        reported = asyncio.create_task(watched.reported())
        await asyncio.sleep(0.02)
        assert watched.kind is None
        with console.open("ab") as file:
            file.write(BUG[18:])
        await asyncio.wait_for(reported, 5)
        return watched.kind

    assert asyncio.run(go()) == "oops"


def test_a_kernel_that_never_falls_silent_is_stopped(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(BUG)

    async def go() -> None:
        watched = Trouble(console)
        reported = asyncio.create_task(watched.reported())
        while not reported.done():
            with console.open("ab") as file:
                file.write(b"[    2.0] more\n")
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(go(), 10))
