"""Errors that a user can cause, and the exit codes that scripts and `git bisect run` rely on.

Every layer raises one of these with a message made for a person: what is
wrong, where, and (in `hint`) the command that fixes it.  Only
`zaptrace.cli.main` prints them.
"""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Exit codes of every zaptrace command."""

    OK = 0
    BUG_FOUND = 1
    USAGE = 2
    CANNOT_TELL = 125


class ZaptraceError(Exception):
    """Something the user must know; the base of all our errors.

    Args:
        message: what is wrong and where, one line, no trailing full stop.
        hint: the command or the change that fixes it, or None.
    """

    exit_code: Exit = Exit.USAGE

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(ZaptraceError):
    """A file or an argument that we were given cannot be used."""


class Missing(ZaptraceError):
    """Something this machine lacks: a program, a package, a permission."""


class CannotTell(ZaptraceError):
    """The build or the boot failed, so there is no answer (125: bisect's skip)."""

    exit_code = Exit.CANNOT_TELL


class GuestLost(CannotTell):
    """The guest died or hung before it could answer: not the kernel's verdict."""
