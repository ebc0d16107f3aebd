"""The web page: everything that matters is in it, and nothing that a guest says is markup."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings

from tests.sentences import sentences
from tests.unit.life.builders import PFN, page_fields
from tests.unit.life.lives import NAMES, Mapped, resolve
from tests.unit.report.builders import (
    HOSTILE,
    INFO,
    INFOS,
    TAGS,
    VERDICT,
    VERDICTS,
    WINDOW,
    Reader,
    checked,
    hostile,
    whole,
)
from zaptrace import demo
from zaptrace.capture.reader import read
from zaptrace.life.named_life import named_life
from zaptrace.model.events import Events, Kind
from zaptrace.model.verdict import OrderStep, Verdict, VerdictKind
from zaptrace.report.html.page import page
from zaptrace.report.html.pte_map import table_map
from zaptrace.report.html.steps_table import steps_table
from zaptrace.report.html.timeline import nice, rates, timeline
from zaptrace.report.life import ShownLife
from zaptrace.report.run_info import RunInfo


def test_what_matters_is_there() -> None:
    told = Reader(whole())
    for said in (
        "Page freed before its rmap was removed",
        VERDICT.summary,
        "0x1f3c5",
        "try_zap_anon_pte_range",
        "more_mapcount_than_ptes",
        "may have been mapped by mount/41",
        "__tlb_remove_page();  ◄ the page is freed",
        "mm/rmap.c is not shown: it is not in the tree.",
        "zaptrace repro s390x",
        "The kernel was stopped before the rmap removal.",
    ):
        assert said in told.text, said
    ids = {value for name, value in told.attributes if name == "id"}
    assert {"story", "counters", "tables", "sources", "rates", "reproduce", "unseen"} <= ids


def test_a_guest_s_words_are_text() -> None:
    told = checked(hostile())
    assert "<script>document.title" in told.text
    assert "\x1b" not in told.text and "\u202e" not in told.text


@settings(max_examples=60, deadline=None)
@given(VERDICTS, INFOS)
def test_whatever_a_guest_says_it_is_a_page(verdict: Verdict, info: RunInfo) -> None:
    checked(page(verdict, info))


def test_a_clean_page_says_so() -> None:
    told = checked(page(Verdict(VerdictKind.CLEAN, sentences("All is well.")), INFO))
    assert "No bad page found" in told.text and "All is well." in told.text
    assert "What happened to the page" not in told.text


def test_dots_stand_where_their_time_is() -> None:
    steps = [OrderStep("a", 1000, 0), OrderStep("b", 26_000, 0), OrderStep("c", 101_000, 0)]
    places = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', timeline(steps))]
    first, middle, last = places
    assert (middle - first) / (last - first) == pytest.approx(0.25, abs=0.001)


def test_what_has_no_time_comes_after_all_that_has() -> None:
    steps = [OrderStep("a", 1000), OrderStep("b", 9000), OrderStep("c", None)]
    drawn = timeline(steps)
    places = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', drawn)]
    assert places == sorted(places) and places[2] > places[1] + 20
    assert "time not known" in drawn


def test_the_bars_of_a_kind_are_its_events() -> None:
    events = read(demo.path())
    drawn = rates(events, None)
    for kind in (Kind.ZAP, Kind.RMAP_REMOVE, Kind.BAD_PAGE):
        name = kind.name.lower()
        counts = [int(one) for one in re.findall(rf"<title>(\d+) {name}</title>", drawn)]
        assert sum(counts) == len(events.of_kind(kind)) > 0


def test_events_at_any_clock_can_be_drawn() -> None:
    records = read(demo.path()).records[:3].copy()
    for clocks in ((0, 0, 0), (0, 2**63 - 1, 5), (2**64 - 1, 2**64 - 1, 2**63)):
        records["clock"] = np.array(clocks, np.uint64)
        checked(f"<html>{rates(Events(records), 3)}</html>")


def test_the_table_map_shows_each_entry_as_it_is() -> None:
    drawn = table_map(WINDOW).split('<p class="key">')[0]
    for kind, count in (
        ("present", 1),
        ("same", 1),
        ("none", 2),
        ("ring", 1),
        ("out", 28),
        ("cross", 1),
    ):
        assert drawn.count(f'class="{kind}"') == count, kind
    # Rows outside of the mapping are shown when they map something all the same.
    pfns = (*WINDOW.pfns[:-1], 99)
    assert table_map(dataclasses.replace(WINDOW, pfns=pfns)).count('class="out"') == 28 + 31 + 1
    assert "<title>0x4000: pfn 0x7</title>" in drawn


def test_counters_before_and_after() -> None:
    steps = (
        OrderStep("begins", 0),
        OrderStep("removed", 1, raw_mapcount=0, refcount=1),
        OrderStep("freed", 2, raw_mapcount=-1, refcount=0),
    )
    rows = re.findall(
        r"<tr>.*?</tr>", steps_table(dataclasses.replace(VERDICT, order=steps), VERDICT.proof[0])
    )[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row)[-2:] for row in rows]
    assert cells == [["-", "-"], ["1 → 0", "1 → 0"], ["0", "0 → 0"]]


@pytest.mark.parametrize(("step", "round_"), [(0, 1), (0.3, 0.5), (1.1, 2), (64, 100), (101, 200)])
def test_ticks_are_round(step: float, round_: float) -> None:
    assert nice(step) == pytest.approx(round_)


def test_a_pages_life_is_shown_with_its_stacks_and_nothing_of_it_is_markup() -> None:
    page_ = Mapped()
    NAMES[0x90] = f"{HOSTILE} at mm/memory.c:9|{HOSTILE} at {HOSTILE}"
    page_.refs(1, 0x90, 0x23)
    page_.zap()
    named = named_life(page_.life(tables=1, stop=10), PFN, resolve)
    shown = ShownLife(named, page_fields(), (HOSTILE,))
    text = page(VERDICT, INFO, life=shown)
    found = Reader(text)
    assert found.tags.count("details") == sum(bool(one.write.changes) for one in named.writes)
    assert set(found.tags) <= TAGS and "<script" not in text
    assert "zap_pte_range() mm/memory.c:21" in text and "PTE cleared" in text
    assert "after the stop" in text and "line opens to the call" in text
    assert "line opens to the call" not in page(VERDICT, INFO)
