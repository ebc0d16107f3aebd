"""The help page: keys, columns, marks, and the filter language."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.findings_text import LABELS
from zaptrace.model.events import KINDS
from zaptrace.report.finding_meanings import MEANINGS

KEYS = (
    ("space", "hold the events, follow again; in a replay: the clock"),
    ("f", "follow the newest event"),
    ("/", "filter the events; Escape clears the filter"),
    ("Enter", "the page's story: every event about it, with stacks and counters"),
    ("1 2 3", "events, suspects, console; Tab goes round"),
    ("n N", "in the console: next, previous splat"),
    ("d", "dark or light"),
    ("^p", "all commands"),
    ("q", "quit"),
)
REPLAY_KEYS = (
    (".", "one event more"),
    ("< >", "back, ahead by a twentieth"),
    ("- +", "half, double speed"),
    ("0", "from the beginning"),
)
COLUMNS = (
    ("clock s", "boot clock, seconds"),
    ("task", "comm/pid of the thread"),
    ("pfn", "page frame number; +3: it and the next, 3 pages in all"),
    ("map", "mapcount before the event (page->_mapcount + 1)"),
    ("ref", "page->_refcount"),
    ("score", "how badly a page's story disagrees: the sum of what is wrong with it"),
)
AUDIT = (
    ("4", "what the audit of the run's dump found; Tab comes by, too"),
    ("PTEs", "page-table entries that the audit found for the page"),
    ("map, ref", "mapcount (page->_mapcount + 1) and page->_refcount in the dump"),
    ("owner", "who maps the page, or did; +2: and two more"),
    *((label, MEANINGS[cls]) for cls, label in LABELS.items()),
)
LIFE = (
    ("l", "in a page's story: every store to its struct page, by line; again: the events alone"),
    ("✖", "a store that has no partner, or one of those that may be the one"),
)
FILTERS = (
    ("pid=41 comm=mount", "both; also: or, not, ( )"),
    ("kind=bad_page", "a kind; bad_* for several"),
    ("comm=kworker*", "* stands for anything"),
    ("pfn=0xa80", "events about that page, ranges included"),
    ("mapcount>0", "= != < <= > >=; also mm addr nr cpu refcount ..."),
    ("mount", "part of a comm or of a kind"),
    ("2688", "that pid or that pfn"),
)


class HelpScreen(ModalScreen[None]):
    """Everything on one page that scrolls."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen VerticalScroll {
        width: 90%; max-width: 92; height: 90%; max-height: 56;
        border: round $primary; background: $surface; color: $foreground; padding: 0 2;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q", "app.pop_screen", "Close"),
    ]

    def __init__(self, *, replay: bool, audit: bool = False, life: bool = False) -> None:
        super().__init__()
        self._life = life
        self._audit = audit
        self._replay = replay

    def compose(self) -> ComposeResult:
        """See Textual."""
        with VerticalScroll() as scroll:
            scroll.border_title = "Help"
            scroll.border_subtitle = "Escape closes"
            yield Static(_page(self._replay, self._audit, self._life))

    def on_mount(self) -> None:
        """Give the keys to what scrolls."""
        self.query_one(VerticalScroll).focus()


def _page(replay: bool, audit: bool, life: bool) -> RenderableType:
    kinds = tuple((f"{row.mark} {kind.name.lower()}", row.help) for kind, row in KINDS.items())
    parts: list[RenderableType] = []
    for title, rows in (
        ("Keys", KEYS),
        ("Replay", REPLAY_KEYS if replay else ()),
        ("Audit", AUDIT if audit else ()),
        ("Life", LIFE if life else ()),
        ("Events", kinds),
        ("Columns", COLUMNS),
        ("Filter", FILTERS),
    ):
        if rows:
            parts += [Text(title, "bold underline"), Padding(_rows(rows), (0, 0, 1, 0))]
    return Group(*parts)


def _rows(rows: tuple[tuple[str, str], ...]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=19, no_wrap=True)
    grid.add_column(ratio=1)
    for name, said in rows:
        grid.add_row(Text(name, "bold"), Text(said))
    return grid
