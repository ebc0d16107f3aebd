"""The pump: every increment to every sink, and an end at any signal."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from zaptrace.capture.reader import read
from zaptrace.capture.writer import Writer
from zaptrace.cli.event_stream import Tally, pump, say_what_is_missing, until
from zaptrace.cli.show_events import Recorded
from zaptrace.model.errors import GuestLost
from zaptrace.model.events import Events, Kind, Records, blank


def records(kind: Kind, count: int) -> Records:
    made = blank(count)
    made["kind"] = kind
    made["nr"] = 3
    return made


class Scripted:
    """A source that gives what it was made with; endless ones wait when they have no more."""

    def __init__(self, *increments: Events, endless: bool = False) -> None:
        self.increments = list(increments)
        self.endless = endless
        self.waiting = threading.Event()

    def read(self, seconds: float) -> Events | None:
        if self.increments:
            return self.increments.pop(0)
        self.waiting.set()
        threading.Event().wait(min(seconds, 0.01))
        return Events() if self.endless else None

    def close(self) -> None:
        pass


def test_every_sink_gets_everything(tmp_path: Path) -> None:
    source = Scripted(
        Events(records(Kind.ZAP, 2), meta={"arch": "s390x"}),
        Events(records(Kind.BAD_PAGE, 1), {1: "why"}),
        Events(records(Kind.LOST, 2), meta={"notes": ["slow"]}),
    )
    seen: list[Events] = []
    with Writer(tmp_path / "capture") as writer:
        tally = pump(source, [seen.append, writer.add], lambda: False)
    assert tally == Tally(events=3, bugs=1, lost=6, meta={"arch": "s390x", "notes": ["slow"]})
    assert len(seen) == 3
    back = read(tmp_path / "capture")
    assert back.records["kind"].tolist() == [Kind.ZAP] * 2 + [Kind.BAD_PAGE] + [Kind.LOST] * 2
    assert back.strings == {1: "why"}


def test_what_is_there_at_the_stop_is_read_still() -> None:
    source = Scripted(Events(records(Kind.ZAP, 2)), endless=True)
    assert pump(source, [], lambda: True).events == 2


def test_it_stops_when_the_time_is_up() -> None:
    with until(0.05) as stop:
        assert not stop()
        pump(Scripted(endless=True), [], stop)
        assert stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_between_increments_and_a_second_one_interrupts(
    number: signal.Signals,
) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:
        source = Scripted(Events(records(Kind.ZAP, 2)), endless=True)
        with until() as stop:

            def end() -> None:
                source.waiting.wait(10)
                os.kill(os.getpid(), number)

            threading.Thread(target=end).start()
            assert pump(source, [], stop).events == 2
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
                threading.Event().wait(5)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    meta = {
        "notes": ["the guest ended\x1b[2J"],
        "missing": [{"event": "bad_pte", "why": "no such symbol"}],
        "damaged_frames": 1,
        "damaged_records": 2,
        "dropped_entries": 0,
    }
    say_what_is_missing(Tally(lost=1234, meta=meta))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "zaptrace: the guest ended?[2J",
        "zaptrace: no bad_pte events: no such symbol",
        "zaptrace: LOST: 1234 events could not be delivered",
        "zaptrace: not read: 1 damaged frame",
        "zaptrace: not read: 2 damaged records",
    ]


def test_nothing_missing_is_nothing_said(capsys: pytest.CaptureFixture[str]) -> None:
    say_what_is_missing(Tally(events=5, meta={"damaged_frames": 0}))
    assert capsys.readouterr() == ("", "")


class Breaking(Scripted):
    """A source that breaks when it has no more."""

    def read(self, seconds: float) -> Events | None:
        if not self.increments:
            raise GuestLost("the guest is lost")
        return super().read(seconds)


def test_what_broke_in_the_tui_is_an_error_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    source = Recorded(Breaking(Events(records(Kind.LOST, 1))), None)
    assert source.read(0) is not None
    with pytest.raises(GuestLost):
        source.read(0)
    with pytest.raises(GuestLost, match="the guest is lost"):
        source.tally()
    assert "LOST: 3 events" in capsys.readouterr().err


def test_a_source_that_ends_well_is_counted_after_the_tui() -> None:
    source = Recorded(Scripted(Events(records(Kind.BAD_PAGE, 2))), None)
    while source.read(0) is not None:
        pass
    assert (source.tally().events, source.tally().bugs) == (2, 2)
