"""A page's ledger: each get with its put, each rmap with its removal, and what is left over.

What was recorded is paired; nothing is inferred of a page table, which the recording does not
have.  So the ledger says which stores have no partner, and where two of several may be the one
too many, it names all of them.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from zaptrace.life.named_life import Frame, NamedLife, NamedWrite
from zaptrace.life.page_life import MAPCOUNT, REFCOUNT
from zaptrace.life.page_members import PageFields

MOST_UNITS = 1024
"""References that one store may take or drop, and be paired one by one; a folio has fewer."""


@dataclass(frozen=True, slots=True)
class RefKind:
    """References that are taken in one place and dropped in another, by the functions there."""

    name: str
    gets: frozenset[str]
    puts: frozenset[str]


KINDS = (
    # mm/swap.c: a page waits in a per-CPU batch, which holds it, until the batch is moved.
    RefKind(
        "LRU batch",
        frozenset(
            {
                *("folio_add_lru", "lru_cache_add", "folio_activate", "folio_rotate_reclaimable"),
                *("deactivate_file_folio", "folio_deactivate", "deactivate_page"),
                *("folio_mark_lazyfree", "mark_page_lazyfree", "folio_batch_add_and_move"),
            }
        ),
        frozenset({"folio_batch_move_lru", "pagevec_lru_move_fn", "__pagevec_lru_add"}),
    ),
    # mm/mlock.c: the same for mlock's.
    RefKind(
        "mlock batch",
        frozenset({"mlock_folio", "mlock_new_folio", "munlock_folio"})
        | {"mlock_new_page", "munlock_page"},
        frozenset({"mlock_folio_batch", "mlock_pagevec"}),
    ),
)
ENTRIES = frozenset(
    {
        # arch/s390/kernel/entry.S, syscall.c, traps.c, arch/s390/mm/fault.c
        *("system_call", "__do_syscall", "do_syscall", "pgm_check_handler", "__do_pgm_check"),
        *("do_dat_exception", "do_protection_exception", "do_exception"),
        # arch/x86/entry/entry_64.S, common.c, arch/x86/mm/fault.c
        *("entry_SYSCALL_64", "do_syscall_64", "do_syscall_x64", "asm_exc_page_fault"),
        *("exc_page_fault", "handle_page_fault", "do_user_addr_fault", "x64_sys_call"),
        *(
            "entry_SYSCALL_64_after_hwframe",
            "ret_from_fork",
            "ret_from_fork_asm",
            "__ret_from_fork",
        ),
    }
)
"""How the kernel is entered: functions that stores of different calls have in common as well."""


class What(enum.StrEnum):
    """What is left over."""

    FREED_WHILE_MAPPED = "freed_while_mapped"
    PUT_WITHOUT_GET = "put_without_get"
    PUT_OR_RMAP = "put_without_get_or_rmap_removal_missing"
    RMAP_NOT_REMOVED = "rmap_not_removed"
    REMOVED_TOO_OFTEN = "rmap_removed_too_often"
    GET_WITHOUT_PUT = "get_without_put"


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Stores without a partner.

    Attributes:
        count: how many there are too many.
        among: the stores that one of them may be; where it is known how often their instructions
            stored in the whole boot, the rarest first.
        often: how often, of each of `among`; empty when that is not known.
        dropped: where the reference of a mapping went whose rmap was not removed.
    """

    what: What
    count: int
    among: tuple[NamedWrite, ...]
    dropped: tuple[NamedWrite, ...] = ()
    often: tuple[int, ...] = ()

    def sentence(self) -> str:
        """What it is, with the lines."""
        named = dict(zip(map(place, self.among), self.often or (0,) * len(self.among), strict=True))
        if len(set(named.values())) > 1:
            places = " or ".join(f"{one} (stores {often:,} in all)" for one, often in named.items())
        else:
            places = " or ".join(named)
        times = "" if self.count == 1 else f" {self.count} times"
        said = f"{_SAID[self.what]}{times}: {places}"
        dropped = " and ".join(dict.fromkeys(map(place, self.dropped)))
        return f"{said}; its reference was put by {dropped}" if dropped else said


_SAID = {
    What.FREED_WHILE_MAPPED: "freed while its mapcount was not 0",
    What.PUT_WITHOUT_GET: "put without a get",
    What.PUT_OR_RMAP: "put without a get, or without the rmap removal that belongs to it",
    What.RMAP_NOT_REMOVED: "rmap added and not removed",
    What.REMOVED_TOO_OFTEN: "rmap removed more often than added",
    What.GET_WITHOUT_PUT: "got and not put yet",
}


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was paired, and what was not.

    Attributes:
        adds, removals: of the page's rmap.
        gets, puts: of its references, the one that it was allocated with among them.
        left_over: in the order of their stores.
        unpaired: why there is no ledger, or no ledger of its references; None when there is.
    """

    adds: int = 0
    removals: int = 0
    gets: int = 0
    puts: int = 0
    left_over: tuple[LeftOver, ...] = ()
    unpaired: str | None = None


@dataclass(slots=True, eq=False)
class _Unit:
    """One reference or one mapping, taken or dropped."""

    at: int
    write: NamedWrite
    partner: _Unit | None = None

    def entry(self) -> int:
        """How many of `calls` are the kernel's entry."""
        count = 1
        for frames in reversed(self.write.callers):
            if not all(frame.function in ENTRIES for frame in frames):
                break
            count += 1
        return count

    def calls(self) -> tuple[int, ...]:
        """The stack, outermost first: the kernel stack, then the return addresses."""
        return (self.write.write.root, *reversed(self.write.write.stack))


def place(one: NamedWrite) -> str:
    """Where a store is, in the function that did it: not the counter's own helper."""
    frame = _author(one)
    return f"{frame} {frame.source or '?'}"


_COUNTERS = frozenset(
    {
        *("page_remove_rmap", "page_add_anon_rmap", "page_add_file_rmap", "page_add_new_anon_rmap"),
        *("page_remove_file_rmap", "folio_remove_rmap_range", "release_pages", "__folio_put"),
        *("put_page", "folio_put", "get_page", "folio_get", "put_page_testzero", "try_get_folio"),
        *("folio_add_new_anon_rmap", "folio_remove_rmap_ptes", "folio_add_anon_rmap_ptes"),
        *("folio_add_file_rmap_ptes", "__folio_remove_rmap", "__folio_add_rmap", "folios_put_refs"),
        *("try_grab_page", "try_grab_folio", "folio_add_lru", "free_pages_and_swap_cache"),
    }
)
"""Functions whose business is the counter: who called them is asked for."""


def _author(one: NamedWrite) -> Frame:
    """The innermost frame in a .c file that is not a counter's function."""
    frames = [*one.frames, *(frame for caller in one.callers for frame in caller)]
    own = [one for one in frames if (one.source or "").partition(":")[0].endswith(".c")]
    return next(
        (one for one in own if one.function not in _COUNTERS), own[0] if own else one.author
    )


def ledger(
    named: NamedLife,
    fields: PageFields,
    ptes: int | None = None,
    often: Mapping[int, int] | None = None,
) -> Ledger:
    """Pair what was recorded since the page was allocated.

    Args:
        ptes: how many PTEs mapped the page when the guest was stopped, where that is known: it
            tells a mapping that is still there from one whose rmap was forgotten.
        often: instruction -> how often it stored in the whole boot.
    """
    writes = named.writes
    if not named.life.since_allocation:
        return Ledger(unpaired="its allocation was not recorded")
    if any(not one.write.valued for one in writes):
        return Ledger(unpaired="the value of a store is not known")
    adds, removals = _units(writes, ("mapped",), MAPCOUNT), _units(writes, ("unmapped",), MAPCOUNT)
    gets = _units(writes, ("allocated", "got"), REFCOUNT)
    puts = _units(writes, ("put", "freed"), REFCOUNT)
    left = list(_freed(writes))
    dropped: tuple[NamedWrite, ...] = ()
    mapped = _is_mapped(adds, removals, ptes)
    why = _no_references(writes, fields)
    if why is None:
        _pair_by_kind(gets, puts)
        mine = _pair_mappings(adds, removals, gets, puts)
        rest = [one for one in gets if one not in mine]
        _pair_same_call(rest, puts)
        if mapped is False:
            dropped = _lost_mappings(mine, puts)
        _pair_any(rest, puts)
        left += _references(gets, puts, mine, mapped)
    missing = _mappings(adds, removals, dropped)
    # A mapping that is still there owes nothing.
    left += [one for one in missing if not (mapped and one.what is What.RMAP_NOT_REMOVED)]
    if often is not None:
        left = [_by_rarity(one, often) for one in left]
    left.sort(key=_order)
    return Ledger(len(adds), len(removals), len(gets), len(puts), tuple(left), why)


def _order(one: LeftOver) -> tuple[bool, int, bool]:
    """By time; what is merely held comes last, and causes before effects."""
    first = min(write.write.number for write in one.among)
    return one.what is What.GET_WITHOUT_PUT, first, one.what is What.FREED_WHILE_MAPPED


def _by_rarity(one: LeftOver, often: Mapping[int, int]) -> LeftOver:
    """Of several stores the one that others do not do as well comes first."""
    among = sorted(one.among, key=lambda write: often.get(write.write.pc, 0))
    counts = tuple(often.get(write.write.pc, 0) for write in among)
    return dataclasses.replace(one, among=tuple(among), often=counts)


def _is_mapped(adds: list[_Unit], removals: list[_Unit], ptes: int | None) -> bool | None:
    """Whether at the stop each rmap had its PTE; None when that is not known."""
    if ptes is None:
        return None
    there = [sum(not one.write.write.after_stop for one in units) for units in (adds, removals)]
    return ptes >= there[0] - there[1]


def _freed(writes: Sequence[NamedWrite]) -> Iterator[LeftOver]:
    """Frees of a page that was mapped."""
    mapcount = -1
    for one in writes:
        change = one.write.change(MAPCOUNT)
        if change is not None:
            mapcount = change.after
        if one.role == "freed" and mapcount >= 0:
            yield LeftOver(What.FREED_WHILE_MAPPED, 1, (one,))


def _units(writes: Sequence[NamedWrite], roles: Sequence[str], counter: str) -> list[_Unit]:
    found: list[_Unit] = []
    for at, one in enumerate(writes):
        change = one.write.change(counter)
        if one.role in roles and change is not None and change.before is not None:
            count = min(abs(change.after - change.before), MOST_UNITS)
            found += [_Unit(at, one) for _ in range(count)]
    return found


def _no_references(writes: Iterable[NamedWrite], fields: PageFields) -> str | None:
    """Why the page's references cannot be paired."""
    for one in writes:
        if one.role in ("frozen", "thawed"):
            return "its references were frozen for a while"
        flags, link = one.write.change("flags"), one.write.change("lru.next")
        # A tail's compound_head shares the place of lru.next, and has bit 0 set.
        if (flags and "head" in fields.flag_names(flags.after)) or (link and link.after & 1):
            return "it is a page of a large folio, whose references are not this page's alone"
    return None


def _mappings(
    adds: list[_Unit], removals: list[_Unit], dropped: tuple[NamedWrite, ...]
) -> Iterator[LeftOver]:
    """More of the one than of the other; which it is of several is not known."""
    count = len(adds) - len(removals)
    if count > 0:
        yield LeftOver(What.RMAP_NOT_REMOVED, count, _writes(adds), dropped)
    elif count < 0:
        yield LeftOver(What.REMOVED_TOO_OFTEN, -count, _writes(removals))


def _pair_by_kind(gets: list[_Unit], puts: list[_Unit]) -> None:
    """References of the batches, first come first served."""
    for kind in KINDS:
        taken = [one for one in gets if kind.gets & set(one.write.functions())]
        for put in puts:
            if put.partner is None and kind.puts & set(put.write.functions()):
                get = next((one for one in taken if one.partner is None and one.at < put.at), None)
                if get is not None:
                    _pair(get, put)


def _pair_mappings(
    adds: list[_Unit], removals: list[_Unit], gets: list[_Unit], puts: list[_Unit]
) -> list[_Unit]:
    """The reference of a mapping: taken where its rmap is added, dropped where that is removed.

    Returns:
        The gets that belong to mappings.
    """
    taken: list[_Unit] = []
    for add in adds:
        get = _nearest(add, [one for one in gets if one not in taken and not _of_kind(one)])
        taken += [get] if get is not None else []
    free = list(taken)
    for removal in removals:
        put = _nearest(removal, puts)
        if put is not None and free:
            _pair(free.pop(0), put)
        elif put is not None:  # of a mapping that nobody added: told by its removal
            put.partner = removal
    return taken


def _of_kind(get: _Unit) -> bool:
    functions = set(get.write.functions())
    return any(kind.gets & functions for kind in KINDS)


def _nearest(of: _Unit, units: list[_Unit]) -> _Unit | None:
    """The one that is alone, of the same call, and nearest in the call and in time."""
    alone = [one for one in units if one.partner is None and _same_call(of, one)]
    # Of two that are as near, the later one: the rmap goes first, the reference after it.
    return max(
        alone,
        key=lambda one: (_shared(of, one), -abs(one.at - of.at), one.at),
        default=None,
    )


def _pair_same_call(gets: list[_Unit], puts: list[_Unit]) -> None:
    """Puts that are alone with gets of the same call before them."""
    for put in puts:
        free = [
            one for one in gets if one.partner is None and one.at < put.at and _same_call(one, put)
        ]
        if put.partner is None and free:
            _pair(free[-1], put)


def _lost_mappings(mine: list[_Unit], puts: list[_Unit]) -> tuple[NamedWrite, ...]:
    """Puts that are alone dropped the references of mappings that have no PTE any more."""
    lost = [one for one in mine if one.partner is None]
    alone = [one for one in puts if one.partner is None]
    # The last put is the mapping's: what was got before it was put before it.
    for get, put in zip(reversed(lost), reversed(alone), strict=False):
        _pair(get, put)
    return _writes(one for one in alone if one.partner is not None)


def _pair_any(gets: list[_Unit], puts: list[_Unit]) -> None:
    """Puts that are alone with the last get before them."""
    for put in puts:
        free = [one for one in gets if one.partner is None and one.at < put.at]
        if put.partner is None and free:
            _pair(free[-1], put)


def _pair(get: _Unit, put: _Unit) -> None:
    get.partner, put.partner = put, get


def _same_call(one: _Unit, other: _Unit) -> bool:
    """Whether both stores are of one system call, fault or exit, as far as their stacks tell."""
    return _shared(one, other) > one.entry()


def _shared(one: _Unit, other: _Unit) -> int:
    """Outermost frames that both stacks have, the kernel stack among them."""
    count = 0
    for mine, its in zip(one.calls(), other.calls(), strict=False):
        if mine != its:
            break
        count += 1
    return count


def _references(
    gets: list[_Unit], puts: list[_Unit], mine: list[_Unit], mapped: bool | None
) -> Iterator[LeftOver]:
    """Puts and gets that are alone.

    Args:
        mine: the gets of mappings.
        mapped: see `_is_mapped`.
    """
    alone = [one for one in puts if one.partner is None]
    open_ = [one for one in mine if one.partner is None]
    unclear = [one for one in alone if open_ and (mapped is None or one.write.write.after_stop)]
    for what, units in (
        (What.PUT_OR_RMAP, unclear),
        (What.PUT_WITHOUT_GET, [one for one in alone if one not in unclear]),
    ):
        if units:
            yield LeftOver(what, len(units), _writes(_rivals(units, puts, mine)))
    held = [one for one in gets if one.partner is None and one not in mine]
    if held:
        yield LeftOver(What.GET_WITHOUT_PUT, len(held), _writes(held))


def _rivals(alone: list[_Unit], puts: list[_Unit], mine: list[_Unit]) -> list[_Unit]:
    """With them the mappings' puts of the same call: which of them is the one is not known."""
    others = [one for one in puts if one.partner in mine]
    return [
        one
        for one in puts
        if one in alone or (one in others and any(_same_call(one, other) for other in alone))
    ]


def _writes(units: Iterable[_Unit]) -> tuple[NamedWrite, ...]:
    return tuple({id(one.write): one.write for one in units}.values())
