"""Where a value lies at an instruction: a register, followed through memory."""

from __future__ import annotations

from dataclasses import dataclass, replace


class Unavailable(Exception):
    """A value that cannot be obtained; the message says why, for a person."""


OPTIMISED_OUT = "optimised out"


@dataclass(frozen=True, slots=True)
class Place:
    """A value as a register, followed through memory: `*(*(reg + a) + b) + addend`.

    Attributes:
        register: DWARF number; None for a constant, whose value is `addend`.
        steps: bytes to add before each 8-byte load, innermost first.
        addend: bytes to add to the last value loaded.
        at_entry: the register's value when the enclosing function was entered.
        computed: the last load is part of a computation of eight bytes, not of
            a variable in memory with a size of its own.
    """

    register: int | None
    steps: tuple[int, ...] = ()
    addend: int = 0
    at_entry: bool = False
    computed: bool = False

    def plus(self, count: int) -> Place:
        """Return `count` bytes further."""
        return replace(self, addend=self.addend + count)

    def load(self, *, computed: bool = False) -> Place:
        """Return what lies in memory where this points.

        Raises:
            Unavailable: this is a constant: an address that moves with KASLR.
        """
        if self.register is None:
            raise Unavailable("at a fixed address")
        steps = (*self.steps, self.addend)
        return replace(self, steps=steps, addend=0, computed=computed)

    def member(self, offset: int) -> Place:
        """Return a member of the struct that this points at, by its offset in bytes."""
        return self.plus(offset).load()
