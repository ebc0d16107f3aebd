"""Many boots counted: when they are enough, and what they mean."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from zaptrace.cli.repro_repeat import repeats_code
from zaptrace.model.progress import Step, ignore
from zaptrace.runs import repeat
from zaptrace.runs.repeat import Boot, Repeats, case_of, summary
from zaptrace.runs.repro import Request


def repeats(*kinds: str | None, asked: int = 0) -> Repeats:
    boots = [
        Boot(
            number, Path("/run"), 1.0, kind, "" if kind in (None, "clean") else f"{kind} in f()", ""
        )
        for number, kind in enumerate(kinds, 1)
    ]
    return Repeats("s390x", asked or len(boots), boots)


def test_it_is_sure_when_the_interval_is_narrow() -> None:
    assert not repeats(*["rmap_underflow"] * 15).sure
    assert repeats(*["rmap_underflow"] * 16).sure
    assert not repeats(*["rmap_underflow", "clean"] * 40).sure
    assert repeats(*["rmap_underflow", "clean"] * 50).sure


def test_clean_boots_alone_never_are_enough() -> None:
    assert not repeats(*["clean"] * 1000).sure


def test_lost_guests_do_not_count_as_clean() -> None:
    some = repeats("clean", None, "rmap_underflow", None)
    assert (some.judged, some.lost, some.hits) == (2, 2, 1)
    assert some.to_json()["rate"] == 0.5
    assert some.verdicts == {"clean": 1, "rmap_underflow": 1}
    assert "2  without a verdict" in summary(some)


def test_stopping_early_is_said() -> None:
    text = summary(repeats(*["rmap_underflow"] * 16, asked=50))
    assert "16 of 16 boots showed a bug: 100%" in text
    assert "Stopped after 16 of 50" in text


def test_exit_codes() -> None:
    assert repeats_code(repeats("clean", "clean"), None) == 0
    assert repeats_code(repeats("clean", None), None) == 125
    assert repeats_code(repeats("clean", None, "rmap_underflow"), None) == 1
    assert repeats_code(repeats("rmap_underflow"), "rmap_underflow") == 0
    assert repeats_code(repeats("rmap_underflow", "clean"), "rmap_underflow") == 1


def test_a_boot_is_a_case_of_its_own() -> None:
    clean, bug, lost = repeats("clean", "rmap_underflow", None).boots
    assert not case_of(clean, None).failure
    assert case_of(clean, "rmap_underflow").failure == "clean"
    assert case_of(bug, None).failure == "rmap_underflow"
    assert not case_of(bug, "rmap_underflow").failure
    assert not case_of(lost, None).failure


def test_an_interrupted_boot_ends_in_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the one beside it has ended already."""
    begun: list[int] = []
    ended: list[str] = []

    async def boot(*_: Any) -> None:
        begun.append(len(begun))
        slow = len(begun) > 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if slow:
                await asyncio.sleep(0.05)
                ended.append("slow")
            raise

    async def interrupted() -> None:
        current = Step("boots", "Boot", ignore)
        everything = asyncio.create_task(
            repeat._all(Request("s390x"), repeats(asked=2), 2, current)
        )
        while len(begun) < 2:
            await asyncio.sleep(0)
        everything.cancel()
        with pytest.raises(asyncio.CancelledError):
            await everything

    monkeypatch.setattr(repeat, "_some", boot)
    asyncio.run(interrupted())
    assert ended == ["slow"]
