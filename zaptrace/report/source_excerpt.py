"""The lines of the kernel's source around the sites of a verdict, out of an available tree.

A tree may be another version's.  What a verdict says of a file must hold in it: each line is
there, lies in the function that the debug info names, and calls what was inlined into it.
Where it does not, the file is left out, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zaptrace.model.verdict import CodeSite
from zaptrace.report.site_roles import chain_of, mark, marked_line

CONTEXT = 4
"""Lines shown before and after."""
LARGEST = 4 << 20
"""Bytes of a source file; no file of the kernel that is compiled is larger."""
_PLACE = re.compile(r"(?P<file>[\w./+-]+):(?P<line>[0-9]{1,7})")
_NO_CODE = re.compile(r"\s*(?:/?\*.*|//.*)?")
_WRAPPERS = ("__do_sys_", "__se_sys_", "__do_compat_sys_")  # SYSCALL_DEFINE makes these names


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of one file.

    Attributes:
        first: number of the first line, from 1.
        marks: what happens at which line.
    """

    file: str
    first: int
    lines: tuple[str, ...]
    marks: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a tree had to show.

    Attributes:
        left_out: why a file is not shown, a sentence each.
    """

    excerpts: tuple[Excerpt, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Claim:
    """That a line lies in a function and calls another one (None: not known)."""

    line: int
    function: str
    callee: str | None


def read_sources(tree: Path, sites: Iterable[CodeSite]) -> Sources:
    """Return the lines of the sites that the tree has; neighbours in one file are shown
    together."""
    sites = list(sites)
    marks: dict[str, dict[int, str]] = {}
    for site in sites:
        place, said = _PLACE.fullmatch(marked_line(site)[1] or ""), mark(site)
        if place and said:
            here = marks.setdefault(place["file"], {})
            line = int(place["line"])
            here[line] = f"{here[line]}; {said}" if line in here else said
    found: list[Excerpt] = []
    left_out: list[str] = []
    for file, here in marks.items():
        lines = _lines(tree, file)
        wrong = (
            "it is not in the tree" if lines is None else _wrong(lines, here, _claims(sites, file))
        )
        if lines is None or wrong:
            left_out.append(f"{file} is not shown: {wrong}.")
        else:
            found += _excerpts(file, lines, here)
    return Sources(tuple(found), tuple(left_out))


def _lines(tree: Path, file: str) -> list[str] | None:
    root = tree.resolve()
    # The name comes from an untrusted vmlinux: nothing outside of the tree is shown.
    path = (root / file).resolve()
    if not path.is_relative_to(root) or not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return path.read_text("utf-8", "replace").split("\n")


def _claims(sites: Iterable[CodeSite], file: str) -> set[_Claim]:
    """Return what the verdict says of one file."""
    claims = set()
    for site in sites:
        callee = None
        for function, source in chain_of(site):
            place = _PLACE.fullmatch(source)
            if place and place["file"] == file:
                claims.add(_Claim(int(place["line"]), function.partition(".")[0], callee))
            callee = function.partition(".")[0]
    return claims


def _wrong(lines: list[str], marked: Iterable[int], claims: set[_Claim]) -> str | None:
    """Why the file cannot be the one that was compiled; None when nothing speaks against it."""
    last = max((*marked, *(claim.line for claim in claims)))
    first = min((*marked, *(claim.line for claim in claims)))
    if first < 1 or last > len(lines):
        return f"the tree's has {len(lines)} lines, and line {last} was compiled"
    for claim in sorted(claims, key=lambda one: one.line):
        if not claim.function.startswith(_WRAPPERS) and not _lies_in(lines, claim):
            return f"in the tree, line {claim.line} does not lie in {claim.function}()"
    empty = next((line for line in marked if _NO_CODE.fullmatch(lines[line - 1])), None)
    if empty:
        return f"in the tree, line {empty} has no code"
    calls = [claim for claim in claims if claim.callee]
    kept = sum(_names(lines[claim.line - 1], claim.callee or "") for claim in calls)
    if 2 * kept < len(calls):  # a macro may hide a call, not most of them
        return f"in the tree, {len(calls) - kept} of {len(calls)} calls are not at their lines"
    return None


def _lies_in(lines: list[str], claim: _Claim) -> bool:
    """Return whether the head of the function precedes the line and no function ends in between."""
    for at in range(claim.line - 1, -1, -1):
        text = lines[at]
        if text[:1].isalpha() or text[:1] == "_":
            if _names(text, claim.function):
                return True
        elif text.startswith("}") and at != claim.line - 1:
            return False
    return False


def _names(text: str, function: str) -> bool:
    return re.search(rf"\b{re.escape(function)}\b", text) is not None


def _excerpts(file: str, lines: list[str], marks: Mapping[int, str]) -> Iterator[Excerpt]:
    """Stretches around the marked lines; those that meet are one."""
    stretches: list[list[int]] = []
    for line in sorted(marks):
        first, last = max(1, line - CONTEXT), min(len(lines), line + CONTEXT)
        if stretches and first <= stretches[-1][1] + 2:
            stretches[-1][1] = last
        else:
            stretches.append([first, last])
    for first, last in stretches:
        shown = tuple(one.expandtabs(8).rstrip() for one in lines[first - 1 : last])
        here = {line: said for line, said in marks.items() if first <= line <= last}
        yield Excerpt(file, first, shown, here)
