"""The TUI on a guest's serial console, typed at as a person would."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from tests.guest import lab
from tests.guest.lab import READY_SECONDS, Lab

pytestmark = pytest.mark.guest

TERMINAL = "ttyS0"
CONTROL = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_]|\][^\x07\x1b]*(?:\x07|\x1b\\))")


class Console:
    """The serial console: what was drawn since it was last asked, without control sequences."""

    def __init__(self, guest: Lab) -> None:
        self._guest = guest
        self._reader, self._writer = guest.open("console")

    def type(self, keys: str) -> None:
        async def send() -> None:
            self._writer.write(keys.encode())
            await self._writer.drain()

        self._guest.wait(send(), 10)

    def until(self, *words: str) -> str:
        """Read until all of the words have been drawn."""
        drawn = b""
        deadline = time.monotonic() + READY_SECONDS
        while not all(word in _text(drawn) for word in words):
            assert time.monotonic() < deadline, f"not drawn: {words} in {_text(drawn)[-3000:]}"
            try:
                drawn += self._guest.wait(asyncio.wait_for(self._reader.read(65536), 1), 10)
            except TimeoutError:
                continue
        return _text(drawn)


def _text(raw: bytes) -> str:
    return CONTROL.sub(b"", raw).decode(errors="replace")


def test_sudo_zaptrace_live_as_it_is_typed(tmp_path: Path) -> None:
    with lab.booted("x86_64", tmp_path, shell=TERMINAL) as guest:
        console = Console(guest)
        console.type("\n")
        console.until("# ")
        console.type("stty rows 40 cols 120; zaptrace live\n")
        console.until(guest.output("uname -r").strip(), "bcc", "LIVE", "lost 0")
        # Where the program maps its pages: what its end zaps must not push them off the screen.
        console.type("/comm=touch kind=zap addr=0x200000000\r")
        guest.output("/zaptrace/files/touch 23 1")
        console.until("touch/", "23 PTEs from 0x200000000")
        console.type("?")
        console.until("Escape closes")
        console.type("\x1b")
        console.until("Events by kind")  # an Escape and a q at once are Alt+q
        console.type("q")
        console.until("# ")  # what is typed before the prompt is the screen's
        console.type("echo the shell is $((40 + 2)) again\n")
        console.until("the shell is 42 again")
        assert guest.output("pgrep -x python3 || true") == ""
