"""The console pane: the guest's serial log, with the kernel's own reports marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType

from tui.format import Piece
from tui.panes.line_view import LineView
from tui.timeline import PageName
from zaptrace.model.splats import Splat
from zaptrace.report.words import plain

MOST_CHARACTERS = 1 << 20
"""Of the log's end; what stands before is not shown."""


LINES_ABOVE = 4
"""Above a headline that was gone to."""
MOST_CLUES = 5
"""Below one headline."""


@dataclass(frozen=True, slots=True)
class ConsoleLog:
    """A log's lines, and the reports in it by the line that they begin on (from 0).

    Attributes:
        clues: which lines are ours: what stands out in the report above.
    """

    lines: tuple[str, ...] = ()
    splats: tuple[tuple[int, Splat], ...] = ()
    clues: frozenset[int] = frozenset()


def read_log(text: str) -> ConsoleLog:
    """Lines and splats of a console's text."""
    from zaptrace.splat import parse_console  # a fifth of the app's start: where there is a log

    text = text[-MOST_CHARACTERS:]
    # The parser counts lines as an editor does.
    lines = text.split("\n")
    splats = [splat for splat in parse_console(text.encode("utf-8", "replace")) if splat.line]
    clean = tuple(plain(line.rstrip("\r").expandtabs()) for line in lines)
    clean = clean[:-1] if clean and not clean[-1] else clean
    begins = [
        (splat.line - 1, splat) for splat in splats if splat.line and splat.line <= len(clean)
    ]
    return _with_clues(clean, begins, _below(splats))


def _below(splats: list[Splat]) -> dict[int, list[str]]:
    """Return what stands out, by the line (from 0) of the first report that it is seen in."""
    from zaptrace.triage import Console, triage

    found: dict[int, list[str]] = {}
    for clue in triage(Console(tuple(splats))):
        cause = f"; likely: {clue.causes[0].what}" if clue.causes else ""
        titles = found.setdefault(clue.lines[0] - 1, [])
        if len(titles) < MOST_CLUES:
            titles.append(f"{clue.title}{cause}")
    return found


def _with_clues(
    lines: tuple[str, ...], begins: list[tuple[int, Splat]], below: dict[int, list[str]]
) -> ConsoleLog:
    """Return the log with each clue below the headline of its report."""
    shown: list[str] = []
    ours: list[int] = []
    moved: dict[int, int] = {}
    for at, line in enumerate(lines):
        moved[at] = len(shown)
        shown.append(line)
        for text in below.get(at, ()):
            ours.append(len(shown))
            shown.append(text)
    splats = tuple((moved[line], splat) for line, splat in begins)
    return ConsoleLog(tuple(shown), splats, frozenset(ours))


class ConsolePane(LineView):
    """Follows the end of the log until the user looks elsewhere."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "splat(1)", "Next splat"),
        Binding("N,p", "splat(-1)", "Previous splat", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log = ConsoleLog()
        self._marked: dict[int, Splat] = {}
        self.entitle("3 Console")

    def show(self, log: ConsoleLog) -> None:
        """Take a newer log."""
        following = self.cursor >= self.count() - 1
        self._log = log
        self._marked = dict(log.splats)
        many = len(log.splats)
        splats = f" · ✖ {many} splat{'s' if many > 1 else ''} (n: next)" if many else ""
        self.entitle(f"3 Console{splats}")
        self.changed()
        if following:
            self.action_last()

    def resized(self) -> None:
        """Keep the end in view while it is followed."""
        if self.cursor >= self.count() - 1:
            self.action_last()

    def chosen(self, line: int) -> Splat | None:
        """Return the report that a line belongs to: the last one that began at or before it."""
        before = [splat for start, splat in self._log.splats if start <= line]
        return before[-1] if before else None

    def page_at(self, line: int) -> PageName | None:
        """See LineView."""
        splat = self.chosen(line)
        return PageName(splat.pfn) if splat and splat.pfn is not None else None

    def action_splat(self, by: int) -> None:
        """Go to the next or the previous report."""
        starts = [line for line, _ in self._log.splats]
        ahead = [line for line in starts if (line - self.cursor) * by > 0]
        if ahead:
            self.go_to(min(ahead) if by > 0 else max(ahead))
            # What belongs to a headline stands below it.
            self.scroll_to(y=max(self.cursor - LINES_ABOVE, 0), animate=False)

    def count(self) -> int:
        """See LineView."""
        return len(self._log.lines)

    def nothing(self) -> str:
        """See LineView."""
        return "the guest has said nothing yet"

    def line(self, index: int, width: int) -> list[Piece]:
        """See LineView."""
        text = self._log.lines[index]
        if index in self._log.clues:
            return [("  ↳ ", "warn"), (text, "warn")]
        if index in self._marked:
            return [("✖ ", "bad"), (text, "bad")]
        return [("  ", ""), (text, "")]
