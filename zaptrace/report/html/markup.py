"""HTML and SVG as text: every value that is put in is escaped here, and nowhere else.

What a guest says (names, reasons, console lines) is hostile.  `Markup` is text that is
markup already; a plain `str` never gets into a page without being escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from zaptrace.report.words import plain


class Markup(str):
    """Text that is HTML or SVG already."""

    __slots__ = ()


Content = str | Iterable[str]
"""Text, markup, or several of them."""


def escaped(text: str) -> Markup:
    """Return text as HTML; what cannot be printed, or turns the reading direction, becomes `?`."""
    return Markup(html.escape(plain(text), quote=True))


def tag(name: str, *content: Content, **attributes: object) -> Markup:
    """Return one element.  `class_` is `class`, other `_` are `-`; an attribute None is left
    out."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{words}>{joined(*content)}</{name}>")


def joined(*content: Content) -> Markup:
    """Contents one after the other."""
    return Markup("".join(_flat(one) for one in content))


def _flat(content: Content) -> str:
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return escaped(content)
    return "".join(_flat(one) for one in content)


def _number(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
