"""A large folio's references, call by call: each entry that maps a page of it holds one.

A zap clears many of a folio's entries and drops as many references at once, fork() takes as many
as it sets entries, a split of a PMD makes one reference many.  So each call of the kernel is added
up: the entries that it set and cleared, of all pages of the folio, against the references that it
took and dropped.  What a call keeps, or drops, above that is another holder's: of a batch, a cache,
a pipe or a caller that drops it in a later call; what no other call makes good is left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from zaptrace.life.calls import Unit
from zaptrace.life.left_over import LeftOver, Tally, What
from zaptrace.life.mappings import is_counted, is_of_zero_folio, is_typed
from zaptrace.life.named_life import NamedLife, NamedWrite
from zaptrace.life.page_life import CLEARS, SETS, Role
from zaptrace.life.page_members import REFCOUNT
from zaptrace.life.reference_kinds import FOLIO_KINDS, KEEPS_NONE


@dataclass(slots=True, eq=False)
class _Step:
    """A store, and how many references or entries of it are not paired yet.

    Attributes:
        after: of references, how many there were after it.
    """

    write: NamedWrite
    count: int = 1
    after: int = 0

    def all(self) -> int:
        """Return how many references it took or dropped."""
        change = self.write.write.change(REFCOUNT)
        return 0 if change is None or change.before is None else abs(change.after - change.before)

    @property
    def number(self) -> int:
        return self.write.write.number


@dataclass(slots=True, eq=False)
class _Call:
    """What one call of the kernel did to a folio.

    Attributes:
        closed: it is the part of a call that one function made which hands no reference on.
        rmaps: how many mappings it counted, and how many it no longer counts.
    """

    closed: bool
    sets: list[_Step] = field(default_factory=list)
    clears: list[_Step] = field(default_factory=list)
    gets: list[_Step] = field(default_factory=list)
    puts: list[_Step] = field(default_factory=list)
    rmaps: list[int] = field(default_factory=lambda: [0, 0])

    def kept(self) -> int:
        """Return how many references it took and did not drop, above those of its entries.

        Of an entry that it should have set or cleared (its rmap was added or removed) the
        reference is the entry's all the same.
        """
        sets, clears = _sum(self.sets), _sum(self.clears)
        kept = _sum(self.gets) - _sum(self.puts) - sets + clears
        if kept > 0:
            return max(kept - max(self.rmaps[0] - sets, 0), 0)
        return min(kept + max(self.rmaps[1] - clears, 0), 0)


@dataclass(slots=True, eq=False)
class _Share:
    """References that outlast the call in which they were taken, or of an earlier one.

    Attributes:
        call: None of those of a batch or a cache.
        lasting: they belong to a cache, which alone drops them.
        last: they went with all others at once.
        others: what a cache dropped of as many as it had taken.
    """

    count: int
    steps: list[_Step]
    call: _Call | None = None
    lasting: bool = False
    last: bool = False
    others: list[_Step] = field(default_factory=list)


def folio_references(named: NamedLife, frozen: NamedWrite | None) -> Iterator[LeftOver]:
    """Yield the references of a large folio that have no partner, and entries without one.

    Where not all of the folio's pages are known, or no entries of them, only what was taken and
    not dropped is yielded: what else is missing may be another page's.

    Args:
        named: of the folio's first page.
        frozen: the store that dropped the last references at once.
    """
    if is_of_zero_folio(named.writes):
        return  # its references are each mm's, whatever that maps
    mapped = not is_typed(named.writes)
    whole = named.life.entries and named.life.pages > 1 and mapped
    gets, puts = _references(named.writes, frozen)
    held, dropped = _pair_by_kind(gets, puts)
    entries = list(_entries(named, puts)) if mapped else []
    calls = _calls(entries, gets, puts, whole=whole)
    found: list[LeftOver] = []
    for call in calls:
        kept = call.kept()
        left = _settled(call, kept)
        if left is not None:
            found.append(left)
        elif kept > 0:
            held.append(_Share(kept, call.gets, call))
        elif kept < 0:
            last = any(one.write is frozen for one in call.puts)
            dropped.append(_Share(-kept, call.puts, call, last=last))
    found += _across_calls(held, dropped)
    yield from (one for one in found if whole or one.what is What.GET_WITHOUT_PUT)


def _settled(call: _Call, kept: int) -> LeftOver | None:
    """Return what went wrong in a call, where no other call can make it good."""
    if kept < 0 and call.sets and not call.puts:
        return _left(What.MAPPED_WITHOUT_GET, -kept, call.sets, call)
    if kept < 0 and call.closed:
        return _left(What.PUT_WITHOUT_GET, -kept, call.puts, call)
    if kept > 0 and call.clears and not call.gets:
        return _left(What.CLEARED_NOT_PUT, kept, call.clears, call)
    if kept > 0 and call.closed:
        return _left(What.GET_WITHOUT_PUT, kept, call.gets, call)
    return None


def _across_calls(held: list[_Share], dropped: list[_Share]) -> Iterator[LeftOver]:
    """Pair what calls kept with what later ones dropped, and yield the rest.

    Which of several calls it was that dropped one too many, or kept one, is not known: all of them
    are named.
    """
    held, dropped = _pair_equal(held, dropped)
    counts = {one: one.count for one in held}
    short = {one: one.count for one in dropped}
    for drop in sorted(dropped, key=lambda one: one.steps[-1].number):
        for hold in sorted(held, key=lambda one: -one.steps[0].number):
            if hold.steps[0].number < drop.steps[-1].number and (drop.last or not hold.lasting):
                paired = min(counts[hold], short[drop])
                counts[hold] -= paired
                short[drop] -= paired
    if (missing := sum(short.values())) > 0:
        yield from _of_drops(missing, dropped)
    of_calls = [one for one in held if one.call is not None]
    # What waits in a batch is accounted for, where anything else may have been kept.
    waiting = [one for one in held if one.call is None and not one.lasting]
    for shares in (of_calls, waiting):
        if (left := sum(counts[one] for one in shares)) > 0:
            yield _of_shares(What.GET_WITHOUT_PUT, left, shares)
            break


def _of_drops(missing: int, dropped: list[_Share]) -> Iterator[LeftOver]:
    """Yield the puts of which some are too many; those of a free folio apart."""
    again = [step for one in dropped for step in one.steps if _is_of_free_folio(step.write)]
    if again:
        count = min(_sum(again), missing)
        yield LeftOver(What.FREED_TWICE, count, _writes(again))
        missing -= count
    if missing > 0:
        yield _of_shares(What.PUT_WITHOUT_GET, missing, dropped)


def _is_of_free_folio(one: NamedWrite) -> bool:
    change = one.write.change(REFCOUNT)
    return change is not None and change.before is not None and change.before <= 0


def _of_shares(what: What, count: int, shares: list[_Share]) -> LeftOver:
    steps = [step for one in shares for step in one.steps]
    if len(shares) == 1 and shares[0].call is not None:
        return _left(what, count, steps, shares[0].call)
    mine = [one.call for one in shares if one.call is not None]
    entries = [
        step
        for call in mine
        for step in (call.sets if what is What.PUT_WITHOUT_GET else call.clears)
    ]
    others = _writes(step for one in shares for step in one.others)
    return LeftOver(what, count, _writes(steps), entries=_writes(entries), others=others)


def _left(what: What, count: int, steps: list[_Step], call: _Call) -> LeftOver:
    """Return what is left over in one call, with what it added up to."""
    is_short = what in (What.MAPPED_WITHOUT_GET, What.PUT_WITHOUT_GET)
    entries = call.sets if is_short else call.clears
    others = call.gets if what is What.MAPPED_WITHOUT_GET else call.puts
    return LeftOver(
        what,
        count,
        _writes(steps),
        entries=_writes(entries) if steps is not entries else (),
        tally=_tally(call) if call.sets or call.clears else None,
        others=_writes(others) if steps is entries else (),
    )


def _tally(call: _Call) -> Tally:
    return Tally(*(_sum(one) for one in (call.sets, call.clears, call.gets, call.puts)))


def _pair_equal(held: list[_Share], dropped: list[_Share]) -> tuple[list[_Share], list[_Share]]:
    """Pair many references with as many that were dropped at once; return the rest."""
    rest = []
    for drop in dropped:
        same = (
            one
            for one in reversed(held)
            if 1 < one.count == drop.count and one.steps[0].number < drop.steps[-1].number
        )
        if (hold := next(same, None)) is None:
            rest.append(drop)
        else:
            held = [one for one in held if one is not hold]
    return held, rest


def _references(
    writes: Sequence[NamedWrite], frozen: NamedWrite | None
) -> tuple[list[_Step], list[_Step]]:
    """Return the steps up and down of the folio's references."""
    gets, puts = [], []
    for one in writes:
        change = one.write.change(REFCOUNT)
        if change is None or change.before is None:
            continue
        step = _Step(one, abs(change.after - change.before), change.after)
        if one.role in (Role.ALLOCATED, Role.GOT):
            gets.append(step)
        elif one.role in (Role.PUT, Role.FREED) or one is frozen:
            puts.append(step)
    return gets, puts


def _pair_by_kind(gets: list[_Step], puts: list[_Step]) -> tuple[list[_Share], list[_Share]]:
    """Pair the references of batches and caches in the order in which they were taken.

    Returns:
        Those that have no partner.  No reference of these kinds belongs to a call any more.
    """
    for kind in FOLIO_KINDS:
        taken, gone = _of_kind(gets, kind.gets), _of_kind(puts, kind.puts)
        if kind.alike and _sum(taken) != _sum(gone):
            continue
        for put in gone:
            for get in taken:
                if get.number < put.number:
                    paired = min(get.count, put.count)
                    get.count -= paired
                    put.count -= paired
    held: list[_Share] = []
    dropped: list[_Share] = []
    for kind in (one for one in FOLIO_KINDS if not one.alike):
        for steps, functions, shares in ((gets, kind.gets, held), (puts, kind.puts, dropped)):
            for step in _of_kind(steps, functions):
                # A cache that has dropped a part has let go of the folio.
                gone = [one for one in puts if kind.puts & set(one.write.functions())]
                gone = gone if kind.lasting and step.count < step.all() else []
                rest = _Step(step.write, step.count, step.after)
                lasts = kind.lasting and not gone
                shares.append(_Share(rest.count, [rest], lasting=lasts, others=gone))
                step.count = 0
    return held, dropped


def _of_kind(steps: list[_Step], functions: frozenset[str]) -> list[_Step]:
    """Return those that are not paired yet and were made in one of some functions."""
    return [one for one in steps if one.count and functions & set(one.write.functions())]


def _calls(
    entries: list[tuple[NamedWrite, str]], gets: list[_Step], puts: list[_Step], *, whole: bool
) -> list[_Call]:
    """Return the calls, in the order of their first stores to the folio."""
    calls: dict[object, _Call] = {}
    keys: dict[tuple[int, tuple[int, ...], int], tuple[object, bool]] = {}

    def call_of(one: NamedWrite) -> _Call:
        by = (one.write.pc, one.write.stack, one.write.root)
        if by not in keys:
            inside = _closed_function(one) if whole else None
            keys[by] = ((Unit(0, one).call(), inside), inside is not None)
        key, closed = keys[by]
        return calls.setdefault(key, _Call(closed))

    steps = [(one, "gets") for one in gets] + [(one, "puts") for one in puts]
    steps += [(_Step(one), name) for one, name in entries]
    for step, name in sorted(steps, key=lambda one: one[0].number):
        if name in ("added", "removed"):
            call_of(step.write).rmaps[name == "removed"] += 1
        elif step.count:
            call = call_of(step.write)
            if name == "sets" and _is_again(step, call.clears):
                call.clears.pop()
            else:
                getattr(call, name).append(step)
    return list(calls.values())


def _is_again(step: _Step, clears: list[_Step]) -> bool:
    """Return whether an entry is set that the same call had cleared: it was moved or modified."""
    return bool(clears) and clears[-1].write.write.is_whole == step.write.write.is_whole


def _entries(named: NamedLife, puts: list[_Step]) -> Iterator[tuple[NamedWrite, str]]:
    """Yield the entries of all pages of the folio that were set and cleared while it was one, and
    their rmaps; rmaps alone where no entries are known."""
    freed = next((one.number for one in puts if one.after <= 0), None)
    open_: set[int | None] = set()
    for one in sorted((*named.writes, *named.parts), key=lambda one: one.write.number):
        over = freed is not None and one.write.number > freed
        if one.role in SETS and is_counted(one) and not over:
            open_.add(one.write.slot)
            yield one, "sets"
        elif one.role in CLEARS and one.write.slot in open_:
            open_.discard(one.write.slot)
            yield one, "clears"
        elif one.role in (Role.MAPPED, Role.UNMAPPED) and not over:
            added = one.role == Role.MAPPED
            if named.life.entries:
                yield one, "added" if added else "removed"
            else:
                yield one, "sets" if added else "clears"


def _closed_function(one: NamedWrite) -> str | None:
    """Return the outermost function that takes and drops references for its own entries alone."""
    return next((name for name in reversed(one.functions()) if name in KEEPS_NONE), None)


def _sum(steps: Iterable[_Step]) -> int:
    return sum(one.count for one in steps)


def _writes(steps: Iterable[_Step]) -> tuple[NamedWrite, ...]:
    return tuple({id(one.write): one.write for one in steps}.values())
