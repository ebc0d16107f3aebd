"""The header: what is watched, how well, and what is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text
from textual.widgets import Static

from tui.feed.playback import Clocked
from tui.feed.snapshot import Snapshot
from tui.format import clock as seconds
from zaptrace.report.words import count, cut, damage, plain

_NS = 1_000_000_000


class Header(Static):
    """Two lines, and one for each kind of trouble: lost, damaged, broken, missing, noted."""

    DEFAULT_CSS = """
    Header { height: auto; background: $panel; color: $foreground; padding: 0 1; }
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self.clock: Clocked | None = None
        self.state: str | None = None
        """What is happening, where the source does not report it."""
        self.snapshot = Snapshot()
        self._title = title
        self._said = Text()

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        self.snapshot = snapshot
        self.draw()

    def draw(self) -> None:
        """Write it anew; the screen's layout changes only with the number of lines."""
        text = self._text(max(self.size.width - 2, 1))
        if text != self._said:
            lines, before = text.plain.count("\n"), self._said.plain.count("\n")
            self._said = text
            self.update(text, layout=lines != before)

    def on_mount(self) -> None:
        """Something stands there from the beginning."""
        self.draw()

    def on_resize(self) -> None:
        """Bars are as wide as the screen."""
        self.draw()

    def _text(self, width: int) -> Text:
        title = f"zaptrace {self._title}"
        state = self._state()
        said = Text()
        said.append(cut(f"{title}  {subject(self.snapshot.meta)}", width))
        said.stylize("bold", 0, len(title))
        said.append("\n" + cut(f"{state}  {self._numbers()}", width))
        said.stylize("bold", said.plain.index("\n") + 1, said.plain.index("\n") + 1 + len(state))
        for line in self._trouble():
            said.append("\n")
            said.append(cut(line, width).ljust(width), "bold reverse")
        for line in (*gaps(self.snapshot.meta), *noted(self.snapshot.meta)):
            said.append("\n" + cut(line, width))
        return said

    def _state(self) -> str:
        clock = self.clock
        if self.state is not None:
            return self.state
        if clock is None:
            return "■ ENDED" if self.snapshot.ended else "● LIVE"
        if self._over():
            return "■ END"
        return "‖ PAUSED" if clock.paused else f"▸ {clock.speed:g}×"

    def _over(self) -> bool:
        clock = self.clock
        return bool(self.snapshot.ended) or (clock is not None and clock.position >= clock.duration)

    def _numbers(self) -> str:
        shot, clock = self.snapshot, self.clock
        if self.state is not None:
            return ""
        span = 0 if shot.span_ns is None else shot.span_ns
        if clock is None:
            elapsed = f"{span / _NS:.1f} s"
        else:
            elapsed = f"{seconds(clock.position)} of {seconds(clock.duration)} s"
        lost = f"LOST {shot.lost:,}" if shot.lost else "lost 0"
        said = [elapsed, f"{shot.events:,} events"]
        if not self._over():
            said.append(f"{shot.per_second:,}/s")
        said.append(lost)
        if shot.suspected:
            said.append(f"✖ {count(shot.suspected, 'suspect')}")
        return " · ".join(said)

    def _trouble(self) -> list[str]:
        shot = self.snapshot
        lines = []
        if shot.lost:
            lines.append(
                f"▲ LOST {shot.lost:,} event{'s' if shot.lost > 1 else ''}: "
                "what you see is not all that happened"
            )
        if damaged := ", ".join(damage(shot.meta)):
            lines.append(f"▲ not read: {damaged}: what you see is not all that was recorded")
        if shot.ended and shot.ended.startswith("the source broke"):
            lines.append(f"▲ {plain(shot.ended)}")
        return lines


def subject(meta: Mapping[str, Any]) -> str:
    """Return the kernel, how it is watched, and at how many sites."""
    said = [plain(str(meta[name])) for name in ("release", "arch", "source") if meta.get(name)]
    sites = _rows(meta.get("sites"))
    if sites:
        inlined = sum(bool(site.get("inlined")) for site in sites)
        said.append(f"{count(len(sites), 'site')} ({inlined} inlined)")
    return " · ".join(said)


def gaps(meta: Mapping[str, Any]) -> list[str]:
    """Return a line about the events that will not come; none when all will."""
    missing = [
        f"{plain(str(gap.get('event')))} ({plain(str(gap.get('why')))})"
        for gap in _rows(meta.get("missing"))
    ]
    return [f"▲ missing: {', '.join(missing)}"] if missing else []


def noted(meta: Mapping[str, Any]) -> list[str]:
    """Return a line with what the source notes, the newest first; none when it notes nothing."""
    noted = meta.get("notes")
    notes = [plain(str(note)) for note in noted] if isinstance(noted, list) else []
    return [f"note: {'; '.join(reversed(notes))}"] if notes else []


def _rows(value: object) -> list[dict[str, Any]]:
    """Return a list of objects out of hostile JSON."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
