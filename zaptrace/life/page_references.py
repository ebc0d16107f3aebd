"""A page's references: each get with its put, by its mapping, its kind and its call.

A large folio's are added up instead (`zaptrace.life.folio_references`).
"""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.life.calls import Unit, same_call, shared_frames, stores_of
from zaptrace.life.left_over import LeftOver, What
from zaptrace.life.mappings import Mappings
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_members import REFCOUNT
from zaptrace.life.reference_kinds import KINDS, TAKES_ITS_OWN


def page_references(
    taken: tuple[list[Unit], list[Unit]],
    mappings: Mappings | None,
    gets: list[Unit],
    puts: list[Unit],
    mapped: bool | None,
) -> tuple[list[LeftOver], tuple[NamedWrite, ...]]:
    """Pair the references of a page, each with its partner.

    Args:
        taken: what took references for mappings, and what drops those: its entries, or its rmaps.
        mappings: its entries, where they are known.
        mapped: whether each rmap had its entry at the stop; None when that is not known.

    Returns:
        What is left over, and the puts that dropped the references of mappings whose rmap was not
        removed.
    """
    left: list[LeftOver] = []
    dropped: tuple[NamedWrite, ...] = ()
    _pair_by_kind(gets, puts)
    mine = _pair_mappings(*taken, gets, puts)
    rest = [one for one in gets if one not in mine and not _is_own(one)]
    _pair_same_call(rest, puts)
    if mappings is not None:
        unheld = (one.write for one in mappings.sets if one.partner is None)
        left += [LeftOver(What.MAPPED_WITHOUT_GET, 1, (one,)) for one in unheld]
    if mapped is False and mappings is None:
        dropped = _lost_mappings(mine, puts)
    _pair_any(rest, puts)
    # A mapping's own put may be of a free page: then one before it was too many.
    again = [one for one in puts if one.partner is None and _is_of_free_page(one.write)]
    left += [LeftOver(What.FREED_TWICE, 1, (one.write,)) for one in again]
    puts = [one for one in puts if one not in again]
    kept = list(_kept(mappings, mine, puts)) if mappings is not None else []
    # Then what is left in a batch waits there.
    open_ = [one for one in gets if not (kept and _is_own(one))]
    left += _references(open_, puts, mine, mapped, mappings)
    left += kept
    return left, dropped


def references_since_the_boot(
    taken: tuple[list[Unit], list[Unit]], gets: list[Unit], puts: list[Unit]
) -> Iterator[LeftOver]:
    """Pair the references of a page that has one since the boot, which is in neither list.

    Args:
        taken: see `page_references`.
    """
    mine = _pair_mappings(*taken, gets, puts)
    rest = [one for one in gets if one not in mine]
    _pair_same_call(rest, puts)
    _pair_any(rest, puts)
    return _references(gets, puts, mine, False, None)


def _is_of_free_page(one: NamedWrite) -> bool:
    """Return whether it dropped a reference of a page that had none any more."""
    change = one.write.change(REFCOUNT)
    return change is not None and change.before is not None and change.before <= 0


def _pair_by_kind(gets: list[Unit], puts: list[Unit]) -> None:
    """Pair the references of batches in the order in which they were taken."""
    for kind in KINDS:
        taken = [one for one in gets if kind.gets & set(one.write.functions())]
        dropped = [one for one in puts if kind.puts & set(one.write.functions())]
        for put in (one for one in dropped if one.partner is None):
            get = next((one for one in taken if one.partner is None and one.at < put.at), None)
            if get is not None:
                _pair(get, put)


def _pair_mappings(
    adds: list[Unit], removals: list[Unit], gets: list[Unit], puts: list[Unit]
) -> list[Unit]:
    """Pair a mapping's reference: taken where its rmap is added, dropped where that is removed.

    Returns:
        The gets that belong to mappings.
    """
    taken: list[Unit] = []
    for add in adds:
        own = bool(TAKES_ITS_OWN & set(add.write.functions()))
        free = [one for one in gets if one not in taken and not _of_kind(one)]
        get = _nearest(add, [one for one in free if not (own and one.write.role == "allocated")])
        taken += [get] if get is not None else []
        add.partner = get
    held = list(taken)
    # The last one first: what a later entry's put may be, an earlier entry must leave to it.
    for removal in reversed(removals):
        put = removal.partner = _nearest(removal, _puts_of(removal, puts))
        if put is not None:  # of a mapping that was never added: reported by its removal
            put.partner = removal
    for removal in removals:
        if removal.partner is not None and held:
            _pair(held.pop(0), removal.partner)
    return taken


def _puts_of(removal: Unit, puts: list[Unit]) -> list[Unit]:
    """Return the puts that may be a mapping's own: its entry is cleared before that."""
    if removal.write.write.slot is None:
        return puts
    return [one for one in puts if one.at > removal.at]


def _is_own(get: Unit) -> bool:
    """Return whether no other put than its kind's drops it."""
    functions = set(get.write.functions())
    return any((kind.own or kind.lasting) and kind.gets & functions for kind in KINDS)


def _lasts(get: Unit) -> bool:
    """Return whether it is held until its own kind drops it, for as long as the page lives."""
    functions = set(get.write.functions())
    return any(kind.lasting and kind.gets & functions for kind in KINDS)


def _of_kind(get: Unit) -> bool:
    functions = set(get.write.functions())
    return any(kind.gets & functions for kind in KINDS)


def _nearest(of: Unit, units: list[Unit]) -> Unit | None:
    """Return the unpaired unit of the same call that is nearest in the call and in time."""
    alone = [one for one in units if one.partner is None and same_call(of, one)]
    # Of two that are as near, the later one: the rmap goes first, the reference after it.
    return max(
        alone,
        key=lambda one: (shared_frames(of, one), -abs(one.at - of.at), one.at),
        default=None,
    )


def _pair_same_call(gets: list[Unit], puts: list[Unit]) -> None:
    """Pair each unpaired put with the last unpaired get of the same call before it."""
    for put in (one for one in puts if one.partner is None):
        free = [
            one for one in gets if one.partner is None and one.at < put.at and same_call(one, put)
        ]
        if free:
            _pair(free[-1], put)


def _lost_mappings(mine: list[Unit], puts: list[Unit]) -> tuple[NamedWrite, ...]:
    """Pair leftover puts with the references of mappings whose PTE is gone; return those puts."""
    lost = [one for one in mine if one.partner is None]
    alone = [one for one in puts if one.partner is None]
    # The last put is the mapping's: what was got before it was put before it.
    for get, put in zip(reversed(lost), reversed(alone), strict=False):
        _pair(get, put)
    return stores_of(one for one in alone if one.partner is not None)


def _pair_any(gets: list[Unit], puts: list[Unit]) -> None:
    """Pair each unpaired put with the last unpaired get before it."""
    for put in (one for one in puts if one.partner is None):
        free = [one for one in gets if one.partner is None and one.at < put.at]
        if free:
            _pair(free[-1], put)


def _pair(get: Unit, put: Unit) -> None:
    get.partner, put.partner = put, get


def _references(
    gets: list[Unit],
    puts: list[Unit],
    mine: list[Unit],
    mapped: bool | None,
    mappings: Mappings | None,
) -> Iterator[LeftOver]:
    """Yield the puts and gets that are left unpaired.

    Args:
        mine: the gets of mappings.
        mapped: see `_is_mapped`.
        mappings: the entries that map the page, where they are known: then it is known as well
            that none was cleared for a put.
    """
    alone = [one for one in puts if one.partner is None]
    sets, unclear = (mappings.sets, []) if mappings is not None else ([], alone)
    if all(one.partner is not None for one in mine):
        unclear = []
    unclear = [one for one in unclear if mapped is None or one.write.write.after_stop]
    for what, units in (
        (What.PUT_OR_RMAP, unclear),
        (What.PUT_WITHOUT_GET, [one for one in alone if one not in unclear]),
    ):
        if units:
            among = stores_of(_rivals(units, puts))
            made = [one for one in sets if any(same_call(one, put) for put in units)]
            yield LeftOver(what, len(units), among, entries=stores_of(made))
    held = [one for one in gets if one.partner is None and one not in mine and not _lasts(one)]
    if held:
        rivals = _with_mappings([*held, *_as_good(held, gets, mine)], mine)
        yield LeftOver(What.GET_WITHOUT_PUT, len(held), stores_of(rivals))


def _as_good(held: list[Unit], gets: list[Unit], mine: list[Unit]) -> list[Unit]:
    """Return the gets that may be the one as well: of the same call, and paired there."""
    own = [
        one
        for one in gets
        if one.partner is not None and one not in mine and not _of_kind(one)
        if same_call(one, one.partner)
    ]
    return [one for one in own if any(same_call(one, other) for other in held)]


def _kept(mappings: Mappings, mine: list[Unit], puts: list[Unit]) -> Iterator[LeftOver]:
    """Yield the references of mappings that nothing dropped, though PTE and rmap are gone."""
    count = sum(one.partner is None for one in mine) - mappings.ptes
    odd = [one.write for one in mappings.alone]
    among = [one for one in mappings.clears if one.partner is None and one.write not in odd]
    if count > 0 and among and all(one.partner is not None for one in puts):
        yield LeftOver(What.CLEARED_NOT_PUT, count, stores_of(among))


def _with_mappings(held: list[Unit], mine: list[Unit]) -> list[Unit]:
    """Return them with the mappings' gets of the same call: which is a mapping's is a guess."""
    rivals = [one for one in mine if any(same_call(one, other) for other in held)]
    return sorted({*held, *rivals}, key=lambda one: one.at)


def _rivals(alone: list[Unit], puts: list[Unit]) -> list[Unit]:
    """With them the puts of the same call that are not a batch's: which is the one is not known."""
    others = [one for one in puts if one.partner is not None and not _of_kind(one.partner)]
    return [
        one
        for one in puts
        if one in alone or (one in others and any(same_call(one, other) for other in alone))
    ]
