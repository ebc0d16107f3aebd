"""Which store set the flags for which bad_page() refused a page, by its recorded life."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.life_naming import (
    NO_STORE,
    by,
    flag_changes,
    refer_writes,
    told,
    with_callers,
)
from zaptrace.explain.naming import flags_of, page
from zaptrace.explain.not_freed import last_reference
from zaptrace.explain.page_account import PageAccount
from zaptrace.explain.predicates import Case
from zaptrace.life.named_life import NamedWrite
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import Sentence

_OF_A_FLAG = {FindingClass.LEFT_LOCKED: "locked", FindingClass.LRU_FLAG_MISMATCH: "lru"}
"""Findings that are about a flag."""


def left_flag(case: Case) -> NamedWrite | None:
    """Return the last store that changed the flag that an audit finds wrong."""
    finding, account = case.story.finding, case.account
    name = _OF_A_FLAG.get(finding.cls) if finding is not None else None
    if name is None or account is None or not account.whole:
        return None
    found = None
    for one in account.named.writes:
        change = one.write.change("flags")
        names = flag_changes(change, account.fields) if change is not None else []
        if f"+{name}" in names or f"-{name}" in names:
            found = one
    return found


def _left_sentence(case: Case) -> Iterator[Sentence]:
    """Yield who changed the flag last that an audit finds wrong."""
    one, finding = left_flag(case), case.story.finding
    if one is None or finding is None:
        return
    name = _OF_A_FLAG[finding.cls]
    did = "set" if _sets(case, one, name) else "cleared"
    yield Sentence(
        f"Flag {name} was last {did} by {with_callers(one)}.", refer_writes((one,), told(case))
    )


def _sets(case: Case, one: NamedWrite, name: str) -> bool:
    change = one.write.change("flags")
    account = case.account
    if account is None or change is None:
        return False
    return f"+{name}" in flag_changes(change, account.fields)


def flag_sentences(case: Case) -> Iterator[Sentence]:
    """Yield who set the flags for which bad_page() refused the page, or which the audit finds
    wrong."""
    yield from _left_sentence(case)
    story, account = case.story, case.account
    flags = flags_of(story.reason, story.state, story.finding)
    if account is None or flags is None:
        return
    if (last := last_reference(case)) is not None:
        yield Sentence(
            f"By the recorded life of {page(story)}, it was not freed since it was allocated: "
            f"{by(last)} was the last to store to its reference count, which is not 0.",
            refer_writes((last,), story.pfn),
        )
        return
    for name, setter in _setters(case, flags):
        text = f"{by(setter)} set flag {name}, which was not cleared before the free."
        if _clears_another(setter):
            text = (
                f"Flag {name} was set when {by(setter)} cleared another, and no recorded "
                f"store had set it: {NO_STORE}."
            )
        yield Sentence(text, refer_writes((setter,), told(case)))


def _setters(case: Case, flags: str) -> Iterator[tuple[str, NamedWrite]]:
    """Yield the flags of `flag writeback, private set`, each with the store that set it."""
    for name in flags.removesuffix(" set").partition(" ")[2].split(", "):
        setter = _setter(case.account, name) if case.account is not None else None
        if setter is not None:
            yield name, setter


def flag_store(case: Case) -> NamedWrite | None:
    """Return the store that set the first flag for which bad_page() refused the page, or the one
    that the audit finds wrong."""
    left, finding = left_flag(case), case.story.finding
    if left is not None and finding is not None:
        return left if _sets(case, left, _OF_A_FLAG[finding.cls]) else None
    flags = flags_of(case.story.reason, case.story.state, case.story.finding)
    if flags is None or last_reference(case) is not None:
        return None
    return next(
        (setter for _, setter in _setters(case, flags) if not _clears_another(setter)), None
    )


def _clears_another(setter: NamedWrite) -> bool:
    return any("clear" in (frame.function or "") for frame in setter.frames)


def _setter(account: PageAccount, name: str) -> NamedWrite | None:
    """Return the last store that set a flag."""
    found = None
    for one in account.named.writes:
        change = one.write.change("flags")
        if change is not None and f"+{name}" in flag_changes(change, account.fields):
            found = one
    return found
