"""`zaptrace splat --group` for people: a paragraph a fingerprint, 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zaptrace.report.words import count, cut, fill, plain
from zaptrace.splat.kinds import TITLES
from zaptrace.triage.fingerprint import at_fault, reason
from zaptrace.triage.groups import Group

WIDTH = 80
MOST_NAMES = 6
"""Hosts, kernels and logs that are named; the others are counted."""


def describe_groups(groups: Sequence[Group], *, logs: int) -> str:
    """Return the text of all groups, those in most logs first.

    Args:
        logs: how many were read.
    """
    found = f"{count(len(groups), 'fingerprint')} in {count(logs, 'log')}"
    if not groups:
        return f"No report of the kernel found in {count(logs, 'log')}.\n"
    lines = [found]
    for group in groups:
        lines += ["", *_group(group)]
    return "\n".join(lines) + "\n"


def _group(group: Group) -> Iterator[str]:
    title = TITLES.get(group.first.kind, group.first.kind)
    why = reason(group.first)
    yield cut(f"{group.fingerprint}  {title}{f': {plain(why)}' if why else ''}", WIDTH)
    if functions := at_fault(group.first):
        yield from fill(", ".join(functions), WIDTH, "  at       ", "           ")
    pages = f" on {count(len(group.pfns), 'page')}" if group.pfns else ""
    yield f"  reports  {group.count}{pages} in {count(len(group.logs), 'log')}"
    for name, values in (("hosts", group.hosts), ("kernels", group.kernels), ("logs", group.logs)):
        if values:
            yield from fill(_named(values), WIDTH, f"  {name:<8} ", "           ")
    for note in group.notes:
        yield from fill(note, WIDTH, "  => ", "     ")


def _named(values: Sequence[str]) -> str:
    named = ", ".join(values[:MOST_NAMES])
    rest = len(values) - MOST_NAMES
    return f"{named} and {rest} more" if rest > 0 else named
