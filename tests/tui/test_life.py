"""A page's recorded life in its story: one key shows it."""

from __future__ import annotations

import pytest

from tests.tui.driving import app_of, drive, press, refused_pfns, sees, text_of, until
from tests.tui.work import Work
from tests.unit.life.recorded import founding_shown
from tui.app import ZapApp
from tui.life_lines import life_lines
from tui.screens.help_screen import HelpScreen
from tui.screens.timeline_screen import TimelineScreen
from zaptrace.model.errors import BadInput
from zaptrace.report.life import ShownLife


def lines() -> list[str]:
    return ["".join(text for text, _ in line) for line in life_lines(founding_shown())]


def test_each_store_has_its_line_and_the_one_without_a_partner_is_marked() -> None:
    found = lines()
    assert found[0].startswith("complete: all 1,048,576 words")
    assert found[1].startswith("✖ freed while its mapcount was not 0: zapfault_remove_page")
    (freed,) = (at for at, line in enumerate(found) if "freed " in line and "1 → 0" in line)
    assert "✖ freed " in found[freed]
    assert "mm/memory.c:1412 zapfault_remove_page < " in found[freed + 1]
    (stop,) = (at for at, line in enumerate(found) if "stopped and dumped here" in line)
    unmapped = next(at for at, line in enumerate(found) if "unmapped" in line)
    assert freed < stop < unmapped


async def open_story(app: ZapApp) -> None:
    await until(lambda: app.latest.ended, "the end")
    await press(app, "2", "enter")
    await until(lambda: isinstance(app.screen, TimelineScreen))
    await sees(app, "too late")


def test_a_key_shows_the_life_and_the_events_again() -> None:
    asked: list[int] = []

    def lives(pfn: int) -> ShownLife:
        asked.append(pfn)
        return founding_shown()

    async def driver(app: ZapApp, _pilot: object) -> None:
        await open_story(app)
        await sees(app, "Life/events")
        await press(app, "l")
        await sees(app, "post_alloc_hook", "complete: all")
        assert "too late" not in text_of(app)
        await press(app, "G")
        await sees(app, "unmapped", "folio_remove_rmap_range")
        await press(app, "l")
        await sees(app, "too late")
        await press(app, "l")
        await sees(app, "unmapped")

    drive(app_of(ends=True, lives=lives), driver)
    assert asked == [refused_pfns()[0]]  # once


def test_on_a_wide_screen_both_are_beside_each_other() -> None:
    async def driver(app: ZapApp, _pilot: object) -> None:
        await open_story(app)
        assert "post_alloc_hook" not in text_of(app)
        await press(app, "l")
        await sees(app, "post_alloc_hook", "too late")

    drive(app_of(ends=True, lives=founding_shown), driver, (200, 60))


def test_a_page_whose_life_was_not_kept_says_so() -> None:
    def lives(pfn: int) -> ShownLife:
        raise BadInput("RUN has not kept the life of it\x1b[31m, but of 3 suspects")

    async def driver(app: ZapApp, _pilot: object) -> None:
        await open_story(app)
        await press(app, "l")
        await sees(app, "has not kept the life of it?[31m, but of 3 suspects")

    drive(app_of(ends=True, lives=lives), driver)


def test_without_a_recording_the_key_is_not_offered() -> None:
    async def driver(app: ZapApp, _pilot: object) -> None:
        await open_story(app)
        await sees(app, "Back", "Help")
        assert "Life/events" not in text_of(app)
        await press(app, "l")
        assert not app.screen.has_class("-life")

    drive(app_of(ends=True), driver)


@pytest.mark.parametrize("recorded", [True, False])
def test_the_help_page_has_the_key_where_it_means_something(recorded: bool) -> None:
    async def driver(app: ZapApp, _pilot: object) -> None:
        await until(lambda: app.latest.ended, "the end")
        await press(app, "question_mark")
        await until(lambda: isinstance(app.screen, HelpScreen))
        await sees(app, "Keys")
        assert ("every store to its struct page" in text_of(app)) is recorded

    drive(app_of(ends=True, lives=founding_shown if recorded else None), driver, (120, 60))


def test_a_repro_brings_the_lives_of_its_run() -> None:
    async def driver(app: ZapApp, _pilot: object) -> None:
        await until(lambda: app.outcome is not None, "the outcome")
        await press(app, "escape")
        await until(lambda: app.latest.ended, "the events")
        await press(app, "2", "enter")
        await until(lambda: isinstance(app.screen, TimelineScreen))
        await press(app, "l")
        await sees(app, "post_alloc_hook")

    work = Work(with_source=True, lives=founding_shown)
    drive(app_of(console=True, work=work, source=False), driver)
