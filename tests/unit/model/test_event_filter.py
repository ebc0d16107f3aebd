"""The filter language: each sentence of its grammar, and what it says when it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.model import event_filter
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Kind, Records, blank

PFNS = (0xA80, 0xA81, 123, 0xA70)


def records() -> Records:
    """0 zap by mount/41, 1 bad_page 0xa80, 2 rmap_remove of 123, 3 rmap_remove of 0xa70 + 32."""
    made = blank(5)
    made["kind"] = [Kind.ZAP, Kind.BAD_PAGE, Kind.RMAP_REMOVE, Kind.RMAP_REMOVE, Kind.LOST]
    made["pid"] = [41, 41, 7, 123, -1]
    made["comm"] = [b"mount", b"mount", b"kworker/0:1", b"a [b] c", b""]
    made["pfn"][1:4] = [0xA80, 123, 0xA70]
    made["nr"] = [0, 0, 1, 32, 9]
    made["mm"][0] = 0xFFFF888004C3A000
    made["raw_mapcount"][1:4] = [0, -1, -(2**31) + 5]
    made["refcount"][1] = 0
    made["cpu"] = [0, 1, 0, 1, 2**32 - 1]
    return made


def chosen(text: str) -> list[int]:
    return [int(place) for place in np.flatnonzero(event_filter.compile(text)(records()))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("   ", [0, 1, 2, 3, 4]),
        ("pid=41", [0, 1]),
        ("pid=0x29", [0, 1]),
        ("pid!=41", [2, 3]),  # the lost record has no pid
        ("pid>=41 pid<=0x29", [0, 1]),
        ("comm=mount kind=bad_page", [1]),
        ("comm=mount and kind=bad_page", [1]),
        ("comm=mount or pid=7", [0, 1, 2]),
        ("pid=7 or comm=mount kind=zap", [0, 2]),  # and binds closer
        ("(pid=7 or comm=mount) kind=zap", [0]),
        ("not comm=mount", [2, 3, 4]),
        ("not not (comm=mount or pid=7)", [0, 1, 2]),
        ("comm=kw*", [2]),
        ("comm=*:1", [2]),
        ('comm="a [b] c"', [3]),
        ('comm="a [b*"', [3]),
        ("comm!=mount", [2, 3, 4]),
        ("kind=bad_*", [1]),
        ("kind=BAD_PAGE", [1]),
        ("mount", [0, 1]),
        ("rmap", [2, 3]),
        ('"zap"', [0]),
        ("pfn=0xa80", [1, 3]),  # also one of the 32 pages from 0xa70 on
        ("pfn=2688", [1, 3]),
        ("pfn!=0xa80", [2]),
        ("pfn>123", [1, 3]),
        ("123", [2, 3]),  # pid or pfn
        ("mm=0xffff888004c3a000", [0]),
        ("mapcount>0", [1]),
        ("mapcount=0", [2]),  # a page type is no mapcount
        ("mapcount<0", []),
        ("raw_mapcount=-1", [2]),
        ("refcount=0", [1]),
        ("nr>=9", [3, 4]),
        ("cpu=1", [1, 3]),
        ("cpu!=0", [1, 3]),
        ("99999999999999999999", []),
    ],
)
def test_a_filter_means(text: str, expected: list[int]) -> None:
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo=1", "no field foo; there are kind, comm, mapcount"),
        ("pid=x", r"pid is a number .* not x \(column 5\)"),
        ("pid=41 kind=bag", r"no kind bag; there are zap, .* \(column 13\)"),
        ("comm>a", "comm is text"),
        ("pid=", r"value is missing after pid= \(column 5\)"),
        ("pid=(", "value is missing"),
        ("(pid=1", r"\) is missing \(column 7\)"),
        ("pid=1)", r"\) without its \( \(column 6\)"),
        ("pid=1 or", "missing at the end"),
        ("or pid=1", r"missing before or \(column 1\)"),
        ("()", "missing before"),
        ("pid=1 =2", r"missing before = \(column 7\)"),
        ('comm="a', r'" without its end \(column 6\)'),
        ("a !", r"'!' means nothing \(column 3\)"),
        ("pid=3000000000", "no value that pid can have"),
        ("mm=-1", "no value that mm can have"),
        ("(" * 100, "levels"),
        ("not " * 100, "levels"),
        ("a" * 1001, "longer than 1000"),
    ],
)
def test_a_bad_filter_says_what_is_wrong_and_where(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        event_filter.compile(text)


@given(st.text(alphabet=' ()"=!<>*ao-x0123pidnotrcmfkez_\\[?é', max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    try:
        meaning = event_filter.compile(text)
    except BadInput as error:
        assert "\n" not in str(error)
    else:
        mask = meaning(records())
        assert mask.shape == (5,) and mask.dtype == bool
        assert len(meaning(blank(0))) == 0


def test_every_field_can_be_asked_for() -> None:
    for name in event_filter.FIELDS:
        value = "zap" if name in ("kind", "comm") else "0"
        assert len(event_filter.compile(f"{name}={value}")(records())) == 5
