"""The boot id: a word on the kernel's command line that tells one boot from another.

The kernel prints its command line on the console and keeps it in memory, so that the console,
the dump and what is read out of it say of which boot they are.
"""

from __future__ import annotations

import re
import uuid

_WORD = "zaptrace.boot"
# A word with a dot is a module's parameter: nobody takes it, and init does not get it
# (unknown_bootoption(), init/main.c).
_ID = re.compile(rf"(?:^|\s){re.escape(_WORD)}=([0-9a-f-]{{8,64}})(?=\s|$)")
# Long command lines are printed on several lines since 6.19, each with the same beginning.
_PRINTED = re.compile(rb"Kernel command line:([^\r\n]*)")


def new() -> str:
    """An id that no other boot has."""
    return str(uuid.uuid4())


def argument(boot_id: str) -> str:
    """The kernel argument."""
    return f"{_WORD}={boot_id}"


def of_command_line(text: str) -> str | None:
    """The boot's id; None when it was not ours."""
    found = _ID.search(text)
    return found[1] if found else None


def on_console(log: bytes) -> tuple[str, ...]:
    """The ids of the boots that a console is of, each once; none when they were not ours."""
    lines = (found[1].decode("ascii", "replace") for found in _PRINTED.finditer(log))
    return tuple(dict.fromkeys(one for line in lines if (one := of_command_line(line))))
