"""The boot id: a word on the kernel's command line that distinguishes boots.

The kernel prints its command line on the console and keeps it in memory, so that the console,
the dump and what is read out of it say of which boot they are.

A guest that was saved continues as often as it is restored, with one command line: each time it
gets a second id, which it says in the kernel's log.  Then its id is `FIRST/SECOND`.  Where no
program of ours runs in it that could say it, the command line has room for the second one
(`room`), which is filled in memory.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

_WORD = "zaptrace.boot"
# A word with a dot is a module's parameter: no one takes it, and init does not get it
# (unknown_bootoption(), init/main.c).
_ID = re.compile(rf"(?:^|\s){re.escape(_WORD)}=([0-9a-f-]{{8,64}})(?=\s|$)")
_NOTE = re.compile(rb"zaptrace: boot ([0-9a-f-]{8,64}) goes on as ([0-9a-f-]{8,64})(?=[\s]|$)")
# Long command lines are printed on several lines since 6.19, each with the same beginning.
_PRINTED = re.compile(rb"Kernel command line:([^\r\n]*)")
_ROOM = "zaptrace.goes_on_as"
_EMPTY = str(uuid.UUID(int=0))
_SECOND = re.compile(rf"(?:^|\s){re.escape(_ROOM)}=([0-9a-f-]{{36}})(?=\s|$)")


def new() -> str:
    """Return an id that no other boot has."""
    return str(uuid.uuid4())


def argument(boot_id: str) -> str:
    """Return the kernel argument."""
    return f"{_WORD}={boot_id}"


def room(restored: str = _EMPTY) -> str:
    """Return a kernel argument for a second id, which is all zeros until there is one."""
    return f"{_ROOM}={restored}"


def note(boot_id: str, restored: str) -> str:
    """Return what a guest that was restored says on its console, and in the kernel's log."""
    return f"boot {boot_id} goes on as {restored}"


def joined(boot_id: str, restored: str | None) -> str:
    """Return the id of a guest of a boot, as run.json and a capture have it."""
    return f"{boot_id}/{restored}" if restored else boot_id


def same(one: str, other: str) -> bool:
    """Return whether two ids may be of one guest.

    Who does not know the second one, because the log was overwritten, says the first alone.
    """
    (first, _, restored), (second, _, other_restored) = one.partition("/"), other.partition("/")
    return first == second and (not (restored and other_restored) or restored == other_restored)


def of_command_line(text: str) -> str | None:
    """Return the boot's id, with the second one if it has that; None when it was not ours."""
    found, second = _ID.search(text), _SECOND.search(text)
    if found is None:
        return None
    return joined(found[1], second[1] if second and second[1] != _EMPTY else None)


def on_console(log: bytes) -> tuple[str, ...]:
    """Return the ids of a console's guests, each once; none when they were not ours."""
    lines = (found[1].decode("ascii", "replace") for found in _PRINTED.finditer(log))
    booted = [one for line in lines if (one := of_command_line(line))]
    return of_log(booted, log)


def of_log(booted: Sequence[str], log: bytes) -> tuple[str, ...]:
    """Return the ids of some boots, with the second ids that a kernel's log has for them."""
    pairs = [(found[1].decode(), found[2].decode()) for found in _NOTE.finditer(log)]
    going_on = {first: [second for one, second in pairs if one == first] for first, _ in pairs}
    ids = []
    for first in booted:
        ids += [joined(first, second) for second in going_on.get(first, [])] or [first]
    return tuple(dict.fromkeys(ids))
