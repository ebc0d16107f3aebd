"""What is reported of a guest's console: it is gone with the guest's folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vm import waiting
from vm.serial_console import last_line
from zaptrace.model.errors import GuestLost


def test_the_last_whole_line(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    assert last_line(console) == ""
    console.write_bytes(b"x" * 5000 + b"\nbooting \x1b[1m...\r\n\r\n[    1.0] half a li")
    assert last_line(console) == "booting  [1m..."


def test_a_live_guest_that_hangs_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "BOOT_SECONDS", 0.1)
    console = tmp_path / "console.log"

    async def go() -> None:
        end = asyncio.create_task(asyncio.sleep(100, "exit"))
        try:
            await waiting._said(console, end)
        finally:
            end.cancel()

    with pytest.raises(GuestLost, match=r"silent for 0\.1 s\); its console ends with: \(nothing\)"):
        asyncio.run(go())
    console.write_text("Freeing unused kernel memory\n")
    with pytest.raises(GuestLost, match="ends with: Freeing unused kernel memory"):
        asyncio.run(go())
