"""What may be said of a large folio's references when the guest was stopped."""

from __future__ import annotations

from tests.unit.life.builders import page_fields
from tests.unit.life.large_folios import PAGES, LargeFolio
from zaptrace.explain.page_account import PageAccount
from zaptrace.life.left_over import What


def account(folio: LargeFolio, *, over: bool = False) -> list[What]:
    named = folio.folio()
    found = PageAccount(named, page_fields(), folio.references(), whole=True, over=over)
    return [one.what for one in found.facts if one.what is What.MAPPED_WITHOUT_GET]


def test_entries_that_were_set_last_may_still_get_their_references() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.fork(PAGES - 1)
    assert account(folio) == []
    assert account(folio, over=True) == [What.MAPPED_WITHOUT_GET]


def test_entries_that_others_were_stored_after_do_not() -> None:
    """The task that forks waits for its child, and stores nothing any more."""
    folio = LargeFolio()
    folio.drain()
    folio.fork(PAGES - 1)
    folio.zaps(PAGES, table=1)
    assert account(folio) == [What.MAPPED_WITHOUT_GET]
