"""What a page's recorded life says, in sentences: each store by its function and line."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.life_entries import (
    entry_sentences,
    entry_store,
    misled_by,
    rmap_members,
)
from zaptrace.explain.life_flags import flag_sentences, flag_store, left_flag
from zaptrace.explain.life_links import link_sentences
from zaptrace.explain.life_naming import (
    MOST_CALLERS,
    NO_STORE,
    by,
    callers_of,
    changes,
    refer_writes,
    told,
    whose,
)
from zaptrace.explain.life_scribbles import (
    changed_sentences,
    mistaken,
    planted_sentences,
    scribble_store,
    wrong_page_sentences,
)
from zaptrace.explain.naming import page
from zaptrace.explain.predicates import Case, changed_members, is_a, planted_member
from zaptrace.explain.rules import put_when_free
from zaptrace.explain.unseen_entry import by_the_report, taken_from, unseen_entry
from zaptrace.life.calls import author, before_in_call
from zaptrace.life.left_over import HELD, LeftOver, Tally, What
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import ENTRY, Role
from zaptrace.life.unseen import changed_unseen
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import CodeSite, Sentence

_MOST_NAMED = 4
"""Stores that one sentence names."""

_SAID = {
    What.FREED_TWICE: "{by} dropped a reference to it when it had none left",
    What.PTE_WITHOUT_RMAP: "{by} set a PTE that maps it, and added no rmap for that",
    What.PTE_CLEARED: "{by} cleared a PTE of it, and did not remove its rmap",
    What.PTE_STAYS: "{by} removed its rmap, and did not clear its PTE",
    What.NO_PTE: "{by} removed its rmap when no PTE of it was left",
    What.RMAP_WITHOUT_PTE: "{by} added an rmap, and set no PTE for that",
    What.MAPPED_WITHOUT_GET: "{by} set a PTE that maps it, and took no reference for that",
    What.FREED_WHILE_MAPPED: "{by} dropped its last reference while its rmap was counted",
    What.RMAP_NOT_REMOVED: "the rmap that {by} added was never removed",
    What.REMOVED_TOO_OFTEN: "{by} removed its rmap, which is more often than it was added",
    What.CLEARED_NOT_PUT: "{by} cleared a PTE of it, whose reference was never dropped",
    What.GET_WITHOUT_PUT: "the reference that {by} took was never dropped",
}
_BY_COUNT = (What.RMAP_NOT_REMOVED, What.REMOVED_TOO_OFTEN, What.PUT_OR_RMAP)
_OF_ONE_ENTRY = (What.PTE_WITHOUT_RMAP, What.MAPPED_WITHOUT_GET)
_OF_MANY = (What.MAPPED_WITHOUT_GET, What.CLEARED_NOT_PUT)
_ONE_OF = {
    What.PUT_WITHOUT_GET: "dropped a reference that had not been taken",
    What.PUT_OR_RMAP: "dropped a reference that had not been taken, or without removing an rmap",
}


def reported(case: Case) -> tuple[LeftOver, ...]:
    """Return the facts of a page's life that are reported.

    A reference that was not dropped yet may be held: it is reported where the audit finds no
    holder.  A free while mapped is reported where nothing else is.
    """
    if case.account is None:
        return ()
    leaked = is_a(case.story.finding, FindingClass.REFCOUNT_LEAKED)
    facts = [one for one in case.account.facts if leaked or one.what not in HELD]
    others = [one for one in facts if one.what is not What.FREED_WHILE_MAPPED]
    return tuple(others or facts)


def settled(case: Case) -> bool:
    """Return whether one of the facts says what went wrong: counts alone leave it open."""
    said = any(one.what not in _BY_COUNT for one in reported(case))
    stored = entry_store(case) is not None or left_flag(case) is not None
    return said or stored or bool(changed_members(case)) or planted_member(case) is not None


def life_sentences(case: Case) -> Iterator[Sentence]:
    """Yield who did what to the page that has no partner, as recorded."""
    yield from changed_sentences(case)
    if case.account is None:
        return
    yield from planted_sentences(case)
    if (twin := taken_from(case)) is not None:
        yield mistaken(case, twin)
        return
    pfn = told(case)
    said: dict[str, list[LeftOver]] = {}
    for one in reported(case):
        said.setdefault(_sentence(one, case), []).append(one)
    for at, (text, facts) in enumerate(said.items()):
        before = " before it was allocated again" if case.account.earlier else ""
        start = f"By the recorded life of {whose(case)}{before}, " if at == 0 else "And "
        often = len({one.among[0].write.number for one in facts})
        times = f" ({often} times)" if often > 1 else ""
        yield Sentence(
            f"{start}{text}{times}.",
            refer_writes(
                (w for one in facts for w in (*one.among, *one.entries, *one.others)), pfn
            ),
        )
        yield from _taken_for(facts[0], pfn)
        yield from _prepared(case, facts[0])
        yield from _last_put(case, facts[0])
    if case.account.earlier:
        return
    yield from reported_entry(case)
    yield from wrong_page_sentences(case)
    yield from entry_sentences(case)
    yield from _late(case)
    if not reported(case):
        yield from flag_sentences(case)
        yield from link_sentences(case)
    yield from _freed_before(case)


def freed_with_a_pte(case: Case) -> Iterator[Sentence]:
    """Yield that the page was freed while a PTE mapped it, and by whom."""
    one, account = case.story.freed_mapped, case.account
    if one is None or account is None:
        return
    freed, entry = account.write(one.freed), account.write(one.entry)
    if freed is not None and entry is not None:
        why = "" if settled(case) else "; nothing recorded says why"
        yield Sentence(
            f"{by(freed)} freed {page(case.story)} while a {entry.entry} still mapped it, which "
            f"{by(entry)} had set{why}.",
            refer_writes((freed, entry), case.story.pfn),
        )


def table_lost(case: Case) -> Iterator[Sentence]:
    """Yield who took the page table out of the table above it."""
    one, account = case.story.lost_table, case.account
    cleared = account.write(one.cleared) if one is not None and account is not None else None
    if one is not None and cleared is not None:
        yield Sentence(
            f"{by(cleared)} took the page table in {page(case.story)} out of the table above it, "
            "and nothing freed it after that, though the table above it was freed.",
            refer_writes((cleared,), case.story.pfn),
        )


def _sentence(one: LeftOver, case: Case) -> str:
    assert case.account is not None
    fields = case.account.fields
    places = list(dict.fromkeys(by(write) for write in one.among))[:_MOST_NAMED]
    first = one.among[0]
    if one.what is What.UNSEEN:
        _, counter = changed_unseen(one.among) or (first, "a counter")
        return (
            f"its {counter.removeprefix('_')} had changed when {by(first)} stored to it, and no "
            f"recorded store had done that: {NO_STORE}"
        )
    if one is unseen_entry(case):
        return (
            f"its PTE had changed when {by(first)} cleared it, and no recorded store had done "
            f"that: {NO_STORE}"
        )
    if one.what is What.STRAY:
        return f"{by(first)} stored into its struct page: {changes(first, fields)}"
    if one.what in _ONE_OF:
        said = f"one of these {_ONE_OF[one.what]}: {', '.join(places)}"
        if len(places) == 1:
            said = f"{places[0]} {_ONE_OF[one.what]}"
        return said + _or_an_entry(one) + _added_up(one)
    if one.tally is not None and one.what in _OF_MANY:
        return _of_many(one, one.tally)
    said = _SAID[one.what]
    if one.what in _OF_ONE_ENTRY and {f.what for f in reported(case) if f.among == one.among} == {
        *_OF_ONE_ENTRY
    }:
        said = "{by} set a PTE that maps it, and took no reference and added no rmap for that"
    text = one.of_entry(said).format(by=" or ".join(places))
    return text + _or_an_entry(one) + _added_up(one)


def _or_an_entry(one: LeftOver) -> str:
    """Return the other reading: that an entry of the same call has no reference, or left one."""
    made = list(dict.fromkeys(map(by, one.entries)))[:_MOST_NAMED]
    said = _SAID[one.instead].replace(ENTRY, one.entries[0].entry if made else ENTRY)
    return f", or {said.format(by=' or '.join(made))}" if made else ""


def _added_up(one: LeftOver) -> str:
    """Return what the call did to a large folio: why a reference is one too many, or missing."""
    if one.tally is None and one.others:
        others = list(dict.fromkeys(map(by, one.others)))[:_MOST_NAMED]
        return f", when {' and '.join(others)} dropped the others"
    return f" (in that call: {one.tally})" if one.tally is not None else ""


def _of_many(one: LeftOver, tally: Tally) -> str:
    """Return what a call did to many entries of a large folio at once, and to its references."""
    places = " or ".join(list(dict.fromkeys(map(by, one.among)))[:_MOST_NAMED])
    did, count, refs, verb = "set", tally.sets, tally.gets, "taken"
    beside = f" and cleared {tally.clears}" if tally.clears else ""
    if one.what is What.CLEARED_NOT_PUT:
        did, count, refs, verb = "cleared", tally.clears, tally.puts, "dropped"
        beside = f" and set {tally.sets}" if tally.sets else ""
    entries = f"{count} {one.among[0].entry}{'' if count == 1 else 's'}{beside}"
    were = {0: "no reference was", 1: "1 reference was"}.get(refs, f"{refs} references were")
    whom = list(dict.fromkeys(f"{w.author}() at {w.author.source}" for w in one.others))
    who = f", by {' and '.join(whom[:_MOST_NAMED])}" if whom else ""
    return f"{places} {did} {entries} of its folio, and {were} {verb} in that call{who}"


def reported_entry(case: Case) -> Iterator[Sentence]:
    """Yield that the kernel reported a PTE with the page's number as no page's: it was set, then,
    as one that no rmap goes with (special, or written over)."""
    found = by_the_report(case)
    if found is not None and [one.what for one in reported(case)] == [What.RMAP_WITHOUT_PTE]:
        yield Sentence(f"But {found[0]}: such a PTE maps no page that is counted.", found[1])


def _taken_for(one: LeftOver, pfn: int | None) -> Iterator[Sentence]:
    """Yield who called the function that took a reference: one of them had it to drop."""
    if one.what is not What.GET_WITHOUT_PUT or len({by(write) for write in one.among}) > 1:
        return
    callers = [f"{frame}() at {frame.source}" for frame in callers_of(one.among[0])]
    if callers:
        text = f"It took it for {', called by '.join(callers[:MOST_CALLERS])}."
        yield Sentence(text, refer_writes(one.among, pfn))


def _last_put(case: Case, one: LeftOver) -> Iterator[Sentence]:
    """Yield who had dropped the last reference of a page that was put again: either may be the one
    put too many."""
    if one.what is not What.FREED_TWICE or case.account is None:
        return
    at = one.among[0].write.number
    earlier = [mine for mine in case.account.named.writes if mine.write.number < at]
    freed = [mine for mine in earlier if mine.role == Role.FREED]
    if freed and freed[-1] not in one.among:
        text = f"{by(freed[-1])} had dropped the last one."
        yield Sentence(text, refer_writes(freed[-1:], told(case)))


def _prepared(case: Case, one: LeftOver) -> Iterator[Sentence]:
    """Who else stored to the page in the call that mapped it without a reference.

    A driver's fault handler is over when its page is mapped: its own stores are what shows it.
    """
    if one.what is not What.MAPPED_WITHOUT_GET or case.account is None:
        return
    earlier = before_in_call(case.account.named.writes, one.among[0])
    others = [mine for mine in earlier if author(mine).file and not _is_mm(mine)]
    if others:
        places = list(dict.fromkeys(map(by, others)))[:_MOST_NAMED]
        text = f"In the same call, before that, {' and '.join(places)} stored to its struct page."
        yield Sentence(text, refer_writes(others, told(case)))


def _is_mm(one: NamedWrite) -> bool:
    return author(one).file.startswith(("mm/", "arch/"))


def _freed_before(case: Case) -> Iterator[Sentence]:
    """Who had freed a page whose reference was about to be dropped again."""
    if not put_when_free(case) or case.account is None or not case.account.whole:
        return
    freed = [one for one in case.account.named.writes if one.role == Role.FREED]
    if freed and not freed[-1].write.after_stop and not reported(case):
        text = f"By the recorded life of {page(case.story)}, {by(freed[-1])} had dropped the last"
        yield Sentence(f"{text} one.", refer_writes(freed[-1:], told(case)))


def _late(case: Case) -> Iterator[Sentence]:
    """Yield a removal after the free, of a page that nothing else is wrong with."""
    account = case.account
    if account is None or [one.what for one in reported(case)] != [What.FREED_WHILE_MAPPED]:
        return
    removal = account.late_removal()
    if removal is not None and account.whole:
        text = f"{by(removal)} removed the rmap after that: too late."
        yield Sentence(text, refer_writes((removal,), told(case)))


def sites_by_life(case: Case) -> tuple[CodeSite, ...]:
    """Return where the stores are that went wrong, as code sites.

    Of what has no partner that is the first one; else the store after which a PTE and its rmap did
    not go together, or the one that set a flag, took a page table out of the table above it, or
    freed a page that a PTE still mapped, with the one that had set the PTE.
    """
    facts = reported(case)
    changed = facts and (facts[0].what is What.UNSEEN or facts[0] is unseen_entry(case))
    if changed or taken_from(case) is not None:
        return ()
    led = scribble_store(case)
    if led is not None or facts:
        return (_site(led or facts[0].among[0], "culprit"),)
    if (one := misled_by(case) or flag_store(case)) is not None:
        return (_site(one, _role_of(one)),)
    found = (*_of_lost_table(case), *_of_freed_mapped(case))
    return tuple(_site(write, role) for role, write in found)


def _of_lost_table(case: Case) -> Iterator[tuple[str, NamedWrite]]:
    one, account = case.story.lost_table, case.account
    cleared = account.write(one.cleared) if one is not None and account is not None else None
    if cleared is not None:
        yield "table_taken_out", cleared


def _of_freed_mapped(case: Case) -> Iterator[tuple[str, NamedWrite]]:
    one, account = case.story.freed_mapped, case.account
    if one is None or account is None:
        return
    for role, number in (("pte_set", one.entry), ("freed_mapped", one.freed)):
        if (write := account.write(number)) is not None:
            yield role, write


def _site(one: NamedWrite, role: str) -> CodeSite:
    mine = author(one)
    code = next((frames for frames in (one.frames, *one.callers) if mine in frames), one.frames)
    chain = code[code.index(mine) :] if mine in code else code
    return CodeSite(
        symbol=code[-1].function if code else None,
        offset=one.offset if code is one.frames else None,
        source=mine.source,
        inline_chain=tuple(f"{frame} at {frame.source or '?'}" for frame in chain),
        role=role,
        address=one.write.pc if code is one.frames else None,
    )


def _role_of(one: NamedWrite) -> str:
    """Return the role of a store that has a partner: after it PTE and rmap did not go together, or
    it set a flag that was left."""
    if one.write.slot is not None:
        return "entry_stored"
    return "rmap_stored" if rmap_members(one) else "flag_set"
