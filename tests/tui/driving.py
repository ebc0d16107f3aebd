"""Driving the app in a test: wait for what must come, read what the screen says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from textual.events import Key
from textual.message_pump import MessagePump
from textual.pilot import Pilot

from tests.tui.scripted import Script, console_text, founding_bug
from tui.app import ZapApp
from tui.background_job import Work
from tui.findings_text import Audited
from tui.life_lines import Lives
from zaptrace.model.events import Events, Kind

PATIENCE = 60.0
"""Seconds that anything may take on a machine with other work."""
_LOOK_SECONDS = 0.02
"""Of the whole screen, which takes half of that to be rendered."""
Driver = Callable[[ZapApp, Pilot[Any]], Awaitable[None]]


def app_of(
    increments: Sequence[Events] | None = None,
    *,
    ends: bool = False,
    console: bool = False,
    work: Work | None = None,
    source: bool = True,
    audit: Audited | None = None,
    lives: Lives | None = None,
) -> ZapApp:
    """The app on a scripted source, the founding bug's when nothing else is said."""
    events = [founding_bug()] if increments is None else increments
    text = console_text(refused_pfns()[:3]) if console else ""
    return ZapApp(
        Script(events, ends=ends) if source else None,
        title="live",
        console=(lambda: text) if console else None,
        work=work,
        now=lambda: 0.0,
        audit=audit,
        lives=lives,
    )


def refused_pfns() -> list[int]:
    """The founding bug's pages, in the order in which they were refused."""
    return [int(pfn) for pfn in founding_bug().of_kind(Kind.BAD_PAGE)["pfn"]]


def drive(app: ZapApp, driver: Driver, size: tuple[int, int] = (120, 40)) -> None:
    """Run the app without a terminal while `driver` does things to it."""

    async def main() -> None:
        async with app.run_test(size=size) as pilot:
            await driver(app, pilot)

    asyncio.run(main())


async def until(condition: Callable[[], object], what: str = "it") -> None:
    """Let the app work until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} never came"
        await asyncio.sleep(0.01)


async def press(app: ZapApp, *keys: str) -> None:
    """Press keys, one after the other has been dealt with.

    Pilot's own waits for the process to be idle, which takes long beside a feed.
    """
    for key in keys:
        app.post_message(Key(key, key if len(key) == 1 else None))
        for _ in range(2):
            for node in (app, app.screen, app.focused):
                if node is not None:
                    await _barrier(node)


async def _barrier(node: MessagePump) -> None:
    """Let a node deal with what it was sent so far."""
    passed = asyncio.Event()
    if node.call_later(passed.set):
        await asyncio.wait_for(passed.wait(), PATIENCE)


async def sees(app: ZapApp, *words: str) -> None:
    """Wait until the screen says all of some words."""
    deadline = time.monotonic() + PATIENCE
    while missing := _missing(text_of(app), words):
        assert time.monotonic() < deadline, f"not to be seen: {missing}\n{text_of(app)}"
        await asyncio.sleep(_LOOK_SECONDS)


def _missing(text: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in text]


def text_of(app: ZapApp) -> str:
    """The screen's characters, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)
