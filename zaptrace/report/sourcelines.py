"""The lines of the kernel's source around the sites of a verdict."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zaptrace.explain.sites import zap_line
from zaptrace.model.verdict import CodeSite

CONTEXT = 5
"""Lines shown before and behind."""
LARGEST = 4 << 20
"""Bytes of a source file; no file of the kernel that is compiled is larger."""
_PLACE = re.compile(r"(?P<file>[\w./+-]+):(?P<line>[0-9]{1,7})")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of one file.

    Attributes:
        first: number of the first line, from 1.
        line: the line that it is about.
    """

    file: str
    first: int
    line: int
    lines: tuple[str, ...]


def excerpts(tree: Path, sites: Iterable[CodeSite]) -> dict[str, Excerpt]:
    """`file:line` -> the lines around it, for each site that the tree has.

    A site lying in a zap is shown there: that is the line a reader wants.
    """
    found = {}
    for site in sites:
        place = shown_place(site)
        one = _excerpt(tree, place) if place else None
        if place and one:
            found[place] = one
    return found


def shown_place(site: CodeSite) -> str | None:
    """The `file:line` at which a site is shown."""
    inside = zap_line(site)
    return inside.source if inside and inside.source else site.source


def _excerpt(tree: Path, place: str) -> Excerpt | None:
    told = _PLACE.fullmatch(place)
    if told is None:
        return None
    root = tree.resolve()
    # The name is out of somebody's vmlinux: nothing outside of the tree is shown.
    path = (root / told["file"]).resolve()
    if not path.is_relative_to(root) or not path.is_file() or path.stat().st_size > LARGEST:
        return None
    lines = path.read_text("utf-8", "replace").split("\n")
    line = int(told["line"])
    if not 1 <= line <= len(lines):
        return None
    first = max(1, line - CONTEXT)
    shown = tuple(one.expandtabs(8) for one in lines[first - 1 : line + CONTEXT])
    return Excerpt(told["file"], first, line, shown)
