"""The app, driven by keys and the mouse."""

from __future__ import annotations

import gc
import re
from typing import Any

import pytest
from textual.events import Key
from textual.geometry import Region
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from tests.tui.driving import app_of, drive, press, refused_pfns, sees, text_of, until
from tests.tui.scripted import Script, Tape, founding_bug, lost
from tui.app import ZapApp
from tui.panes.console_pane import ConsolePane
from tui.panes.events_pane import EventTable
from tui.panes.line_view import LineView
from tui.panes.suspects_pane import SuspectList
from tui.screens.help_screen import HelpScreen
from tui.screens.timeline_screen import Timeline, TimelineScreen
from tui.timeline import PageName
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events, Kind, blank


def page_event(pfn: int, kind: Kind = Kind.RMAP_REMOVE) -> Events:
    records = blank(1)
    records["kind"], records["pfn"], records["pid"], records["comm"] = kind, pfn, 77, b"late"
    records["clock"] = 2_000_000_000
    return Events(records)


async def filled(app: ZapApp) -> None:
    await until(lambda: app.latest.events > 300, "the events")


def source_of(app: ZapApp) -> Script:
    assert isinstance(app._source, Script)
    return app._source


def test_the_header_says_what_is_watched_and_that_nothing_is_lost() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await sees(app, "6.1.0-zaptrace", "s390x", "bcc", "4 sites (1 inlined)", "lost 0", "LIVE")
        assert "LOST" not in text_of(app)

    drive(app_of(), driver)


def test_a_search_for_garbage_does_not_walk_what_stays() -> None:
    """Modules and widgets are a hundred thousand objects, and a key waits for such a walk."""

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        assert gc.get_freeze_count() > len(gc.get_objects())

    gc.unfreeze()  # what whoever runs the tests may have done
    drive(app_of(), driver)
    assert gc.get_freeze_count() == 0, "what the app held can be freed again"


def test_loss_and_gaps_are_said_in_words() -> None:
    events = founding_bug()
    events.meta["missing"] = [{"event": "bad_pte", "why": "no such symbol"}]

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: app.latest.lost == 1234)
        await sees(app, "LOST 1,234 events: what you see is not all that happened")
        await sees(app, "missing: bad_pte (no such symbol)")

    drive(app_of([events, lost(1234)]), driver)


def test_notes_and_damage_are_said_the_newest_note_first() -> None:
    events = founding_bug()
    events.meta |= {
        "notes": ["tracefs instead of bcc: no clang", "ended in the middle of a frame"],
        "damaged_frames": 3,
        "dropped_entries": 1,
    }

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await sees(app, "not read: 3 damaged frames, 1 surplus entry: what you see is not all")
        await sees(app, "note: ended in the middle of a frame; tracefs instead of bcc: no clang")

    drive(app_of([events]), driver)


def test_notes_that_are_none_do_no_harm() -> None:
    events = founding_bug()
    events.meta |= {"notes": {"not": "a list"}, "damaged_frames": "many"}

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        assert "note:" not in text_of(app) and "not read" not in text_of(app)

    drive(app_of([events]), driver)


def test_the_table_follows_until_it_is_held() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        source_of(app).say(page_event(0xABC))
        await until(lambda: table.chosen(0)[1]["pfn"][0] == 0xABC, "the newest on top")
        await press(app, "space")
        source_of(app).say(page_event(0xDEF))
        await until(lambda: "1 newer" in str(table.border_title), "the held table's word")
        assert table.chosen(0)[1]["pfn"][0] == 0xABC and "HELD" in str(table.border_title)
        await press(app, "space")
        await until(lambda: table.chosen(0)[1]["pfn"][0] == 0xDEF, "the newest again")
        assert "HELD" not in str(table.border_title)

    drive(app_of(), driver)


def test_what_one_looks_at_does_not_run_away() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        await press(app, "down", "down")
        serial = table.chosen(table.cursor)[0]
        source_of(app).say(page_event(0xABC))
        await until(lambda: "1 newer" in str(table.border_title))
        assert table.held and table.chosen(table.cursor)[0] == serial
        await press(app, "f")
        await until(lambda: not table.held and table.cursor == 0)

    drive(app_of(), driver)


def test_the_wheel_holds_too() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        await until(lambda: table.allow_vertical_scroll)
        table.scroll_to(y=5, animate=False)
        await until(lambda: table.held)

    drive(app_of(), driver)


def test_nothing_is_drawn_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Widget] = []
    render_lines = Widget.render_lines

    def noted(widget: Widget, crop: Region) -> list[Strip]:
        drawn.append(widget)
        return render_lines(widget, crop)

    async def undrawn(app: ZapApp, shots: int) -> bool:
        drawn.clear()
        seen = {id(app.latest): app.latest}

        def new() -> int:
            seen[id(app.latest)] = app.latest
            return len(seen) - 1

        await until(lambda: new() >= shots, "more snapshots")
        return not drawn

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "2")
        monkeypatch.setattr(Widget, "render_lines", noted)
        assert any([await undrawn(app, 5) for _ in range(4)])  # what the key moved settles first
        source_of(app).say(page_event(0xABC))
        await until(lambda: app.query_one(EventTable) in drawn, "the newer event")

    drive(app_of(), driver)


def test_the_thumb_is_where_the_lines_are() -> None:
    """Also when they were scrolled before there was a scroll bar, as on a busy machine."""

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        await until(lambda: table.allow_vertical_scroll)
        table.show_vertical_scrollbar = False
        table.scroll_y = 5
        table.show_vertical_scrollbar = True
        assert table.vertical_scrollbar.position == table.scroll_offset.y == 5

    drive(app_of(), driver)


def test_filtering_as_one_types() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        everything = table.count()
        await press(app, "slash", *"kind=bad_page")
        await until(lambda: table.count() == len(refused_pfns()), "the filtered table")
        await press(app, "enter")
        assert app.focused is table and "filter: kind=bad_page" in str(table.border_title)
        await press(app, "escape")
        await until(lambda: table.count() == everything, "the whole table")

    drive(app_of(), driver)


def test_a_filter_that_means_nothing_says_why_and_changes_nothing() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        await press(app, "slash", *"pid=41")
        await until(lambda: table.filter == "pid=41")
        app.query_one(Input).value = "pid=41 foo=1"
        await sees(app, "there is no field foo")
        assert table.filter == "pid=41"

    drive(app_of(), driver)


def test_a_suspect_s_story() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        suspects = app.query_one(SuspectList)
        await press(app, "2")
        assert app.focused is suspects
        first = suspects.chosen(0)
        await press(app, "enter")
        assert isinstance(app.screen, TimelineScreen)
        await sees(app, f"pfn {first.pfn:#x} · ✖ suspect", "✖ freed while still mapped", "bad_page")
        await sees(app, "unmap_page_range+0xd64", "○ zap")
        assert re.search(r"✖ too late: \+[\d.,]+ µs after the page was freed", text_of(app))
        await press(app, "escape")
        assert app.focused is suspects

    drive(app_of(), driver)


def test_a_story_grows_while_it_is_read() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        pfn = app.query_one(SuspectList).chosen(0).pfn
        assert pfn is not None
        await press(app, "2", "enter")
        before = app.screen.query_one(Timeline).count()
        source_of(app).say(page_event(pfn, Kind.BAD_PTE))
        await until(lambda: app.screen.query_one(Timeline).count() > before, "the new event")

    drive(app_of(), driver)


def test_a_snapshot_may_come_before_the_story_s_screen_is_filled() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        screen = TimelineScreen(PageName(refused_pfns()[0]), lambda: app.latest)
        screen.show(app.latest)
        await app.push_screen(screen)
        await sees(app, "too late")

    drive(app_of(), driver)


def test_an_event_s_story_and_an_event_without_one() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        for text, opens in (("kind=rmap_remove", True), ("kind=zap", False)):
            await press(app, "slash")
            app.query_one(Input).value = text
            await until(lambda: table.filter == app.query_one(Input).value)
            await press(app, "enter")
            await until(lambda: app.focused is table)
            await press(app, "enter")
            assert isinstance(app.screen, TimelineScreen) is opens
            await press(app, "escape" if opens else "f")
        assert [one.message for one in app._notifications] == ["this line is about no page"]

    drive(app_of(), driver)


def test_the_mouse_chooses() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        suspects = app.query_one(SuspectList)
        await pilot.pause()
        await pilot.click(suspects, offset=(10, 3))  # border, head, first line, second line
        assert suspects.cursor == 1
        await pilot.click(suspects, offset=(10, 3), times=2)
        assert isinstance(app.screen, TimelineScreen)
        assert app.screen.page.pfn == suspects.chosen(1).pfn

    drive(app_of(), driver)


def test_a_splat_leads_to_its_page() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        console = app.query_one(ConsolePane)
        await until(console.count, "the console")
        assert "3 splats" in str(console.border_title)
        await press(app, "3", "g", "n", "n", "down", "enter")
        assert isinstance(app.screen, TimelineScreen)
        assert app.screen.page.pfn == refused_pfns()[1]

    drive(app_of(console=True), driver)


def test_the_console_s_end_stays_in_view_when_the_pane_shrinks() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await sees(app, "random: crng init done")
        await pilot.resize_terminal(120, 33)
        await until(lambda: app.query_one(ConsolePane).size.height < 9)
        await sees(app, "random: crng init done")

    drive(app_of(console=True), driver)


def test_an_ended_source_says_so_and_stays() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: app.latest.ended)
        await sees(app, "ENDED")
        assert app.query_one(EventTable).count() > 300

    drive(app_of(ends=True), driver)


def test_a_broken_source_says_why() -> None:
    app = ZapApp(Script([founding_bug()], error=BadInput("the stream was cut")), title="live")

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: app.latest.ended)
        await sees(app, "the source broke: the stream was cut")

    drive(app, driver)


def test_a_bug_of_ours_ends_the_app_with_it() -> None:
    class Wrong(Script):
        def read(self, seconds: float) -> Events | None:
            raise RuntimeError("not the user's fault")

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: app._exception, "the error")

    with pytest.raises(RuntimeError, match="not the user's fault"):
        drive(ZapApp(Wrong([]), title="live"), driver)


def test_quitting_closes_the_source() -> None:
    app = app_of()

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "q")

    drive(app, driver)
    assert source_of(app).closed == 1


def test_a_terminal_too_small_says_so() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await sees(app, "at least")
        assert "rmap_remove" not in text_of(app)
        await pilot.resize_terminal(80, 24)
        await sees(app, "rmap_remove")
        assert "at least" not in text_of(app)

    drive(app_of(), driver, (50, 12))


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 40), (200, 60)])
def test_every_pane_can_be_reached_at_every_size(size: tuple[int, int]) -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await until(app.query_one(ConsolePane).count)
        for key, word in (("2", "what disagrees"), ("3", "random: crng"), ("1", "clock s")):
            await press(app, key)
            await sees(app, word)

    drive(app_of(console=True), driver, size)


def test_help_palette_and_themes() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await press(app, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        await sees(app, "Keys", "boot clock, seconds")
        await press(app, "escape")
        dark = app.current_theme.dark
        await press(app, "d")
        assert app.current_theme.dark is not dark
        await press(app, "ctrl+p", *"Go to the susp")
        await sees(app, "Go to the suspects")
        await press(app, "down", "enter")
        await until(lambda: app.focused is app.query_one(SuspectList), "the palette's command")

    drive(app_of(), driver)


def test_driving_a_tape() -> None:
    tape = Tape([founding_bug()])

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "space")
        assert tape.paused
        await sees(app, "PAUSED", "0.250000 of 2.000000 s")
        await press(app, "space", "plus", "plus", "minus")
        await until(lambda: not tape.paused and tape.speed == 2.0)
        await press(app, "full_stop", "full_stop")
        assert tape.steps == 2
        await press(app, "greater_than_sign")
        assert tape.position == 350_000_000
        await press(app, "less_than_sign", "0")
        assert tape.position == 0
        tape.position = tape.duration
        await sees(app, "■ END")

    drive(ZapApp(tape, title="replay"), driver)


def test_no_tape_no_tape_keys() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        keys = {binding.key for binding in (one[1] for one in app.active_bindings.values())}
        assert "full_stop" not in keys and "slash" in keys

    drive(app_of(), driver)


def test_another_generation_clears_the_view() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        await press(app, "down", "down")
        assert table.held
        again = page_event(0xABC)
        again.meta = {"generation": 1}
        source_of(app).say(again)
        await until(lambda: table.count() == 1, "the cleared table")
        await until(lambda: not table.held and app.query_one(SuspectList).count() == 0)

    drive(app_of(), driver)


def typed(app: ZapApp, keys: str) -> None:
    """Keys that come in one burst, as over a serial line."""
    names = {"/": "slash", "=": "equals_sign", " ": "space", "\r": "enter", "?": "question_mark"}
    for key in keys:
        app.post_message(Key(names.get(key, key), key))


def test_a_filter_typed_ahead_of_a_slow_screen_is_a_filter() -> None:
    """None of its keys is a command."""

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        typed(app, "/comm=stress\r")
        await until(lambda: app.query_one(EventTable).filter == "comm=stress")
        await until(lambda: not app.query_one("#filter-bar").has_class("-open"))
        assert not isinstance(app.screen, TimelineScreen)

    drive(app_of(), driver)


def test_keys_after_a_filter_in_the_same_burst_are_commands() -> None:
    """Enter ends the filter for every key after it."""

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        typed(app, "/comm=stress\r?")
        await until(lambda: isinstance(app.screen, HelpScreen))
        await until(lambda: app.query_one(EventTable).filter == "comm=stress")
        await press(app, "escape")
        typed(app, "/ pid=1\r")
        await until(lambda: app.query_one(EventTable).filter == "comm=stress pid=1")
        assert not app.query_one("#filter-bar").has_class("-open")
        assert not isinstance(app.screen, TimelineScreen)

    drive(app_of(), driver)


def test_a_line_that_is_gone_when_it_is_chosen_opens_nothing() -> None:
    """A filter that nothing passes can come between the key and its answer."""

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        table.post_message(LineView.Chosen(table, table.count()))
        await pilot.pause()
        assert not isinstance(app.screen, TimelineScreen)

    drive(app_of(), driver)
