"""The audit's pane, and what the audit found above a page's timeline."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.audits import about, of_an_mm, real_audit
from tests.tui.driving import app_of, drive, press, refused_pfns, sees, text_of, until
from tests.tui.scripted import lost
from tests.tui.work import VERDICT, Work
from tui.app import ZapApp
from tui.findings_text import LABELS, NO_DUMP, Audited
from tui.panes.audit_pane import AuditPane
from tui.panes.events_pane import EventTable
from tui.panes.suspects_pane import SuspectList
from tui.screens.help_screen import HelpScreen
from tui.screens.timeline_screen import TimelineScreen
from tui.screens.verdict_screen import VerdictScreen
from zaptrace.model.findings import AuditResult, FindingClass, Unseen

SIZES = [(80, 24), (120, 40), (200, 60)]
UNDERFLOW, STALE = 0x5EA, 0x5D7


def run_app(audited: Audited) -> ZapApp:
    return app_of(ends=True, console=True, audit=audited)


async def filled(app: ZapApp) -> None:
    await until(lambda: app.latest.ended, "the events")


@pytest.mark.parametrize(
    ("lost_events", "audit", "said"),
    [
        (0, None, "✓ none freed while mapped, refused or bad"),
        (3, None, "none by the events that are not lost"),
        (0, Audited(real_audit()), "none by the events; the audit has some (4)"),
    ],
)
def test_no_suspect_is_a_tick_only_when_nothing_speaks_against_it(
    lost_events: int, audit: Audited | None, said: str
) -> None:
    """A boot that lost 25,670 events, with 118 findings, had "✓ none" above them."""
    events = [lost(lost_events)] if lost_events else []

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: app.latest.ended and app.latest.lost == lost_events)
        await sees(app, said)
        assert ("✓ none" in text_of(app)) == said.startswith("✓")

    drive(app_of(events, ends=True, audit=audit), driver)


@pytest.mark.parametrize("size", SIZES)
def test_findings_as_the_audit_has_put_them(size: tuple[int, int]) -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "4")
        pane = app.query_one(AuditPane)
        assert app.focused is pane and pane.count() == 4
        await sees(app, "4 Audit (4)", "what disagrees", "owner", "note")
        lines = text_of(app).splitlines()
        at = next(number for number, line in enumerate(lines) if "✖ mapcount underflow" in line)
        assert "▶" in lines[at] and "underflow/39" in lines[at]
        assert lines[at].split()[4:8] == ["0x5ea", "0", "-1", "1"]
        assert "✖ PTEs > mapcount     0x5d7          2     1     2 stale/41 +1" in lines[at + 1]
        assert "✖ PTEs > mapcount     0x5d8          1     0     1 stale/41 " in lines[at + 2]
        assert "✖ rss mismatch        -             31     -     - rss-large/77" in lines[at + 3]
        if size[0] > 80:
            assert "the only mapping named here has" in lines[at]

    drive(run_app(Audited(real_audit(of_an_mm()))), driver, size)


def test_every_class_has_words_that_fit() -> None:
    assert set(LABELS) == set(FindingClass)
    assert max(map(len, LABELS.values())) <= 19


@pytest.mark.parametrize(
    ("audited", "words"),
    [
        (Audited(None), "no audit: this recording has no dump"),
        (Audited(None, "no audit yet: zaptrace explain RUN makes it"), "zaptrace explain RUN"),
        (Audited(AuditResult("6.1", 9, 4, 1980, 0.1)), "✓ clean: 1,980 PTEs, no finding"),
        (
            Audited(AuditResult("6.1", 9, 4, 1980, 0.1, (), (Unseen("left out", 1234),))),
            "no finding, but it could not look at all (1,234 unseen)",
        ),
    ],
)
def test_an_empty_pane_says_why(audited: Audited, words: str) -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await press(app, "4")
        await sees(app, "4 Audit", words)
        await press(app, "enter")
        assert not isinstance(app.screen, TimelineScreen)

    drive(run_app(audited), driver, (80, 24))


def test_a_finding_opens_its_page() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "4", "down", "enter")
        assert isinstance(app.screen, TimelineScreen) and app.screen.page.pfn == STALE
        await sees(app, "pfn 0x5d7 · not in any event, but in the audit")
        await sees(app, "✖ audit: PTEs > mapcount · 2 PTEs, mapcount 1, refcount 2")
        await sees(app, "PTEs map it that its mapcount does not count")
        await sees(app, "mapped by stale/41 at 0x3ff95679000  3ff95676000-3ff9567c000 rw-p")
        await sees(app, "mapped by poweroff/82 at 0x11f5000", "no event about this page")
        await press(app, "escape")
        assert app.focused is app.query_one(AuditPane)

    drive(run_app(Audited(real_audit())), driver)


@pytest.mark.parametrize("cls", [FindingClass.RSS_MISMATCH, FindingClass.IN_FLIGHT])
def test_a_finding_about_an_mm_says_so(cls: FindingClass) -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await press(app, "4", "G", "enter")
        assert not isinstance(app.screen, TimelineScreen)
        (said,) = (one.message for one in app._notifications)
        assert said.startswith(
            "this finding is about an mm, not a page: rss-large/77, MM_ANONPAGES"
        )
        mark = "✖ rss mismatch" if cls is FindingClass.RSS_MISMATCH else "○ in flight, no bug"
        await sees(app, mark)

    drive(run_app(Audited(real_audit(of_an_mm(cls)))), driver)


def test_a_suspect_s_page_says_what_the_audit_found() -> None:
    pfn = refused_pfns()[0]

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        suspects = app.query_one(SuspectList)
        at = [suspects.chosen(line).pfn for line in range(suspects.count())].index(pfn)
        await press(app, "2", *["down"] * at, "enter")
        assert isinstance(app.screen, TimelineScreen) and app.screen.page.pfn == pfn
        await sees(app, f"pfn {pfn:#x} · ✖ suspect", "✖ freed while still mapped")
        await sees(app, "✖ audit: refcount < mapcount · 0 PTEs, mapcount 1, refcount 0")
        await sees(app, "may have been mapped by mount/41 at 0x3ff95677000", "and 3 more")
        await sees(app, "none of the mappings named here has a PTE any more")

    drive(run_app(Audited(real_audit(about(pfn)))), driver)


def test_a_small_terminal_has_room_for_the_timeline_all_the_same() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "4", "enter")
        assert isinstance(app.screen, TimelineScreen)
        await sees(app, "audit: refcount < mapcount", "mount/41", "and 6 more", "○ zap")

    drive(run_app(Audited(real_audit(about(refused_pfns()[0])))), driver, (60, 15))


def test_an_event_s_page_too_but_only_its_own() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        table = app.query_one(EventTable)
        await press(app, "slash", *"kind=bad_page")
        await until(lambda: table.count() == len(refused_pfns()), "the filtered table")
        await press(app, "enter", "enter")
        assert isinstance(app.screen, TimelineScreen)
        await sees(app, "✖ audit: refcount < mapcount")
        await press(app, "escape", "down", "enter")
        assert isinstance(app.screen, TimelineScreen)
        await sees(app, "✖ suspect")
        assert "audit" not in text_of(app)

    drive(run_app(Audited(real_audit(about(refused_pfns()[-1])))), driver)


def test_without_a_run_there_is_no_pane() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "4")
        assert app.focused is app.query_one(EventTable) and "Audit" not in text_of(app)
        await press(app, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert "audit" not in text_of(app)

    drive(app_of(ends=True, console=True), driver)


def test_tab_help_and_palette_know_it() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await filled(app)
        await press(app, "3", "tab")
        assert app.focused is app.query_one(AuditPane)
        await press(app, "question_mark")
        await sees(app, "what the audit of the run's dump found")
        await press(app, "escape", "1", "ctrl+p", *"Go to the aud")
        await sees(app, "Go to the audit")
        await press(app, "down", "enter")
        await until(lambda: app.focused is app.query_one(AuditPane), "the palette's command")

    drive(run_app(Audited(real_audit())), driver)


def test_a_run_s_audit_comes_with_its_verdict() -> None:
    work = Work(waits_in="boot", with_source=True, audit=real_audit(about(VERDICT.pfn or 0)))

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await sees(app, "● Boot the s390x guest")
        await press(app, "4")
        assert "Audit (" not in text_of(app)
        work.go_on.set()
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await press(app, "enter")
        await sees(app, "✖ audit: refcount < mapcount")
        await press(app, "escape", "escape", "4")
        await sees(app, "4 Audit (4)", "mapcount underflow")

    drive(app_of(console=True, work=work, source=False), driver)


@pytest.mark.parametrize("size", SIZES[:2])
def test_a_run_without_events_still_has_its_audit(size: tuple[int, int]) -> None:
    work = Work(audit=real_audit())

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await press(app, "escape")
        await sees(app, "4 Audit (3)")
        await press(app, "1", "4")
        await sees(app, "mapcount underflow", "✓ Explain the s390x guest")
        assert "1 Events" not in text_of(app)

    drive(app_of(console=True, work=work, source=False), driver, size)


def test_a_run_without_a_dump_says_so() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await press(app, "escape", "4")
        await sees(app, NO_DUMP)

    drive(app_of(console=True, work=Work(with_source=True), source=False), driver)
