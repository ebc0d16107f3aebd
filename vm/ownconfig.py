"""A kernel configuration of the user's, with what zaptrace needs merged into it (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable

SET = re.compile(r"^(CONFIG_\w+)=(.+)$")
UNSET = re.compile(r"^# (CONFIG_\w+) is not set$")
DWARF = re.compile(r"CONFIG_DEBUG_INFO_DWARF(4|5|_TOOLCHAIN_DEFAULT)$")
"""Kinds of debug information that serve us equally."""
CERTIFICATES = ("CONFIG_SYSTEM_TRUSTED_KEYS", "CONFIG_SYSTEM_REVOCATION_KEYS")
"""Files that a distribution's configuration names, and that only its own source has."""


def parse(text: str) -> dict[str, str]:
    """Map symbols to values ("n" when it says that it is not set), in the file's order."""
    found = {}
    for line in text.splitlines():
        if match := SET.match(line):
            found[match[1]] = match[2]
        elif match := UNSET.match(line):
            found[match[1]] = "n"
    return found


def merged(theirs: str, needs: str, has: Callable[[str], bool] = lambda name: True) -> str:
    """Merge ours into their configuration; make olddefconfig settles the rest.

    Nothing that serves already is changed.

    Args:
        has: whether the source has a file; certificates that it lacks are left out.
    """
    config = parse(theirs)
    has_dwarf = any(DWARF.match(name) and value == "y" for name, value in config.items())
    for name, value in parse(needs).items():
        if not (has_dwarf and DWARF.match(name)):
            config[name] = value
    for name in CERTIFICATES:
        file = config.get(name, "").strip('"')
        if file and not has(file):
            config[name] = '""'
    return "".join(f"{_line(name, value)}\n" for name, value in config.items())


def difference(before: str, after: str) -> list[str]:
    """Return what changes, as lines of a diff: `-# CONFIG_X is not set`, `+CONFIG_X=y`."""
    old, new = parse(before), parse(after)
    lines = []
    for name in [*new, *(name for name in old if name not in new)]:
        was, becomes = old.get(name, "n"), new.get(name, "n")
        if was == becomes:
            continue  # a symbol that is not there and one that is not set are the same
        lines += [f"-{_line(name, was)}"] if name in old else []
        lines += [f"+{_line(name, becomes)}"] if name in new else []
    return lines


def refused(needs: str, got: str) -> list[str]:
    """Return symbols that we need and Kconfig did not give: this kernel has none, or one in its
    way."""
    config = parse(got)
    has_dwarf = any(DWARF.match(name) and value == "y" for name, value in config.items())
    return [
        name
        for name, value in parse(needs).items()
        if value != "n"
        and config.get(name) not in (value, "y")
        and not (has_dwarf and DWARF.match(name))
    ]


def _line(name: str, value: str) -> str:
    return f"# {name} is not set" if value == "n" else f"{name}={value}"
