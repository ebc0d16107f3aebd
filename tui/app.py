"""The one app: live, repro and replay.  It is given a source and never opens one."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

from tui.background_job import Job, Outcome, Work
from tui.console_poller import ConsoleWatch
from tui.feed.feed_thread import Feed
from tui.feed.playback import Clocked
from tui.feed.snapshot import Snapshot
from tui.findings_text import Audited
from tui.layout import CSS, LOW, TOO_SMALL, size_class
from tui.life_lines import Lives
from tui.messages import Broken, ConsoleSaid, JobEnded, JobProgressed, Shot
from tui.panes.audit_pane import AuditPane
from tui.panes.console_pane import ConsolePane
from tui.panes.events_pane import EventTable
from tui.panes.filter_bar import FilterBar
from tui.panes.header_bar import Header
from tui.panes.key_bar import KeyBar
from tui.panes.line_view import LineView
from tui.panes.progress_pane import Steps
from tui.panes.rate_graph import RateGraph
from tui.panes.suspects_pane import SuspectList
from tui.panes.tab_bar import Tabs
from tui.screens.help_screen import HelpScreen
from tui.screens.timeline_screen import TimelineScreen
from tui.timeline import PageName, StoryWanted
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.findings import FindingClass
from zaptrace.model.progress import Update
from zaptrace.model.source import Source

PANES = ("events", "suspects", "console", "audit")
_SEEK = 20  # a key press goes 1/20 of the whole


class ZapApp(App[Outcome | None]):
    """Shows a source, a piece of work, or a piece of work and then its source.

    `run()` returns the work's outcome, None without one.

    Args:
        source: the events; the app closes it.  None where `work` brings it.
        title: what is being done ("live", "repro s390x").
        console: the guest's whole serial log so far; called from a thread.
        work: done in a thread; its steps are shown, and its verdict.
        audit: what is known of the audit of the source's run; None when there is no run.
        lives: reads the recorded life of one of the run's pages; None without.
        now: the wall's clock, seconds.
    """

    TITLE = "zaptrace"
    CSS = CSS
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "hold", "Hold/follow"),
        # With priority, so that the keys that follow in one burst already go to the filter.
        Binding("slash", "filter", "Filter", priority=True),
        Binding("enter", "keep_filter", show=False, priority=True),
        Binding("1", "pane('events')", "Events", show=False),
        Binding("2", "pane('suspects')", "Suspects", show=False),
        Binding("3", "pane('console')", "Console", show=False),
        Binding("4", "pane('audit')", "Audit", show=False),
        Binding("v", "verdict", "Verdict"),
        Binding("f", "follow", "Follow the newest", show=False),
        Binding("full_stop", "step", "Step"),
        Binding("less_than_sign,comma", "seek(-1)", "Back", show=False),
        Binding("greater_than_sign", "seek(1)", "Ahead", show=False),
        Binding("minus", "speed(0.5)", "Slower", show=False),
        Binding("plus,equals_sign", "speed(2)", "Faster", show=False),
        Binding("0", "restart", "From the beginning", show=False),
        Binding("escape", "clear_filter", "Clear the filter", show=False),
        Binding("d", "dark", "Dark/light", show=False),
        Binding("question_mark", "help", "Help"),
        Binding("q,ctrl+c", "quit", "Quit"),
    ]

    def __init__(
        self,
        source: Source | None,
        *,
        title: str,
        console: Callable[[], str] | None = None,
        work: Work | None = None,
        audit: Audited | None = None,
        lives: Lives | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.latest = Snapshot()
        self.outcome: Outcome | None = None
        self.failure: ZaptraceError | None = None
        """What the user must know of why the work failed; for who started us to raise."""
        self._now = now
        self._source = source
        self._feed: Feed | None = None
        self._watch = (
            ConsoleWatch(console, lambda log: self.post_message(ConsoleSaid(log)), self._broke)
            if console
            else None
        )
        self._job = Job(work, self._job_progressed, self._job_ended) if work else None
        self._header = Header(title)
        self._graph = RateGraph(id="rates")
        self._events = EventTable(id="events")
        self._suspects = SuspectList(id="suspects")
        self._console = ConsolePane(id="console")
        self._audit = AuditPane(id="audit")
        self._audited = audit
        self._lives = lives
        self._steps = Steps(id="steps")
        self._tabs = Tabs()
        self._filter = FilterBar(id="filter-bar")
        self._pane = "events"
        self._begun = False

    # Building and ending.

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield self._header
        yield self._steps
        yield self._tabs
        with Container(id="main"):
            yield self._graph
            yield self._suspects
            yield self._events
            yield self._console
            yield self._audit
        yield self._filter
        yield KeyBar()
        yield Static(TOO_SMALL, id="too-small", markup=False)

    def on_mount(self) -> None:
        """Start the threads."""
        # All at once, and without the styles of all widgets: the screen, when it is shown first,
        # computes those.
        has = {
            "-source": self._source is not None,
            "-audit": self._audited is not None,
            "-console": self._watch is not None,
            "-job": self._job is not None,
        }
        pane = "events" if self._source else "console"
        self._classed(has | _sizes(self.size) | _only(pane), False)
        self._begun = True
        if self._source:
            self.watch_source(self._source)
        if self._audited:
            self._show_audit(self._audited)
        if self._watch:
            self._watch.start()
        if self._job:
            self._header.state = "● WORKING"
            self._header.draw()
            self._job.start()
        self.action_pane(pane)
        # Modules and widgets stay: to walk all of them for garbage takes 50 ms, half a second in
        # an emulated guest, for which a key would wait.
        gc.freeze()

    def watch_source(self, source: Source) -> None:
        """Show a source's events from now on."""
        self._header.clock = source if isinstance(source, Clocked) else None
        self._feed = Feed(
            source, lambda shot: self.post_message(Shot(shot)), self._broke, now=self._now
        )
        self.screen_stack[0].add_class("-source")
        self._feed.start()
        self.refresh_bindings()

    def _show_audit(self, audited: Audited) -> None:
        self._audited = audited
        self._audit.show(audited)
        self._suspects.beside(
            sum(one.cls is not FindingClass.IN_FLIGHT for one in audited.findings)
        )
        self.screen_stack[0].add_class("-audit")
        self._draw_tabs()

    async def action_quit(self) -> None:
        """Let the threads end, then leave."""
        if self._job and self.outcome is None and self.failure is None:
            self.notify("stopping ...")
        await asyncio.to_thread(self._stop)
        self.exit(self.outcome)

    async def on_unmount(self) -> None:
        """However the app ends, the source is closed."""
        gc.unfreeze()
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        for thread in (self._job, self._feed, self._watch):
            if thread:
                thread.stop()

    # What the threads say.

    def _job_progressed(self, update: Update) -> None:
        self.post_message(JobProgressed(update))

    def _job_ended(self, how: Outcome | Exception) -> None:
        self.post_message(JobEnded(how))

    def _broke(self, error: BaseException) -> None:
        self.post_message(Broken(error))

    def on_shot(self, message: Shot) -> None:
        """Draw a snapshot."""
        if not self.screen_stack:  # the last ones, while the app goes down
            return
        shot = self.latest = message.snapshot
        self._header.show(shot)
        self._graph.show(shot)
        self._events.show(shot)
        self._suspects.show(shot)
        self._draw_tabs()
        if isinstance(self.screen, TimelineScreen):
            self.screen.show(shot)

    def on_console_said(self, message: ConsoleSaid) -> None:
        """Draw the console."""
        if not self.screen_stack:
            return
        self._console.show(message.log)
        self._draw_tabs()

    def on_job_progressed(self, message: JobProgressed) -> None:
        """Draw a step."""
        self._steps.show_step(message.update)

    def on_job_ended(self, message: JobEnded) -> None:
        """End on the verdict, or on what went wrong."""
        how = message.how
        if isinstance(how, ZaptraceError):
            self.failure = how
            self._header.state = "✖ FAILED"
            self._steps.fail(how)
        elif isinstance(how, Exception):
            raise how
        else:
            self._came_to(how)
        self._header.draw()

    def _came_to(self, outcome: Outcome) -> None:
        from tui.screens.verdict_screen import headline  # brings all rules: where there is one

        self.outcome = outcome
        if not self.screen_stack:  # while the app goes down
            return
        self._header.state = None if outcome.source else "■ DONE"
        self._steps.done(f"{headline(outcome.verdict)}  (v: the verdict)")
        self._show_audit(Audited(outcome.audit))
        self._lives = outcome.lives
        if outcome.source:
            self.watch_source(outcome.source)
            self.action_pane("events")
        self.action_verdict()

    def on_broken(self, message: Broken) -> None:
        """Show a bug of ours."""
        raise message.error

    # What the user does.

    def on_line_view_chosen(self, message: LineView.Chosen) -> None:
        """Open the story of what was chosen, if it is still there."""
        view = message.view
        if view not in self._panes().values() or message.line >= view.count():
            return
        page = view.page_at(message.line)
        if page is None:
            self.notify(view.why_no_page(message.line), timeout=3, markup=False)
        else:
            self._open_story(page)

    def on_story_wanted(self, message: StoryWanted) -> None:
        """Open a page's story."""
        self._open_story(message.page)

    def _open_story(self, page: PageName) -> None:
        findings = self._audited.about(page) if self._audited else ()
        self.push_screen(TimelineScreen(page, lambda: self.latest, findings, self._lives))

    def action_hold(self) -> None:
        """Stop or start a replay's clock; hold the screen of anything else."""
        clock = self._header.clock
        if self._events.held:
            self._events.follow()
            if clock and clock.paused:
                clock.resume()
        elif clock and clock.paused:
            clock.resume()
        elif clock:
            clock.pause()
        else:
            self._events.hold()
        self._header.draw()

    def action_follow(self) -> None:
        """Show the newest events again."""
        self._events.follow()

    def action_step(self) -> None:
        """Step to the next event."""
        if clock := self._header.clock:
            clock.step()
            self._header.draw()

    def action_seek(self, by: int) -> None:
        """Go back or ahead."""
        if clock := self._header.clock:
            to = clock.position + by * clock.duration // _SEEK
            clock.seek(min(max(to, 0), clock.duration))

    def action_restart(self) -> None:
        """Go to the beginning."""
        if clock := self._header.clock:
            clock.seek(0)

    def action_speed(self, factor: float) -> None:
        """Go slower or faster."""
        if clock := self._header.clock:
            clock.speed = min(max(clock.speed * factor, 1 / 1024), 1024.0)
            self._header.draw()

    def action_pane(self, name: str) -> None:
        """Show a pane and give it the keys."""
        if name not in self._panes():
            return
        self._show_pane(name)
        self.screen_stack[0].query_one(f"#{name}").focus()

    def _show_pane(self, name: str) -> None:
        self._pane = name
        self._classed(_only(name))
        self._draw_tabs()

    def action_filter(self) -> None:
        """Ask for a filter."""
        self._show_pane("events")
        self._filter.open()

    def action_keep_filter(self) -> None:
        """Close the box: the keys after Enter go to the table."""
        self._filter.close()
        self.screen.set_focus(self._events)

    def action_clear_filter(self) -> None:
        """Show all events."""
        self._filter.clear()

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        """Filter as the user types."""
        self._events.set_filter(message.text, message.predicate)

    def on_filter_bar_closed(self) -> None:
        """Back to the events, if the next filter is not typed already."""
        if not self._filter.is_open:
            self.screen_stack[0].set_focus(self._events)

    def action_verdict(self) -> None:
        """Show the verdict page."""
        from tui.screens.verdict_screen import VerdictScreen

        if self.outcome:
            self.push_screen(VerdictScreen(self.outcome.verdict, self.outcome.report))

    def action_dark(self) -> None:
        """Dark or light."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        """Show the help page."""
        self.push_screen(
            HelpScreen(
                replay=self._header.clock is not None,
                audit=self._audited is not None,
                life=self._lives is not None,
            )
        )

    def _shows_verdict(self) -> bool:
        from tui.screens.verdict_screen import VerdictScreen

        return isinstance(self.screen, VerdictScreen)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are not offered."""
        if action in ("step", "seek", "restart", "speed"):
            return self._header.clock is not None
        if action == "verdict":
            return self.outcome is not None and not self._shows_verdict()
        if action == "keep_filter":
            return self._filter.is_open and len(self.screen_stack) == 1
        if action == "filter" and self._filter.is_open:  # the key is part of its text
            return False
        if action in ("hold", "filter"):
            return self._feed is not None and len(self.screen_stack) == 1
        return True

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Yield the command palette: ours first."""
        yield SystemCommand("Hold or follow", "The newest events, or stand still", self.action_hold)
        yield SystemCommand("Filter", "Show only some events", self.action_filter)
        yield SystemCommand("Clear the filter", "Show all events", self.action_clear_filter)
        for pane in self._panes():
            said = f"Go to the {pane}"
            yield SystemCommand(said, "", lambda name=pane: self.action_pane(name))
        if self.outcome:
            yield SystemCommand("Verdict", "What the run came to", self.action_verdict)
        yield SystemCommand("Dark or light", "Change the colours", self.action_dark)
        yield from super().get_system_commands(screen)

    # Sizes.

    def on_resize(self, event: Resize) -> None:
        """Lay the panes out for the terminal's size."""
        self._classed(_sizes(event.size), self._begun)

    def _classed(self, classes: dict[str, bool], update: bool = True) -> None:
        """Have the main screen bear some classes and not others: styles are computed once."""
        self.screen_stack[0].update_classes(classes, update=update)

    def _panes(self) -> dict[str, LineView]:
        """Return the panes that there are."""
        views: tuple[tuple[str, LineView, object], ...] = (
            ("events", self._events, self._feed),
            ("suspects", self._suspects, self._feed),
            ("console", self._console, self._watch),
            ("audit", self._audit, self._audited),
        )
        return {name: view for name, view, there in views if there is not None}

    def _draw_tabs(self) -> None:
        """Draw the names of the panes, where only one pane is seen."""
        panes = self._panes()
        self._tabs.show(list(panes.values()), panes.get(self._pane))


def _sizes(size: Size) -> dict[str, bool]:
    """Return which classes of sizes the main screen has."""
    fits = size_class(size)
    sizes = {name: name == fits for name in ("-tiny", "-small", "-medium", "-large")}
    return sizes | {"-low": size.height < LOW}


def _only(name: str) -> dict[str, bool]:
    """Return which classes of panes the main screen has."""
    return {f"-pane-{pane}": pane == name for pane in PANES}
