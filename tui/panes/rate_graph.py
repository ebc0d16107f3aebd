"""Rates by kind: one row a kind, a tenth of a second or more a cell, the newest at the right."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from tui.feed.rates import BUCKETS
from tui.feed.snapshot import Snapshot
from tui.format import sparkline
from zaptrace.model.events import KINDS, Kind

_NAMED = 14  # columns of mark and name
_NUMBERS = 20  # columns of rate and total
_PER_SECOND = 10  # buckets
_ALWAYS = tuple(kind for kind, row in KINDS.items() if row.charted)


class RateGraph(Widget):
    """Each row has its own scale; the numbers beside it compare."""

    DEFAULT_CSS = """
    RateGraph { height: auto; background: $surface; color: $foreground; }
    RateGraph > .rate--zap { color: $text-secondary; }
    RateGraph > .rate--rmap { color: $text-primary; }
    RateGraph > .rate--warn { color: $text-warning; }
    RateGraph > .rate--bad { color: $text-error; }
    RateGraph > .rate--dim { text-style: dim; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"rate--{name}" for name in ("zap", "rmap", "warn", "bad", "dim")
    }

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.snapshot = Snapshot()

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        before, rows = self.snapshot, len(self._kinds())
        self.snapshot = snapshot
        if before.totals != snapshot.totals or not np.array_equal(before.rates, snapshot.rates):
            self.refresh(layout=len(self._kinds()) != rows)

    def render(self) -> Text:
        """See Textual."""
        text = Text(no_wrap=True, overflow="crop")
        width = max(self.content_size.width - _NAMED - _NUMBERS - 2, 1)
        for number, kind in enumerate(self._kinds()):
            if number:
                text.append("\n")
            self._row(text, kind, width)
        self.border_title = f"Events by kind · last {_span(width)} s"
        return text

    def _kinds(self) -> list[Kind]:
        seen = self.snapshot.totals
        return [kind for kind in Kind if kind in _ALWAYS or seen.get(kind)]

    def _row(self, text: Text, kind: Kind, width: int) -> None:
        column = self.snapshot.rates[:, kind].astype(np.uint64)
        total = self.snapshot.totals.get(kind, 0)
        style = self._style(KINDS[kind].style) if total else self._style("dim")
        cells = column[-_span(width) * _PER_SECOND :]
        bars = sparkline(cells.reshape(-1, _joined(width)).sum(axis=1).astype(np.uint64))
        rate = int(column[-_PER_SECOND:].sum())
        text.append(f"{KINDS[kind].mark} {kind.name.lower():<{_NAMED - 2}}", style)
        text.append(bars[-width:].rjust(width), style)
        text.append(f" {rate:>8,}/s {total:>10,}", Style(bold=bool(total)))

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"rate--{name}", partial=True)


def _joined(width: int) -> int:
    """Buckets a cell: a whole number of seconds is shown, ten at least."""
    return 5 if width < 30 else 2 if width < 80 else 1


def _span(width: int) -> int:
    """Whole seconds that fit."""
    return max(min(width * _joined(width), BUCKETS) // _PER_SECOND, 1)
