"""The capture that ships: real events of the founding bug."""

from __future__ import annotations

import numpy as np

from zaptrace import demo
from zaptrace.capture.reader import read
from zaptrace.explain.suspects import Suspects
from zaptrace.model.events import Kind


def test_it_is_whole_and_small() -> None:
    events = read(demo.path())
    assert demo.path().stat().st_size < 100_000
    assert events.meta["damaged_frames"] == events.meta["damaged_records"] == 0
    assert events.meta["arch"] == "s390x"
    assert events.lost == 0
    reasons = {events.strings[int(one)] for one in events.of_kind(Kind.BAD_PAGE)["reason"]}
    assert reasons == {"nonzero mapcount"}
    assert any("unmap_page_range" in name for name in events.symbols.values())


def test_its_first_suspect_is_the_page_of_the_first_splat() -> None:
    events = read(demo.path())
    suspects = Suspects()
    suspects.add(events)
    first = events.of_kind(Kind.BAD_PAGE)["pfn"][0]
    rows = {row.pfn: row for row in suspects.ranking(1000)}
    assert rows[int(first)].score == max(row.score for row in rows.values())
    assert len(np.unique(events.of_kind(Kind.BAD_PAGE)["pfn"])) == len(rows)


def test_every_address_of_its_stacks_has_a_name() -> None:
    """Also the return address of exit_group()'s call, which lies past the function's end."""
    events = read(demo.path())
    met = {address for stack in events.stacks.values() for address in stack}
    assert met <= events.symbols.keys()
