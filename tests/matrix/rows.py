"""What the matrix is made of: kernels by architectures by steps, and what a cell says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

STEPS = {
    # In this order: each needs what those before it have left.
    "plan": "a probe plan with every event, printed in the guest",
    "live_bcc": "23 pages touched and unmapped, three times, counted through bcc; its page filters",
    "live_tracefs": "the same through tracefs",
    "dump": "the running guest, one page's _mapcount damaged, dumped and opened",
    "audit": "`zaptrace inspect` names that page and no other, also in dumps of the guest under "
    "load; of one with a mapping of each kind it says what pagemap, kpagecount and kpageflags say",
    "explain": "`zaptrace explain` names that page when it is unmapped, and blames no zap",
    "repro": "a repro boot with boot-time probes, dumped at power-off: clean; another, in which "
    "one page's _mapcount is lowered, stops at bad_page(), and the verdict names that page",
}
PASSED, FAILED, NOT_POSSIBLE = "passed", "failed", "not possible"
RELEASE, MACHINE = "release", "machine"
"""The keys in a row's own file under which its kernel's release and its machine stand."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel on one architecture.

    Attributes:
        kernel: its name in the table.
        suite, version: as `zaptrace vm kernel fetch` takes them; no version: the newest.
        smp: CPUs of its guests.
        read_only: whether its live guests must not write to their disks.
        special: why it is not two CPUs, and disks that can be written.
    """

    kernel: str
    arch: str
    suite: str
    version: str = ""
    smp: int = 2
    read_only: bool = False
    special: str = ""

    @property
    def name(self) -> str:
        """For a command line and for files."""
        return f"{self.kernel}-{self.arch}"


CRASHES = (
    "under QEMU 7.2 it crashes with two, and in ext4_mb_new_blocks() at a module's per-CPU variable"
)
ROWS = (
    Row("6.1", "s390x", "12", "6.1"),
    Row("6.1", "x86_64", "12", "6.1"),
    Row("6.12", "s390x", "13", "6.12"),
    Row("6.12", "x86_64", "13", "6.12"),
    Row("newest", "s390x", "13-backports", smp=1, read_only=True, special=CRASHES),
    Row("newest", "x86_64", "13-backports"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one step on one row came to; a passed one's reason says how it was done, or None."""

    kernel: str
    arch: str
    step: str
    result: str
    reason: str | None = None
    release: str | None = None
    seconds: float | None = None
    machine: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As build/matrix.json has it."""
        return asdict(self)


class NotPossible(Exception):
    """Why a step cannot be done on a row, for a person."""


def named(name: str) -> Row:
    """A row by its name."""
    return next(row for row in ROWS if row.name == name)


def cells(row: Row, done: dict[str, dict[str, Any]], otherwise: str) -> Iterator[Cell]:
    """A row's cells in the order of STEPS.

    Args:
        done: step -> result, reason and seconds; RELEASE and MACHINE likewise.
        otherwise: why the rest has failed.
    """
    release, machine = (done.get(key, {}).get("reason") for key in (RELEASE, MACHINE))
    for step in STEPS:
        told = done.get(step, {"result": FAILED, "reason": otherwise, "seconds": None})
        yield Cell(row.kernel, row.arch, step, release=release, machine=machine, **told)
