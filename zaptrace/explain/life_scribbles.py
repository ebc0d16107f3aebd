"""Which stores wrote over a struct page, or led the kernel to another one, by its recorded life."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.life_naming import NO_STORE, by, number, refer_writes
from zaptrace.explain.naming import page
from zaptrace.explain.predicates import Case, planted_member
from zaptrace.explain.rests_on import whole
from zaptrace.explain.unseen_entry import Twin, instead_of
from zaptrace.life.named_life import NamedWrite
from zaptrace.model.verdict import Reference, Sentence


def changed_sentences(case: Case) -> Iterator[Sentence]:
    """Yield which members of struct pages no store had changed: of this page's, and of others'."""
    lives = case.evidence.lives
    for one in lives.changed_unseen() if lives is not None else ():
        was = "was never stored to"
        if one.was is not None:
            was = f"was {number(one.was, one.name)} after the last store to it"
        yield Sentence(
            f"By the recording {one.name} of pfn {one.pfn:#x} {was}, and in the dump it is "
            f"{number(one.now, one.name)}: no recorded store had done that: {NO_STORE}.",
            whole(case.evidence, "audit") or (Reference("end", case.evidence.ended),),
        )


def planted_store(case: Case) -> NamedWrite | None:
    """Return the store of what the kernel died of."""
    one = planted_member(case)
    return case.account.write(one.stored) if one is not None and case.account is not None else None


def scribble_store(case: Case) -> NamedWrite | None:
    """Return the store of what the kernel died of, or that led it to the wrong page."""
    twin = instead_of(case)
    return planted_store(case) or (twin.led if twin is not None else None)


def planted_sentences(case: Case) -> Iterator[Sentence]:
    """Yield who stored what the kernel died of."""
    one, store = planted_member(case), planted_store(case)
    if one is None or store is None:
        return
    yield Sentence(
        f"The kernel oopsed when it followed {one.value:#x}, which was in {one.name} of the struct "
        f"page of {page(case.story)}. By the recording {by(store)} had stored it there, and "
        "nothing changed it after that.",
        refer_writes((store,), case.story.pfn) or (Reference("end", case.evidence.ended),),
    )


def mistaken(case: Case, twin: Twin) -> Sentence:
    """Return that the rmap was removed for a PTE that had been another page's."""
    rests_on = refer_writes((twin.removed,), case.story.pfn) + refer_writes(
        (twin.cleared,), twin.pfn
    )
    return Sentence(
        f"By the recorded lives of {page(case.story)} and of pfn {twin.pfn:#x}, whose number "
        f"differs in one bit, {by(twin.cleared)} cleared a PTE that had been set for the latter, "
        f"and {by(twin.removed)} removed the rmap of the former for it: the PTE had changed, and "
        f"no recorded store had done that: {NO_STORE}.",
        rests_on,
    )


def wrong_page_sentences(case: Case) -> Iterator[Sentence]:
    """Yield which page's rmap should have been removed instead: a zap may have taken the wrong
    page, or been led to it by a PTE or a struct page that was written over."""
    twin = instead_of(case)
    if twin is not None:
        rests_on = refer_writes((twin.cleared,), twin.pfn) + refer_writes(
            (twin.removed,), case.story.pfn
        )
        yield Sentence(
            f"In the same call {by(twin.cleared)} cleared a PTE of pfn {twin.pfn:#x}, whose rmap "
            "had not been removed by then: the wrong page's was, "
            f"{'for' if twin.led else 'whatever led to that one.'}{_of_a_tail(twin)}",
            rests_on + (refer_writes((twin.led,), twin.pfn) if twin.led else ()),
        )


def _of_a_tail(twin: Twin) -> str:
    """Return who had made a page another's tail."""
    change = twin.led.write.change("lru.next") if twin.led is not None else None
    if change is None or twin.led is None:
        return ""
    return (
        f" {by(twin.led)} had stored {change.after % 2**64:#x} to its lru.next, of which "
        "the lowest bit makes it a tail page of the folio at that address."
    )
