"""The flow of control through one function, and where an inlined call in it can be watched.

DWARF names one address at which an inlined call is entered.  A compiler that
threads jumps may lead past it: it has copied the call's first tests into what
stands before them, and some ways come in after them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

from zaptrace.elf.image import Image
from zaptrace.elf.symtab import Symbols
from zaptrace.kernel.machinecode import decoder_of
from zaptrace.kernel.machinecode.instruction import CALL, END, FORK, JUMP, TRAP, Instruction

Span = tuple[int, int]
"""Addresses [low, high)."""

_LONGEST_SPAN = 1 << 20
_MOST_ENTRIES = 1 << 20
_LONGEST_INSTRUCTION = 15
_MOST_ELSEWHERE = 16
"""Instructions in a row of code elsewhere that a jump out of the function leads to: what
ALTERNATIVE_TERNARY() of x86_64 puts into .altinstr_aux are three; a function that is called last is
longer, and does not come back."""


class ControlFlow:
    """Instructions of a function, and which may come after each.

    Args:
        image: the file that has the code.
        entry: the function's first instruction.
        spans: where its code is.
        forks: pairs (from, to) that the code itself does not show (`static_branches()`).
    """

    def __init__(
        self, image: Image, entry: int, spans: Sequence[Span], forks: Iterable[Span] = ()
    ) -> None:
        self._entry = entry
        self._after: dict[int, tuple[int, ...]] = {}
        self._calls: set[int] = set()
        self._traps: set[int] = set()
        self._relative: set[int] = set()
        for low, high in spans:
            self._decode(image.at(low, min(high - low, _LONGEST_SPAN)), low, image)
        self._decode_elsewhere(image)
        for start, target in forks:
            if start in self._after and target in self._after:
                self._after[start] += (target,)

    def _decode(self, code: bytes, low: int, image: Image) -> None:
        at, instruction_at = 0, decoder_of(image.arch)
        while (instruction := instruction_at(code, at)) is not None:
            here = low + at
            self._after[here] = _ways(here, instruction)
            if instruction.kind == CALL:
                self._calls.add(here)
            if instruction.kind == TRAP:
                self._traps.add(here)
            if instruction.relative:
                self._relative.add(here)
            at += instruction.size

    def _decode_elsewhere(self, image: Image) -> None:
        """Follow jumps out of the function: to .altinstr_aux, until the kernel has patched
        static_cpu_has() (pgtable_l5_enabled() in front of every zap of x86_64), and back."""
        inside, instruction_at = set(self._after), decoder_of(image.arch)
        for start in sorted({to for ways in self._after.values() for to in ways} - inside):
            found: dict[int, tuple[int, ...]] = {}
            ahead = [start]
            for at in ahead:
                instruction = instruction_at(image.at(at, _LONGEST_INSTRUCTION), 0)
                if instruction is None or len(found) == _MOST_ELSEWHERE:
                    break
                found[at] = _ways(at, instruction)
                ahead += [to for to in found[at] if to not in inside and to not in ahead]
            else:
                self._after |= found

    def probe_candidates(self, pc: int, spans: Sequence[Span]) -> Iterator[int]:
        """Yield instructions that are executed once each time an inlined call is made.

        What counts as the call are the calls that it makes in turn: single
        instructions of it are found anywhere, also where it is not made at all.
        What comes after a BUG() or WARN() is no way that must be watched.

        Args:
            pc: where it is entered according to DWARF; only believed if it is true.
            spans: where the inlined code is.

        Yields:
            The nearest to `pc` first; none when all ways do not meet anywhere.
        """
        inside, seen = _within(spans), set()
        for candidate in self._candidates(pc, spans):
            at = self._after_relative(candidate, inside)
            if at not in seen:
                seen.add(at)
                yield at

    def _after_relative(self, at: int, inside: Callable[[int], bool]) -> int:
        """Return the next instruction that is not relative, if there is no other way to it; else
        `at`."""
        to = at
        while to in self._relative:
            (to,) = self._next(to)
            if not inside(to) or sum(to in ways for ways in self._after.values()) != 1:
                return at
        return to

    def _candidates(self, pc: int, spans: Sequence[Span]) -> Iterator[int]:
        inside = _within(spans)
        calls = {at for at in self._calls if inside(at)}
        if not calls or self._dominates(pc, calls):
            yield pc
            # What the compiler has moved there may come before the arguments are known.
            yield from self._as_often(pc, spans, self._calls)
            return
        for at in self._walk(pc, lambda one: [to for to in self._next(one) if inside(to)]):
            if (
                self._dominates(at, calls)
                and self._leads_to(at, calls, inside)
                and not self._comes_again(at, inside)
            ):
                yield at

    def candidates_after(self, pc: int, spans: Sequence[Span]) -> Iterator[int]:
        """Yield instructions that are executed once each time one of an inlined call is.

        Args:
            pc: that instruction, which itself cannot be watched.
            spans: where the inlined code is.
        """

        yield from self._as_often(pc, spans, set())

    def _as_often(self, pc: int, spans: Sequence[Span], ends: set[int]) -> Iterator[int]:
        """Yield instructions of an inlined call that are executed once each time another one is.

        What a compiler has moved in between may be what is around the call; an empty span is a
        statement of the call of which nothing else is left.

        Args:
            pc: the other one, which is before them.
            spans: where the inlined code is.
            ends: how far to look.
        """
        inside, begins = _within(spans), {low for low, _ in spans}

        def around(one: int) -> list[int]:
            return [to for to in self._next(one) if to != pc]

        elsewhere = set(self._walk(self._entry, around)) if pc != self._entry else set()
        for at in self._walk(pc, lambda one: () if one in ends else self._next(one)):
            if at == pc or not (inside(at) or at in begins):
                continue
            if at in elsewhere or self._comes_again(at, inside):
                continue
            if self._leads_to(pc, {at}, lambda _: True):
                yield at

    def _next(self, at: int) -> tuple[int, ...]:
        return self._after.get(at, ())

    def _dominates(self, at: int, calls: set[int]) -> bool:
        """Return whether none of the calls is reached but by way of an instruction, which itself
        is reached: code that no known way leads to proves nothing."""
        if at == self._entry:
            return True
        if at not in self._reached:
            return False
        around = self._walk(self._entry, lambda one: [to for to in self._next(one) if to != at])
        return calls.isdisjoint(around)

    @cached_property
    def _reached(self) -> set[int]:
        """The instructions that some way from the function's entry leads to."""
        return set(self._walk(self._entry, self._next))

    def _leads_to(self, at: int, calls: set[int], inside: Callable[[int], bool]) -> bool:
        """Return whether one of the calls is made, whichever way things continue from an
        instruction."""
        ends = calls | self._traps
        for one in self._walk(at, lambda one: () if one in ends else self._next(one)):
            if one not in ends and not (inside(one) and self._next(one)):
                return False
        return True

    def _comes_again(self, at: int, inside: Callable[[int], bool]) -> bool:
        """Return whether an instruction is in a loop of the inlined call."""
        ahead = [to for to in self._next(at) if inside(to)]
        further = (self._walk(one, lambda it: filter(inside, self._next(it))) for one in ahead)
        return any(at == one for ones in further for one in ones)

    def _walk(self, start: int, ways: Callable[[int], Iterable[int]]) -> Iterator[int]:
        """Yield instructions that are reached, nearest first."""
        seen, ahead = {start}, [start]
        for at in ahead:
            if at not in self._after:
                continue
            yield at
            more = [to for to in ways(at) if to not in seen]
            seen.update(more)
            ahead += more


def _within(spans: Sequence[Span]) -> Callable[[int], bool]:
    """Return a test of whether an instruction is in one of some spans."""
    return lambda at: any(low <= at < high for low, high in spans)


def _ways(here: int, instruction: Instruction) -> tuple[int, ...]:
    """Return which instructions may come after one."""
    following, target = here + instruction.size, here + instruction.away
    ways = {FORK: (following, target), JUMP: (target,), END: (), TRAP: ()}
    return ways.get(instruction.kind, (following,))


def static_branches(image: Image, symbols: Symbols) -> list[Span]:
    """Return where jump labels (include/linux/jump_label.h) may be made to go: (code, target).

    The entries of CONFIG_HAVE_ARCH_JUMP_LABEL_RELATIVE, which both
    architectures have.
    """
    start, stop = (symbols.label(f"__{end}___jump_table") for end in ("start", "stop"))
    if start is None or stop is None or not 0 <= stop - start <= _MOST_ENTRIES * 16:
        return []
    layout = struct.Struct(f"{image.order}iiq")
    table = image.at(start, stop - start)
    whole = len(table) - len(table) % layout.size
    return [
        (start + at + code, start + at + 4 + target)
        for at, (code, target, _) in zip(
            range(0, whole, layout.size), layout.iter_unpack(table[:whole]), strict=True
        )
    ]
