"""Data frames: every number as the record has it, what is absent absent, names as categories."""

from __future__ import annotations

import importlib.metadata
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zaptrace
from tests.unit.report.builders import VERDICT
from zaptrace import demo
from zaptrace.capture.reader import read
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.events import ABSENT, EVENT, Events, Kind, Origin, blank
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.splats import Splat
from zaptrace.report.dataframes import Run, Vmcore

AUDIT = AuditResult("6.1", 10, 1, 3, 0.1, VERDICT.proof)


@pytest.fixture(scope="module")
def founding() -> Events:
    return read(demo.path())


def test_every_event_is_a_row_with_its_own_numbers(founding: Events) -> None:
    import pandas as pd

    events = zaptrace.open_run(demo.path()).events
    assert len(events) == len(founding.records)
    for name in ("pfn", "raw_mapcount", "refcount", "addr", "end", "pid", "cpu", "mm", "site"):
        for told, stored in zip(
            events[name].tolist(), founding.records[name].tolist(), strict=True
        ):
            assert told is pd.NA or told == stored, name
    there = founding.records["pfn"] != ABSENT
    assert events["pfn"].notna().to_numpy().tolist() == there.tolist()
    known = events["raw_mapcount"].dropna()
    assert (events.loc[known.index, "mapcount"].dropna() == known + 1).all()


def test_the_index_is_the_boot_clock(founding: Events) -> None:
    events = Run(founding).events
    assert events.index.name == "time" and events.index.is_monotonic_increasing
    clocks = founding.records["clock"]
    timed = clocks != ABSENT
    nanoseconds = events.index.to_numpy().astype("timedelta64[ns]").astype(np.int64)
    assert nanoseconds[events["timed"]].tolist() == sorted(clocks[timed].tolist())
    assert int(events["timed"].sum()) == int(timed.sum())


def test_a_stretch_of_time_can_be_cut_out_of_any_order() -> None:
    import pandas as pd

    records = blank(4)
    records["clock"] = (9_000, ABSENT, 2_000, 5_000)
    records["kind"] = Kind.BAD_PAGE
    records["pid"] = (9, 1, 2, 5)
    records["origin"][1] = Origin.REGISTERS
    events = Run(Events(records)).events
    assert events.loc["1us":"6us", "pid"].tolist() == [2, 5]
    # Its time is not known: it comes after all others.
    assert events["pid"].tolist() == [2, 5, 9, 1]
    assert events["timed"].tolist() == [True, True, True, False]
    assert events.index[3] == pd.Timedelta(9_001, "ns")
    assert events["origin"].tolist()[2:] == ["probe", "registers"]


def test_names_are_categories(founding: Events) -> None:
    import pandas as pd

    events = Run(founding).events
    for name in ("kind", "comm", "reason", "where", "origin", "stack"):
        assert isinstance(events[name].dtype, pd.CategoricalDtype), name
    assert events["kind"].value_counts()["bad_page"] == len(founding.of_kind(Kind.BAD_PAGE))
    assert "nonzero mapcount" in set(events["reason"].dropna())


def test_pages_join_events_and_findings(founding: Events) -> None:
    frames = Run(founding, AUDIT)
    pages = frames.pages
    bad = founding.of_kind(Kind.BAD_PAGE)["pfn"]
    assert set(pages.index[pages["bad_page"] > 0]) == set(bad.tolist())
    wrong = pages.loc[0x1F3C5]
    assert wrong["finding"] == "more_mapcount_than_ptes"
    assert (wrong["ptes"], wrong["events"]) == (0, int(np.sum(founding.records["pfn"] == 0x1F3C5)))
    assert pages["events"].sum() == int(np.sum(founding.records["pfn"] != ABSENT))


def test_findings_have_their_first_owner() -> None:
    (row,) = Run(Events(), AUDIT).findings.to_dict("records")
    assert (row["class"], row["pfn"], row["ptes"]) == ("more_mapcount_than_ptes", 0x1F3C5, 0)
    assert (row["comm"], row["pid"], row["flags"]) == (
        "mount",
        41,
        "referenced|uptodate|swapbacked",
    )


def test_a_run_that_recorded_nothing_has_empty_frames(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    run = zaptrace.open_run(tmp_path)
    assert [len(frame) for frame in (run.events, run.pages, run.findings)] == [0, 0, 0]
    assert list(run.events.columns) == list(zaptrace.open_run(demo.path()).events.columns)


def test_any_bytes_of_a_guest_make_frames() -> None:
    raw = random.Random(7).randbytes(EVENT.itemsize * 500)
    frames = Run(Events(np.frombuffer(raw, EVENT).copy()))
    assert len(frames.events) == 500
    assert frames.pages["events"].sum() == frames.events["pfn"].notna().sum()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a run folder"):
        zaptrace.open_run(tmp_path)
    with pytest.raises(Missing):
        zaptrace.open_run(tmp_path / "nothing")


def test_the_package_is_light() -> None:
    program = (
        "import sys, zaptrace, zaptrace.report, zaptrace.cli.main as m; m.build_parser();"
        "assert not {'pandas', 'pyarrow', 'drgn'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_run_says_what_is_inside() -> None:
    run = zaptrace.open_run(demo.path())
    assert repr(run) == f"<zaptrace.Run {demo.path()}: {len(run.events):,} events>"
    whole = Run(
        Events(), AUDIT, {"verdict": {"kind": "mapping_leaked"}}, (Splat("bad_page_state"),), "r"
    )
    assert repr(whole) == "<zaptrace.Run r: 0 events, 1 splat, 1 finding, verdict mapping_leaked>"


def test_a_run_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "verdict.json").write_text('{"verdict": {"kind": "unexplained"}}')
    (tmp_path / "console.log").write_text("BUG: Bad page state in process init  pfn:00b12\n")
    run = zaptrace.open_run(tmp_path)
    assert run.verdict == {"verdict": {"kind": "unexplained"}}
    assert [splat.pfn for splat in run.splats] == [0xB12]


def test_the_story_of_a_page_is_its_events_and_the_zaps_before_them() -> None:
    run = zaptrace.open_run(demo.path())
    pfn = int(run.events[run.events.kind == "bad_page"].pfn.iloc[0])
    story = run.story(pfn)
    about = story[story.kind != "zap"]
    assert set(about.pfn) == {pfn}
    assert len(about) == (run.events.pfn == pfn).sum()
    zap = story[story.kind == "zap"].iloc[-1]
    freed = story[story.kind == "page_free"].iloc[0]
    assert zap.pid == freed.pid
    assert zap.name < freed.name
    assert run.story(0xFFFFFF).empty


def test_the_package_offers_what_it_says() -> None:
    for name in zaptrace.__all__:
        assert getattr(zaptrace, name) is not None
    assert zaptrace.__version__ == importlib.metadata.version("zaptrace")
    assert isinstance(zaptrace.open_run(demo.path()), zaptrace.Run)


def vmcore(pages: int, wrong: int | None) -> Vmcore:
    """A dump of a few pages, the third a large folio's head, one of them wrong."""
    numbers = np.arange(pages)
    of_pages = {
        "pfn": (numbers + 0x1000).astype(np.uint64),
        "mapcount": numbers.astype(np.int64),
        "mappable": numbers != 1,
        "ptes": numbers.astype(np.int64),
    }
    of_ptes = {
        "pid": np.array([7, -1], np.int64),
        "comm": np.array(["init", ""]),
        "level": np.array(["pte", "pmd"]),
        "address": np.array([0x1000, 0xFFFF_FFFF_F000], np.uint64),
    }
    found = [Finding(FindingClass.MAPPED_BUT_FREE, wrong, 1, 0, 0)] if wrong else []
    audit = AuditResult("7.3", pages, 1, 2, 0.1, tuple(found))
    return Vmcore(audit, of_pages, of_ptes)


def test_a_vmcore_has_every_page_with_its_finding() -> None:
    pages = vmcore(4, 0x1002).pages
    assert pages.index.tolist() == [0x1000, 0x1001, 0x1002, 0x1003]
    assert pages.mapcount.isna().tolist() == [False, True, False, False]
    assert pages.ptes.tolist() == [0, 1, 2, 3]
    assert pages.finding.isna().tolist() == [True, True, False, True]
    assert pages.finding[0x1002] == "mapped_but_free"
    assert vmcore(4, None).pages.finding.isna().all()
    assert vmcore(4, 0x1002).findings["pfn"].tolist() == [0x1002]


def test_a_vmcore_has_every_pte_with_whose_it_is() -> None:
    ptes = vmcore(1, None).ptes
    assert ptes.pid.isna().tolist() == [False, True]
    assert ptes.address.tolist() == [0x1000, 0xFFFF_FFFF_F000]
    assert str(ptes.level.dtype) == "category"
