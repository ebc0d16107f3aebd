"""Who stored the link at which the audit finds a free list broken, by the page's recorded life."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.life_naming import refer_writes, told, with_callers
from zaptrace.explain.predicates import Case
from zaptrace.life.folio_pages import LINK
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import Sentence

_MOST_NAMED = 2
"""A page that was added twice was added by two."""


def link_sentences(case: Case) -> Iterator[Sentence]:
    """Yield who stored the link last, and who before that."""
    finding, account = case.story.finding, case.account
    if finding is None or finding.cls is not FindingClass.FREE_LIST_BROKEN:
        return
    if account is None or not account.whole:
        return
    stores = [
        one
        for one in account.named.writes
        if one.write.change(LINK) is not None and not one.write.after_stop
    ][-_MOST_NAMED:]
    if stores:
        said = "; before that by ".join(with_callers(one) for one in reversed(stores))
        yield Sentence(f"Its {LINK} was last stored by {said}.", refer_writes(stores, told(case)))
