"""A stopped guest's CPUs led elsewhere: to a function of their kernel, or round in one place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from vm.qemu import Guest
from zaptrace.model.errors import GuestLost

_ROUND_SECONDS = 10.0
_ROUNDS = 100


async def call(
    guest: Guest, at: int, function: int, arguments: Sequence[int], back: int, seconds: float
) -> None:
    """Have the kernel call a function of its own before it continues.

    The other CPUs run meanwhile.

    Args:
        at: the instruction that one of the CPUs is stopped at, and stays at.
        function: its address; it must not sleep.
        arguments: two at most.
        back: a kernel address that is never executed: the call returns there.
        seconds: how long it may take.

    Raises:
        GuestLost: no CPU is stopped there, or the call did not return.
    """
    row, order = guest.config.arch.gdb_call, guest.config.arch.byteorder
    cpu, saved = await choose_at(guest, at)
    changed = saved.copy()

    def put(number: int, value: int) -> None:
        changed[8 * number : 8 * number + 8] = value.to_bytes(8, order)

    for number, value in zip(row.arguments, arguments, strict=False):
        put(number, value)
    if row.link is not None:
        put(row.link, back)
    else:
        stack = int.from_bytes(saved[8 * row.stack : 8 * row.stack + 8], order) - 8
        put(row.stack, stack)
        await guest.write(stack, back.to_bytes(8, order))
    put(row.pc, function)
    await guest.gdb.set_registers(changed)
    ended = await guest.run_until((back,), seconds)
    await guest.clear_breakpoint(back)
    if ended != "breakpoint" or (await choose_at(guest, back))[0] != cpu:
        raise GuestLost(f"a call of the kernel's own function did not return ({ended})")
    await guest.gdb.set_registers(saved)


async def pause_at(guest: Guest, address: int) -> None:
    """Take a guest that is stopped at a breakpoint to where it can be saved.

    What gdb has stopped QEMU does not restore.  So the CPU goes round in that one instruction
    until the monitor has stopped it.

    Args:
        address: of the breakpoint, which is taken back.

    Raises:
        GuestLost: no CPU is stopped there, or QEMU does not answer.
    """
    await guest.clear_breakpoint(address)
    await choose_at(guest, address)
    loop = guest.config.arch.gdb_call.loop
    was = await guest.read(address, len(loop))
    await guest.write(address, loop)
    for _ in range(_ROUNDS):
        running = asyncio.create_task(guest.run_until((), _ROUND_SECONDS))
        await asyncio.sleep(0.01)
        await guest.pause()
        await running
        with contextlib.suppress(GuestLost):  # an interrupt came: it goes round after that
            await choose_at(guest, address)
            await guest.write(address, was)
            return
    raise GuestLost(f"the guest does not stay at {address:#x}")


async def choose_at(guest: Guest, address: int) -> tuple[int, bytearray]:
    """Mean the CPU that is stopped at an address by registers and virtual addresses from now on.

    Returns:
        Its number and its registers.

    Raises:
        GuestLost: none is.
    """
    place, order = 8 * guest.config.arch.gdb_call.pc, guest.config.arch.byteorder
    for cpu in range(guest.config.smp):
        await guest.gdb.choose(cpu)
        registers = await guest.gdb.registers()
        if int.from_bytes(registers[place : place + 8], order) == address:
            return cpu, registers
    raise GuestLost(f"no CPU of the guest is stopped at {address:#x}")
