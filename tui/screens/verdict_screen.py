"""The verdict page: what went wrong, in which order, where in the source, with what proof."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from tui.findings_text import counters
from tui.format import clock
from tui.panes.key_bar import KeyBar
from tui.timeline import PageName, StoryWanted
from zaptrace.explain.verdict_table import row_of
from zaptrace.model.findings import Finding
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind
from zaptrace.report.site_roles import chain_of, marked_line, places, shared_tail, title
from zaptrace.report.words import plain, task


class VerdictScreen(Screen[None]):
    """Scrolls; Escape goes back to the steps, the console and the events."""

    DEFAULT_CSS = """
    VerdictScreen #verdict { padding: 0 2; }
    VerdictScreen #headline { background: $panel; padding: 0 2; text-style: bold; height: auto; }
    VerdictScreen.-bug #headline { background: $error; color: $text; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "Back"),
        Binding("r", "report", "Report"),
        Binding("enter", "story", "Page's story"),
    ]

    def __init__(self, verdict: Verdict, report: str) -> None:
        super().__init__()
        self.verdict = verdict
        self._report = report
        self._shows_report = False
        self.set_class(verdict.kind not in (VerdictKind.CLEAN, VerdictKind.UNEXPLAINED), "-bug")

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Static(headline(self.verdict), id="headline", markup=False)
        with VerticalScroll():
            yield Static(page(self.verdict), id="verdict")
        yield KeyBar()

    def on_mount(self) -> None:
        """Give the keys to what scrolls."""
        self.query_one(VerticalScroll).focus()

    def action_story(self) -> None:
        """Open the timeline of the verdict's page."""
        if self.verdict.pfn is not None:
            self.post_message(StoryWanted(PageName(self.verdict.pfn)))

    def action_report(self) -> None:
        """Show the text report, as it would be mailed; again: go back to the page."""
        self._shows_report = not self._shows_report
        body = Text(self._report) if self._shows_report else page(self.verdict)
        self.query_one("#verdict", Static).update(body)
        self.query_one(VerticalScroll).scroll_home(animate=False)


def headline(verdict: Verdict) -> str:
    """Return the verdict in one line: mark, words, page, task."""
    mark = {VerdictKind.CLEAN: "✓", VerdictKind.UNEXPLAINED: "?"}.get(verdict.kind, "✖")
    said = [f"{mark} {row_of(verdict).headline}"]
    if verdict.pfn is not None:
        said.append(f"pfn {verdict.pfn:#x}")
    if verdict.comm is not None or verdict.pid is not None:
        said.append(task(verdict.comm, verdict.pid))
    return " · ".join(said)


def page(verdict: Verdict) -> RenderableType:
    """Summary, order, sites, proof, doubts; what there is nothing of is left out."""
    parts: list[RenderableType] = [Text(), Text(plain(verdict.facts))]
    for heading, rows in (
        ("What the evidence leaves open", _bullets(map(plain, verdict.readings))),
        ("What happened, in order", _order(verdict)),
        ("Where", _sites(verdict.sites)),
        ("Proof: page tables against counters", _bullets(map(_finding, verdict.proof))),
        ("What this evidence cannot settle", _bullets(map(plain, verdict.doubts))),
    ):
        if rows is not None:
            parts += [Text(), Text(heading, "bold underline"), Padding(rows, (0, 0, 0, 2))]
    return Group(*parts)


def _order(verdict: Verdict) -> Table | None:
    if not verdict.order:
        return None
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1)
    previous: int | None = None
    for step, where in zip(verdict.order, places(verdict), strict=True):
        known = step.time_ns is not None and previous is not None
        since = f"{((step.time_ns or 0) - (previous or 0)) / 1000:+,.1f} µs" if known else ""
        cpu = "" if step.cpu is None else f"  [cpu {step.cpu}]"
        what = Text(plain(step.what)).append(cpu, "dim")
        if where:
            what.append(f"\n{plain(where)}", "dim")
        grid.add_row(clock(step.time_ns), since, what)
        previous = step.time_ns if step.time_ns is not None else previous
    return grid


def _sites(sites: tuple[CodeSite, ...]) -> Table | None:
    if not sites:
        return None
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for site in sites:
        offset = "" if site.offset is None else f"+{site.offset:#x}"
        function, source = marked_line(site)
        where = Text(plain(source or "?"), "bold").append(f"  {plain(function)}()", "not bold")
        where.append(f"  {plain(site.symbol or '?')}{offset}", "not bold dim")
        known = shared_tail(site, sites[0])
        for link in chain_of(site)[: -known or None]:
            where.append(f"\n{plain(' at '.join(link))}", "not bold dim")
        if known:
            where.append(f"\n… and from {plain(chain_of(site)[-known][0])} on as above", "dim")
        grid.add_row(title(site), where)
    return grid


def _finding(finding: Finding) -> str:
    page_frame = "-" if finding.pfn is None else f"{finding.pfn:#x}"
    return f"pfn {page_frame}: {finding.cls.value.replace('_', ' ')}; {counters(finding)}" + (
        f"; {plain(finding.note)}" if finding.note else ""
    )


def _bullets(lines: Iterable[str]) -> Table | None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    for line in lines:
        grid.add_row("•", line)
    return grid if grid.row_count else None
