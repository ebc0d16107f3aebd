"""The bar of panes, where only one of them is seen at a time."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widgets import Static

from tui.panes.line_view import LineView


class Tabs(Static):
    """The panes that there are, the seen one in brackets."""

    def __init__(self) -> None:
        super().__init__(id="tabs", markup=False)
        self._said = ""

    def show(self, views: Sequence[LineView], seen: LineView | None) -> None:
        """Draw it; where there is no room, without what the panes say beside their names."""
        titles = [(view.tab(), view is seen) for view in views]
        if self.size and len(_line(titles)) > self.content_size.width:
            titles = [(" ".join(title.split()[:2]), is_seen) for title, is_seen in titles]
        said = _line(titles)
        if said != self._said:
            self._said = said
            self.update(said, layout=False)


def _line(titles: list[tuple[str, bool]]) -> str:
    return " ".join(f"[{title}]" if is_seen else f" {title} " for title, is_seen in titles)
