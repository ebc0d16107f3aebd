"""Pictures of the screen at three sizes, beside those that a person has looked at.

`ZAPTRACE_UPDATE=1 pytest tests/tui/test_pictures.py` takes them anew: look at
them before they are committed.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.tui.audits import about, of_an_mm, real_audit
from tests.tui.driving import app_of, drive, press, refused_pfns, sees, text_of, until
from tests.tui.scripted import founding_bug, lost
from tests.tui.work import Work
from tests.unit.life.recorded import founding_shown
from tui.app import ZapApp
from tui.findings_text import Audited
from tui.panes.console_pane import ConsolePane
from tui.screens.timeline_screen import TimelineScreen
from tui.screens.verdict_screen import VerdictScreen
from zaptrace import demo as shipped
from zaptrace.capture.reader import read
from zaptrace.capture.replay import Replay
from zaptrace.model.events import Events

FOLDER = Path(__file__).parent / "snapshots"
SETTLED_SECONDS = 10.0
SIZES = ((80, 24), (120, 40), (200, 60))


async def events(app: ZapApp) -> None:
    await until(lambda: app.latest.ended, "the end")
    await until(app.query_one(ConsolePane).count, "the console")
    await sees(app, "ENDED", "0.60142", "splats")


async def story(app: ZapApp) -> None:
    """Go on from the events, to the first suspect's story."""
    await press(app, "2", "enter")
    await until(lambda: isinstance(app.screen, TimelineScreen))
    await sees(app, "too late")


async def life(app: ZapApp) -> None:
    await events(app)
    await story(app)
    await press(app, "l")
    await sees(app, "post_alloc_hook")


async def audit(app: ZapApp) -> None:
    await events(app)
    await press(app, "4")
    await sees(app, "what disagrees", "4 Audit (5)")


async def audit_story(app: ZapApp) -> None:
    """Go on from the audit."""
    await press(app, "enter")
    await until(lambda: isinstance(app.screen, TimelineScreen))
    await sees(app, "audit: refcount < mapcount")


async def steps(app: ZapApp) -> None:
    await sees(app, "50% mm/memory.o", "random: crng init done")


async def verdict(app: ZapApp) -> None:
    await until(lambda: isinstance(app.screen, VerdictScreen))
    await sees(app, "What happened, in order")


async def light(app: ZapApp) -> None:
    await events(app)
    await press(app, "d")


async def trouble(app: ZapApp) -> None:
    await until(lambda: app.latest.ended, "the end")
    await sees(app, "ENDED", "LOST 1,234", "not read: 3", "missing: bad_pte", "note: ended")


async def demo(app: ZapApp) -> None:
    """What `zaptrace replay` shows at its end: these are in the README."""
    await sees(app, "■ END", "620 events", "0.620894")


Scene = Callable[[ZapApp], Awaitable[None]]
SCENES: dict[str, Scene] = {
    "events": events,
    "story": story,
    "life": life,
    "audit": audit,
    "audit_story": audit_story,
    "steps": steps,
    "verdict": verdict,
    "light": light,
    "trouble": trouble,
    "demo": demo,
    "demo_story": story,
}
VISITS = {
    ("events", "story"): SIZES,
    ("life",): SIZES,
    ("audit", "audit_story"): SIZES[:2],
    ("audit",): SIZES[2:],
    ("steps",): SIZES,
    ("verdict",): SIZES,
    ("light",): SIZES[1:2],
    ("trouble",): SIZES[:2],
    ("demo", "demo_story"): SIZES[1:2],
}
"""Pictures that are taken of one app, one after the other."""
CASES = [(names, size) for names, sizes in VISITS.items() for size in sizes]


def troubled() -> Events:
    """The founding bug out of a capture that is not whole."""
    found = founding_bug()
    found.meta |= {
        "missing": [{"event": "bad_pte", "why": "print_bad_pte: no such symbol"}],
        "notes": ["tracefs instead of bcc: bcc is missing", "ended in the middle of a frame"],
        "damaged_frames": 3,
    }
    return found


def app_for(name: str) -> tuple[ZapApp, Work | None]:
    """The app of a scene, and the work under it."""
    if name.startswith("demo"):
        source = Replay(read(shipped.path()), speed=1000.0)
        return ZapApp(source, title="replay founding.zap"), None
    if name == "trouble":
        return app_of([troubled(), lost(1234)], ends=True), None
    if name not in ("steps", "verdict"):
        found = Audited(real_audit(about(refused_pfns()[0]), of_an_mm()))
        audited = found if name.startswith("audit") else None
        lives = founding_shown if name == "life" else None
        return app_of(ends=True, console=True, audit=audited, lives=lives), None
    work = Work(waits_in="boot" if name == "steps" else None)
    return app_of(console=True, work=work, source=False), work


@pytest.mark.parametrize(("names", "size"), CASES, ids=str)
def test_the_screen_looks_as_it_did(names: tuple[str, ...], size: tuple[int, int]) -> None:
    app, work = app_for(names[0])
    changed: list[str] = []

    async def driver(app: ZapApp, _pilot: object) -> None:
        for name in names:
            await SCENES[name](app)
            await sees(app, "Quit", "palette")
            kept = FOLDER / f"{name}_{size[0]}x{size[1]}.svg"
            if not await is_like(app, kept):
                changed.append(kept.name)
        if work:
            work.go_on.set()

    drive(app, driver, size)
    assert changed == [], "what they are now: .new.svg beside them"


async def is_like(app: ZapApp, kept: Path) -> bool:
    """Return whether the screen comes to look like a picture; what it does look like is kept."""
    if "ZAPTRACE_UPDATE" in os.environ:
        await still(app)
        FOLDER.mkdir(exist_ok=True)
        kept.write_text(normal(app.export_screenshot(title="zaptrace")), encoding="utf-8")
        return True
    wanted = kept.read_text(encoding="utf-8")
    # Where other work has the machine, a scroll bar was drawn after ten looks at its pane.
    patience = time.monotonic() + SETTLED_SECONDS
    while True:
        drawn = app.screen._compositor.render_strips()
        taken = normal(app.export_screenshot(title="zaptrace"))
        await asyncio.sleep(0.05)
        if taken == wanted and drawn == app.screen._compositor.render_strips():
            return True
        if time.monotonic() > patience:
            # Not compared by pytest: its explanation of a difference takes minutes.
            kept.with_suffix(".new.svg").write_text(taken, encoding="utf-8")
            return False


async def still(app: ZapApp) -> None:
    """Wait until the footer is there and some looks in a row show the same."""
    await sees(app, "Quit", "palette")
    looks: list[str] = []

    def is_still() -> bool:
        looks.append(text_of(app))
        return len(looks) > 10 and len(set(looks[-10:])) == 1

    await until(is_still, "a still screen")


def normal(picture: str) -> str:
    """The same picture always has the same ids."""
    return re.sub(r"terminal-\d+-", "terminal-", picture)


def test_a_picture_differs_from_another() -> None:
    """The comparison would be worth nothing if pictures did not hold the screen's words."""
    kept = (FOLDER / "events_120x40.svg").read_text(encoding="utf-8")
    assert "rmap_remove" in kept and "6.1.0-zaptrace" in kept.replace("&#160;", " ")


def test_no_colour_alone_carries_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_of(ends=True, console=True)
    colours: set[str] = set()

    async def driver(app: ZapApp, _pilot: object) -> None:
        await events(app)
        await still(app)
        colours.update(re.findall(r"fill: #([0-9a-f]{6})", app.export_screenshot()))
        assert "✖ bad_page" in text_of(app) and "▶" in text_of(app)

    drive(app, driver)
    assert {grey for grey in colours if len({grey[:2], grey[2:4], grey[4:]}) > 1} <= {"c5c8c6"}
