"""The life of a run's page as the HTML report and the TUI show it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.life_lines import Lives
    from zaptrace.report.life import ShownLife
    from zaptrace.runs.folder import RunFolder
    from zaptrace.runs.run_life import RunLife


def lives_of(folder: RunFolder) -> Lives | None:
    """Return what reads the life of one of a run's pages; None where the run has recorded none."""
    return functools.partial(read_life, folder) if folder.life.is_file() else None


def read_life(folder: RunFolder, pfn: int) -> ShownLife:
    """Return the life of one page of a run.

    Raises:
        BadInput: the run has recorded none, has not kept this page's, or its file is damaged.
    """
    from zaptrace.runs.run_life import open_life

    return shown_life(open_life(folder), pfn)


def shown_life(lives: RunLife, pfn: int) -> ShownLife:
    """Return the life of one page.

    Raises:
        BadInput: that page's was not kept.
    """
    from zaptrace.report.life import ShownLife, completeness_lines

    account = lives.account(pfn, lives.folder.audit())
    facts = account.facts if account is not None else ()
    return ShownLife(
        account.named if account is not None else lives.page(pfn),
        lives.life.fields,
        tuple(one.sentence() for one in facts),
        frozenset(store.write.number for one in facts for store in one.among),
        (*completeness_lines(lives.complete, pfn), *lives.unseen),
    )
