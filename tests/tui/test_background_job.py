"""Work under the app: its steps in order, its verdict, its failure, and quitting it."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.sentences import sentences
from tests.tui.driving import app_of, drive, press, sees, text_of, until
from tests.tui.work import STEPS, VERDICT, Work
from tui.app import ZapApp
from tui.background_job import Quit
from tui.panes.events_pane import EventTable
from tui.screens.timeline_screen import TimelineScreen
from tui.screens.verdict_screen import VerdictScreen
from zaptrace.model.errors import CannotTell
from zaptrace.model.verdict import Verdict, VerdictKind


def job_app(work: Work) -> ZapApp:
    return app_of(console=True, work=work, source=False)


def test_the_steps_are_shown_in_order_with_how_far_they_are() -> None:
    work = Work(waits_in="boot")

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await sees(app, "✓ Build the s390x guest", "● Boot the s390x guest", "50% mm/memory.o")
        await sees(app, "WORKING", "random: crng init done")
        assert "Trace the s390x guest" not in text_of(app)
        work.go_on.set()
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await press(app, "escape")
        said = text_of(app)
        places = [said.index(f"✓ {name.capitalize()}") for name in STEPS]
        assert places == sorted(places)

    drive(job_app(work), driver)


def test_it_ends_on_the_verdict_page() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await sees(app, "✖ freed before its rmap was removed · pfn 0x1f3c5 · mount/41")
        await sees(app, "What happened, in order", "1.204214", "+3.5 µs", "too late")
        await sees(app, "mm/memory.c:1447", "try_zap_anon_pte_range", "Proof", "cannot settle")
        await press(app, "r")
        await sees(app, "zaptrace: freed_before_rmap_removed")
        await press(app, "escape", "v")
        assert isinstance(app.screen, VerdictScreen)
        await press(app, "q")

    app = job_app(Work())
    drive(app, driver)
    assert app.return_value is not None and app.return_value.verdict == VERDICT


def test_the_run_s_events_can_be_looked_at_afterwards() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await press(app, "enter")
        assert isinstance(app.screen, TimelineScreen) and app.screen.page.pfn == VERDICT.pfn
        await press(app, "escape", "escape")
        await until(lambda: app.query_one(EventTable).count() > 300, "the events")
        await sees(app, "ENDED", "rmap_remove")

    drive(job_app(Work(with_source=True)), driver)


@pytest.mark.parametrize(
    ("kind", "mark"), [(VerdictKind.CLEAN, "✓ clean"), (VerdictKind.UNEXPLAINED, "? unexplained")]
)
def test_other_verdicts_have_other_marks(kind: VerdictKind, mark: str) -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: isinstance(app.screen, VerdictScreen), "the verdict")
        await sees(app, mark, "No page was refused")
        assert "Proof" not in text_of(app)

    drive(job_app(Work(verdict=Verdict(kind, sentences("No page was refused.")))), driver)


def test_a_failure_says_why_and_how_to_fix_it() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await sees(app, "✖ Boot the s390x guest", "FAILED", "✖ QEMU is missing", "apt install qemu")
        assert isinstance(app.failure, CannotTell)

    drive(job_app(Work(error=CannotTell("QEMU is missing", "apt install qemu"))), driver)


def test_a_bug_of_ours_is_raised() -> None:
    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await until(lambda: app._exception, "the error")

    with pytest.raises(RuntimeError, match="ours"):
        drive(job_app(Work(error=RuntimeError("ours"))), driver)


def test_quitting_unwinds_the_work() -> None:
    work = Work(waits_in="boot")
    app = job_app(work)

    async def driver(app: ZapApp, pilot: Pilot[Any]) -> None:
        await sees(app, "mm/memory.o")
        await press(app, "q")

    drive(app, driver)
    assert isinstance(work.unwound, Quit)
    assert app.return_value is None
