"""What a page's recorded life says, in sentences: each store by its function and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zaptrace.explain.naming import flags_of, page
from zaptrace.explain.not_freed import last_reference
from zaptrace.explain.page_account import PageAccount
from zaptrace.explain.predicates import Case, changed_members, is_a
from zaptrace.explain.rests_on import refer_all, whole
from zaptrace.explain.rules import put_when_free
from zaptrace.explain.unseen_entry import Twin, instead_of, taken_from, unseen_entry
from zaptrace.life.calls import ENTRIES, author, before_in_call
from zaptrace.life.left_over import HELD, LeftOver, What
from zaptrace.life.named_life import Frame, NamedWrite
from zaptrace.life.page_life import Change, Role
from zaptrace.life.page_members import PageFields
from zaptrace.life.unseen import changed_unseen
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import CodeSite, Reference, Sentence

_MOST_NAMED = 4
"""Stores that one sentence names."""
_MOST_CALLERS = 3

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
_NO_STORE = "bits of memory flipped, a device wrote there, or a store was not recorded"
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
    return said or bool(changed_members(case))


def life_sentences(case: Case) -> Iterator[Sentence]:
    """Yield who did what to the page that has no partner, as recorded."""
    yield from _changed_members(case)
    if case.account is None:
        return
    if (twin := taken_from(case)) is not None:
        yield _mistaken(case, twin)
        return
    pfn = _told(case)
    said: dict[str, list[LeftOver]] = {}
    for one in reported(case):
        said.setdefault(_sentence(one, case), []).append(one)
    for number, (text, facts) in enumerate(said.items()):
        start = f"By the recorded life of {_whose(case)}, " if number == 0 else "And "
        times = f" ({len(facts)} times)" if len(facts) > 1 else ""
        yield Sentence(
            f"{start}{text}{times}.",
            _refer((w for one in facts for w in (*one.among, *one.sets)), pfn),
        )
        yield from _taken_for(facts[0], pfn)
        yield from _prepared(case, facts[0])
    yield from _of_the_wrong_page(case)
    yield from _entry(case)
    yield from _late(case)
    yield from _flag(case)
    yield from _freed_before(case)


def _told(case: Case) -> int | None:
    """Return the page whose life is known: the first one of a folio that is wrong as a whole."""
    return case.story.pfn if case.account is None else case.account.named.life.pfn


def _whose(case: Case) -> str:
    told = _told(case)
    if told is None or told == case.story.pfn:
        return page(case.story)
    return f"pfn {told:#x}, its folio's first page"


def _changed_members(case: Case) -> Iterator[Sentence]:
    """Yield which members of struct pages no store had changed: of this page's, and of others'."""
    lives = case.evidence.lives
    for one in lives.changed_unseen() if lives is not None else ():
        was = "was never stored to"
        if one.was is not None:
            was = f"was {_number(one.was, one.name)} after the last store to it"
        yield Sentence(
            f"By the recording {one.name} of pfn {one.pfn:#x} {was}, and in the dump it is "
            f"{_number(one.now, one.name)}: no recorded store had done that: {_NO_STORE}.",
            whole(case.evidence, "audit") or (Reference("end", case.evidence.ended),),
        )


def _mistaken(case: Case, twin: Twin) -> Sentence:
    """Return that the rmap was removed for a PTE that had been another page's."""
    rests_on = _refer((twin.removed,), case.story.pfn) + _refer((twin.cleared,), twin.pfn)
    return Sentence(
        f"By the recorded lives of {page(case.story)} and of pfn {twin.pfn:#x}, whose number "
        f"differs in one bit, {_by(twin.cleared)} cleared a PTE that had been set for the latter, "
        f"and {_by(twin.removed)} removed the rmap of the former for it: the PTE had changed, and "
        f"no recorded store had done that: {_NO_STORE}.",
        rests_on,
    )


def _of_the_wrong_page(case: Case) -> Iterator[Sentence]:
    """Yield which page's rmap should have been removed instead: a zap may have taken the wrong
    page, or been led to it by a PTE or a struct page that was written over."""
    twin = instead_of(case)
    if twin is not None:
        rests_on = _refer((twin.cleared,), twin.pfn) + _refer((twin.removed,), case.story.pfn)
        yield Sentence(
            f"In the same call {_by(twin.cleared)} cleared a PTE of pfn {twin.pfn:#x}, whose rmap "
            "had not been removed by then: the wrong page's was, whatever led to that one.",
            rests_on,
        )


def freed_with_a_pte(case: Case) -> Iterator[Sentence]:
    """Yield that the page was freed while a PTE mapped it, and by whom."""
    one, account = case.story.freed_mapped, case.account
    if one is None or account is None:
        return
    freed, entry = account.write(one.freed), account.write(one.entry)
    if freed is not None and entry is not None:
        why = "" if settled(case) else "; nothing recorded says why"
        yield Sentence(
            f"{_by(freed)} freed {page(case.story)} while a {entry.entry} still mapped it, which "
            f"{_by(entry)} had set{why}.",
            _refer((freed, entry), case.story.pfn),
        )


def table_lost(case: Case) -> Iterator[Sentence]:
    """Yield who took the page table out of the table above it."""
    one, account = case.story.lost_table, case.account
    cleared = account.write(one.cleared) if one is not None and account is not None else None
    if one is not None and cleared is not None:
        yield Sentence(
            f"{_by(cleared)} took the page table in {page(case.story)} out of the table above it, "
            "and nothing freed it after that, though the table above it was freed.",
            _refer((cleared,), case.story.pfn),
        )


def _sentence(one: LeftOver, case: Case) -> str:
    assert case.account is not None
    fields = case.account.fields
    places = list(dict.fromkeys(_by(write) for write in one.among))[:_MOST_NAMED]
    first = one.among[0]
    if one.what is What.UNSEEN:
        _, counter = changed_unseen(one.among) or (first, "a counter")
        return (
            f"its {counter.removeprefix('_')} had changed when {_by(first)} stored to it, and no "
            f"recorded store had done that: {_NO_STORE}"
        )
    if one is unseen_entry(case):
        return (
            f"its PTE had changed when {_by(first)} cleared it, and no recorded store had done "
            f"that: {_NO_STORE}"
        )
    if one.what is What.STRAY:
        return f"{_by(first)} stored into its struct page: {_changes(first, fields)}"
    if one.what in _ONE_OF:
        said = f"one of these {_ONE_OF[one.what]}: {', '.join(places)}"
        if len(places) == 1:
            said = f"{places[0]} {_ONE_OF[one.what]}"
        made = list(dict.fromkeys(map(_by, one.sets)))[:_MOST_NAMED]
        return (
            f"{said}, or {_SAID[What.MAPPED_WITHOUT_GET].format(by=' or '.join(made))}"
            if made
            else said
        )
    return one.of_entry(_SAID[one.what]).format(by=" or ".join(places))


def _taken_for(one: LeftOver, pfn: int | None) -> Iterator[Sentence]:
    """Yield who called the function that took a reference: one of them had it to drop."""
    if one.what is not What.GET_WITHOUT_PUT or len({_by(write) for write in one.among}) > 1:
        return
    callers = [f"{frame}() at {frame.source}" for frame in _callers(one.among[0])]
    if callers:
        text = f"It took it for {', called by '.join(callers[:_MOST_CALLERS])}."
        yield Sentence(text, _refer(one.among, pfn))


def entry_store(case: Case) -> NamedWrite | None:
    """Return the store that put a (swap) PTE where the page's rmap does not lead, as far as the
    page tables' stores are known."""
    account = case.account
    wrong = is_a(case.story.finding, FindingClass.WRONG_RMAP)
    return account.entry if account is not None and account.whole and wrong else None


def _entry(case: Case) -> Iterator[Sentence]:
    """Yield who stored the (swap) PTE that the rmap does not lead to."""
    one = entry_store(case)
    finding = case.story.finding
    if one is None or finding is None:
        return
    what = "PTE" if finding.ptes else "swap entry"
    callers = [f"{frame}() at {frame.source}" for frame in _callers(one)][:_MOST_CALLERS]
    text = ", called by ".join((f"That {what} was last stored by {_by(one)}", *callers))
    yield Sentence(f"{text}.", _refer((one,), _told(case)))


def _callers(one: NamedWrite) -> list[Frame]:
    """Return the functions outside the one that did it, innermost first, up to the kernel's
    entry."""
    chain, by = one.chain, author(one)
    outside = chain[chain.index(by) + 1 :] if by in chain else ()
    return [frame for frame in outside if frame.is_code and frame.function not in ENTRIES]


def _prepared(case: Case, one: LeftOver) -> Iterator[Sentence]:
    """Who else stored to the page in the call that mapped it without a reference.

    A driver's fault handler is over when its page is mapped: its own stores are what shows it.
    """
    if one.what is not What.MAPPED_WITHOUT_GET or case.account is None:
        return
    earlier = before_in_call(case.account.named.writes, one.among[0])
    others = [mine for mine in earlier if author(mine).file and not _is_mm(mine)]
    if others:
        places = list(dict.fromkeys(map(_by, others)))[:_MOST_NAMED]
        text = f"In the same call, before that, {' and '.join(places)} stored to its struct page."
        yield Sentence(text, _refer(others, _told(case)))


def _is_mm(one: NamedWrite) -> bool:
    return author(one).file.startswith(("mm/", "arch/"))


def _freed_before(case: Case) -> Iterator[Sentence]:
    """Who had freed a page whose reference was about to be dropped again."""
    if not put_when_free(case) or case.account is None or not case.account.whole:
        return
    freed = [one for one in case.account.named.writes if one.role == Role.FREED]
    if freed and not freed[-1].write.after_stop and not reported(case):
        text = f"By the recorded life of {page(case.story)}, {_by(freed[-1])} had dropped the last"
        yield Sentence(f"{text} one.", _refer(freed[-1:], _told(case)))


def _late(case: Case) -> Iterator[Sentence]:
    """Yield a removal after the free, of a page that nothing else is wrong with."""
    account = case.account
    if account is None or [one.what for one in reported(case)] != [What.FREED_WHILE_MAPPED]:
        return
    removal = account.late_removal()
    if removal is not None and account.whole:
        text = f"{_by(removal)} removed the rmap after that: too late."
        yield Sentence(text, _refer((removal,), _told(case)))


def _flag(case: Case) -> Iterator[Sentence]:
    """Yield who set the flags for which bad_page() refused the page."""
    story, account = case.story, case.account
    flags = flags_of(story.reason, story.state, story.finding)
    if account is None or flags is None or reported(case):
        return
    if (last := last_reference(case)) is not None:
        yield Sentence(
            f"By the recorded life of {page(story)}, it was not freed since it was allocated: "
            f"{_by(last)} was the last to store to its reference count, which is not 0.",
            _refer((last,), story.pfn),
        )
        return
    for name in flags.removesuffix(" set").partition(" ")[2].split(", "):
        setter = _setter(account, name)
        if setter is not None:
            text = f"{_by(setter)} set flag {name}, which was not cleared before the free."
            if any("clear" in (frame.function or "") for frame in setter.frames):
                text = (
                    f"Flag {name} was set when {_by(setter)} cleared another, and no recorded "
                    f"store had set it: {_NO_STORE}."
                )
            yield Sentence(text, _refer((setter,), _told(case)))


def _setter(account: PageAccount, name: str) -> NamedWrite | None:
    """Return the last store that set a flag."""
    found = None
    for one in account.named.writes:
        change = one.write.change("flags")
        if change is not None and f"+{name}" in _flags(change, account.fields):
            found = one
    return found


def _flags(change: Change, fields: PageFields) -> list[str]:
    return [] if change.before is None else fields.flag_changes(change.before, change.after)


def _by(one: NamedWrite) -> str:
    """Return `wp_page_copy() at mm/memory.c:3424`."""
    frame = author(one)
    return f"{frame}()" + (f" at {frame.source}" if frame.source else "")


def _changes(one: NamedWrite, fields: PageFields) -> str:
    changes = [change for change in one.write.changes if change.stored]
    return ", ".join(_change(change, fields) for change in changes)


def _change(change: Change, fields: PageFields) -> str:
    if change.name == "flags" and (flags := _flags(change, fields)):
        return f"flags {' '.join(flags)}"
    was = "?" if change.before is None else _number(change.before, change.name)
    return f"{change.name} went from {was} to {_number(change.after, change.name)}"


def _number(value: int, name: str) -> str:
    return str(value) if name.endswith("count") else f"{value % 2**64:#x}"


def _refer(writes: Iterable[NamedWrite], pfn: int | None) -> tuple[Reference, ...]:
    return refer_all(
        Reference(
            "life",
            one.role or None,
            index=one.write.number,
            time_ns=one.write.ns,
            cpu=one.write.cpu,
            pfn=pfn,
        )
        for one in writes
    )


def culprit(case: Case) -> CodeSite | None:
    """Return where the first of those stores is, as a code site; else that of a (swap) PTE."""
    facts = reported(case)
    changed = facts and (facts[0].what is What.UNSEEN or facts[0] is unseen_entry(case))
    if changed or taken_from(case) is not None:
        return None
    one = facts[0].among[0] if facts else entry_store(case)
    if one is None:
        return None
    by = author(one)
    code = next((frames for frames in (one.frames, *one.callers) if by in frames), one.frames)
    chain = code[code.index(by) :] if by in code else code
    return CodeSite(
        symbol=code[-1].function if code else None,
        offset=one.offset if code is one.frames else None,
        source=by.source,
        inline_chain=tuple(f"{frame} at {frame.source or '?'}" for frame in chain),
        role="culprit" if facts else "entry_stored",
        address=one.write.pc if code is one.frames else None,
    )
