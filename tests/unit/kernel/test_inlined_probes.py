"""Which of the places where an inlined call can be watched are looked at."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.kernel.inlined_probes import until_complete
from zaptrace.model.plan import ProbeArg, ProbeSite


def site(offset: int, **args: ProbeArg) -> list[ProbeSite]:
    return [ProbeSite("zap", "unmap_page_range", offset, None, True, None, args)]


PART = site(8, page=ProbeArg("%r2"), order=ProbeArg(None))
WHOLE = site(16, page=ProbeArg("%r2"), order=ProbeArg("%r3"))


def test_none_is_made_after_one_that_has_all_arguments() -> None:
    def candidates() -> Iterator[list[ProbeSite]]:
        yield from (PART, WHOLE)
        raise AssertionError("one more was asked for")

    assert until_complete(candidates()) == [PART, WHOLE]


def test_all_are_made_when_each_lacks_some() -> None:
    assert until_complete(iter([PART, PART])) == [PART, PART]
    assert until_complete(iter([])) == []
