"""A repro guest after its dump: whatever becomes of it, what was dumped is explained."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.vm.test_qemu import config, needs_qemu
from vm.qemu import running
from zaptrace.runs.guest import _let_go


@needs_qemu
@pytest.mark.parametrize("breakpoints", [(), (0x1000,)])
def test_a_death_while_it_is_let_go_costs_what_came_after_only(
    tmp_path: Path, breakpoints: tuple[int, ...]
) -> None:
    some = config(tmp_path)

    async def go() -> str:
        async with running(some, tmp_path / "qemu.log") as guest:
            guest._process.kill()
            await guest._process.wait()
            return await _let_go(guest, breakpoints, some.console)

    assert asyncio.run(go()) == "lost"
