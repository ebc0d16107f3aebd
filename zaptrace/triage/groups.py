"""Many logs' reports by fingerprint: on which hosts and kernels, and what that says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zaptrace.model.splats import Splat
from zaptrace.triage.bits import flips
from zaptrace.triage.fingerprint import at_fault, reason


@dataclass(frozen=True, slots=True)
class LogOrigin:
    """Where a log comes from; absent is None.

    Attributes:
        name: the file.
        host: as the log names it.
        kernel: the release.
    """

    name: str
    host: str | None = None
    kernel: str | None = None


@dataclass(slots=True)
class Group:
    """The reports that have one fingerprint.

    Attributes:
        first: one of them.
        hosts, kernels, logs: in the order of their first report; hosts as the logs name them.
        notes: what the distribution says, a sentence each.
        nameless: the logs that name no host.
        pfns: the pages.
    """

    fingerprint: str
    first: Splat
    count: int = 0
    hosts: list[str] = field(default_factory=list)
    kernels: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    nameless: set[str] = field(default_factory=set)
    pfns: set[int] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """Return it as `splat --group --json` prints it."""
        return {
            "fingerprint": self.fingerprint,
            "count": self.count,
            "hosts": self.hosts,
            "kernels": self.kernels,
            "logs": self.logs,
            "kind": self.first.kind,
            "reason": reason(self.first) or None,
            "functions": list(at_fault(self.first)),
            "pfns": len(self.pfns),
            "notes": self.notes,
        }


def group(reports: Iterable[tuple[LogOrigin, Sequence[Splat]]]) -> list[Group]:
    """Return the groups, the one with the most logs first.

    Args:
        reports: each log's reports, with their fingerprints.
    """
    found: dict[str, Group] = {}
    bits: dict[tuple[str, int], list[tuple[str, str | None]]] = {}  # field, bit: mark, host
    for origin, splats in reports:
        for splat in splats:
            mark = splat.fingerprint or ""
            one = found.setdefault(mark, Group(mark, splat))
            _take(one, origin, splat)
        for flip in flips(tuple(splats)):
            if flip.plain:
                where = (flip.splat.fingerprint or "", origin.host)
                bits.setdefault((flip.field, flip.bit), []).append(where)
    for one in found.values():
        _spread(one)
    for (what, bit), places in bits.items():
        _same_bit(found, what, bit, places)
    return sorted(found.values(), key=lambda one: (-len(one.logs), -one.count))


def _take(one: Group, origin: LogOrigin, splat: Splat) -> None:
    one.count += 1
    kernel = splat.kernel_release or origin.kernel
    for value, values in (
        (origin.host, one.hosts),
        (kernel, one.kernels),
        (origin.name, one.logs),
    ):
        if value is not None and value not in values:
            values.append(value)
    if origin.host is None:
        one.nameless.add(origin.name)
    if splat.pfn is not None:
        one.pfns.add(splat.pfn)


def _spread(one: Group) -> None:
    if len(one.hosts) > 1 and len(one.kernels) == 1:
        one.notes.append(
            f"{len(one.hosts)} hosts, one kernel: a regression of that kernel is likelier than "
            "weak memory."
        )
    elif len(one.hosts) > 1 and len(one.kernels) > 1:
        one.notes.append(
            f"{len(one.hosts)} hosts, {len(one.kernels)} kernels: find the oldest kernel that has "
            "it."
        )
    elif len(one.hosts) == 1 and len(one.logs) > 1 and not one.nameless:
        one.notes.append("One host in several logs: compare it with the others, memory first.")
    if len(one.pfns) == 1 and len(one.logs) > 1:
        one.notes.append(f"The same page in each log: pfn {next(iter(one.pfns)):#x}.")


def _same_bit(
    found: dict[str, Group], what: str, bit: int, places: list[tuple[str, str | None]]
) -> None:
    """Say it of the groups in which one bit of one field is wrong several times on one host."""
    if len(places) < 2:
        return
    hosts = {host for _, host in places}
    where = f"on {len(hosts)} hosts"
    if None in hosts:
        where = "not all on hosts that the logs name"
    elif len(hosts) == 1:
        where = "on one host: memory is likelier than software"
    for mark in dict.fromkeys(mark for mark, _ in places):
        found[mark].notes.append(f"Bit {bit} of {what} is wrong in {len(places)} reports, {where}.")
