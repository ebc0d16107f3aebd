"""Small words that every text of ours uses: names, numbers, lines that fit."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from zaptrace.model.task_name import task_name

_DAMAGE = (
    ("damaged_frames", "damaged frame", "damaged frames"),
    ("damaged_records", "damaged record", "damaged records"),
    ("dropped_entries", "surplus entry", "surplus entries"),
)


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines at blanks, and after the bars of `flags: 0x1(locked|dirty|...)`."""

    wordsep_simple_re = re.compile(r"([\t\n\x0b\x0c\r ]+|(?<=\|))")


def plain(text: str) -> str:
    """Return text from a guest, fit for a terminal: what cannot be printed becomes `?`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def task(comm: str | None, pid: int | None) -> str:
    """Return `mount/41`, with `?` for what is not known."""
    return task_name(None if comm is None else plain(comm), pid)


def number(value: int | None) -> str:
    """Return a decimal number, `-` when absent."""
    return "-" if value is None else str(value)


def hexadecimal(value: int | None) -> str:
    """Return 0x…, `-` when absent."""
    return "-" if value is None else f"{value:#x}"


def cut(text: str, width: int) -> str:
    """Return the text in at most `width` columns; says by `…` that there was more."""
    return text if len(text) <= width else text[: width - 1] + "…"


def fill(text: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    """Lines of at most `width` columns; words that are longer are broken.

    Args:
        first: what stands before the first line.
        rest: what stands before the others; `first` when None.
    """
    wrapper = _Wrapper(
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    )
    return wrapper.wrap(plain(text))


def count(how_many: int, what: str, plural: str | None = None) -> str:
    """Return `1 page`, `2 pages`."""
    return f"{how_many} {what if how_many == 1 else plural or what + 's'}"


def damage(meta: Mapping[str, Any]) -> list[str]:
    """Return what of a capture could not be read, as its reader counted it: `3 damaged frames`.

    Args:
        meta: a stream's, and hostile.
    """
    counts = ((meta.get(key), one, many) for key, one, many in _DAMAGE)
    return [
        count(number, one, many)
        for number, one, many in counts
        if isinstance(number, int) and number > 0
    ]
