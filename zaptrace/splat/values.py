"""Numbers as the kernel prints them."""

from __future__ import annotations

import re

_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]{1,16})", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,20}", re.ASCII)


def hexadecimal(text: str | None) -> int | None:
    """Return a number or pointer in hex, with or without 0x.

    `(null)` is how vsnprintf's %p printed NULL up to 4.20.  What it prints for
    a pointer that it will not show (`(____ptrval____)`, `(efault)`) is None,
    and so is anything else.
    """
    if text == "(null)":
        return 0
    found = _HEX.fullmatch(text or "")
    return int(found[1], 16) if found else None


def decimal(text: str | None) -> int | None:
    """Return a signed decimal number; None when it is not a number."""
    return int(text) if text and _DECIMAL.fullmatch(text) else None
