"""`zaptrace vm boot` and `zaptrace vm shell`: live guests at a terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import sys
import termios
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zaptrace.model.errors import Exit, GuestLost, Missing
from zaptrace.model.paths import scratch_folder

if TYPE_CHECKING:
    from vm.kernel_tree import Tree
    from vm.live_guest import Answer, LiveGuest, Request
    from zaptrace.model.progress import Listener

LEAVE = b"\x1d"
"""Ctrl-]."""
TERMINAL = "hvc0"
_PIECE = 1 << 14


def boot(args: argparse.Namespace) -> Exit:
    """Run a command in a live guest; 0 when it succeeds, else 1.

    Raises:
        ZaptraceError: the guest cannot be made or booted.
    """
    from zaptrace.cli.arguments import wanted_tree
    from zaptrace.cli.output import print_json, progress
    from zaptrace.runs.asyncio_run import run_to_end

    command = shlex.join(args.command) if len(args.command) > 1 else " ".join(args.command)
    own = wanted_tree(args.arch, args, "live")
    with progress() as listener:
        request = _request(args, listener, own)
        answer = run_to_end(_answer(request, command or "uname -a", listener))
    if args.json:
        print_json({"status": answer.status, "stdout": answer.out, "stderr": answer.err})
    else:
        print(answer.out, end="")
        print(answer.err, end="", file=sys.stderr)
    return Exit.OK if answer.status == 0 else Exit.BUG_FOUND


def _request(
    args: argparse.Namespace, listener: Listener, own: Tree | None, shell: str = ""
) -> Request:
    from zaptrace.runs.watched_guest import wanted_guest

    return wanted_guest(
        args.arch,
        listener,
        kernel_name=args.kernel,
        own=own,
        fault=args.fault,
        shell=shell,
        smp=args.smp,
        read_only=args.read_only,
    )


async def _answer(request: Request, command: str, listener: Listener) -> Answer:
    from vm import live_guest

    with scratch_folder() as folder:
        async with live_guest.booted(request, folder, listener) as guest:
            answer = await guest.run(command, float("inf"))
            with contextlib.suppress(GuestLost):  # it has answered
                await guest.learn_programs()
            return answer


def shell(args: argparse.Namespace) -> Exit:
    """Return a shell in a live guest, at this terminal.

    Raises:
        ZaptraceError: no terminal, or the guest cannot be made or booted.
    """
    from zaptrace.cli.arguments import wanted_tree
    from zaptrace.cli.output import progress
    from zaptrace.runs.asyncio_run import run_to_end

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Missing("a shell needs a terminal", f"zaptrace vm boot {args.arch} -- COMMAND")
    own = wanted_tree(args.arch, args, "live")
    with progress() as listener:
        request = _request(args, listener, own, TERMINAL)
    run_to_end(_shell(request))
    return Exit.OK


async def _shell(request: Request) -> None:
    from vm import live_guest

    with scratch_folder() as folder:
        async with live_guest.booted(request, folder) as guest:
            size = shutil.get_terminal_size()
            await guest.run(f"stty -F /dev/{TERMINAL} cols {size.columns} rows {size.lines}")
            print(f"a {request.arch.name} guest; `zaptrace` is installed, Ctrl-] leaves")
            with _raw(sys.stdin.fileno()):
                await _connect(guest)
            with contextlib.suppress(GuestLost):  # its shell may have ended it
                await guest.learn_programs()


async def _connect(guest: LiveGuest) -> None:
    """Carry keys in and the screen out until the guest ends or the user leaves."""
    import asyncio  # `live` has this module's arguments, and need not wait for it

    reader, writer = await guest.open(TERMINAL)
    left = asyncio.get_running_loop().create_future()

    def typed() -> None:
        keys = os.read(sys.stdin.fileno(), _PIECE)
        if not keys or LEAVE in keys:
            if not left.done():
                left.set_result(None)
            return
        writer.write(keys)

    async def draw() -> None:
        while piece := await reader.read(_PIECE):
            os.write(sys.stdout.fileno(), piece)

    drawing = asyncio.create_task(draw())
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), typed)
    writer.write(b"\n")  # a prompt
    try:
        done = {left, drawing, guest.ended}
        await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        writer.close()


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Every key to the guest, Ctrl-C too."""
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        print()
