"""A live guest whose QEMU is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.vm.builders import config, needs_qemu
from vm.live_guest import AGENT, _opened
from vm.qemu import running
from zaptrace.model.errors import GuestLost


@needs_qemu
def test_a_port_of_a_dead_guest_is_a_lost_guest(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(config(tmp_path), tmp_path / "qemu.log") as guest:
            await _opened(guest, AGENT)

    with pytest.raises(GuestLost, match="cannot be spoken to any more"):
        asyncio.run(go())
