"""Rows on what only old kernels count or print."""

from __future__ import annotations

import re

from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console
from zaptrace.triage.row import Candidate, Row, Sign, each
from zaptrace.triage.signs import FOREIGN_MODULES, IN_MODULE, MANY_PAGES, way_is
from zaptrace.triage.stacks import Way

_RELEASE = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")
_OLDEST = re.compile(r"2\.6\.([0-9]{1,3})")


def _tail_references(splat: Splat, console: Console) -> str | None:
    """Return that a tail page's mapcount is a count of references, where the kernel may be so old.

    Until "mm: drop tail page refcounting" (ddc58f27f9ee, in v4.5); `raw:` words came later.
    """
    if splat.kind != "bad_page_state" or "tail" not in splat.flags or not splat.mapcount:
        return None
    release = _RELEASE.match(splat.kernel_release or console.release or "")
    if splat.raw or (release and (int(release[1]), int(release[2])) >= (4, 5)):
        return None
    return (
        "The page is a tail page: up to v4.4 its mapcount counts references to it, not mappings "
        f"(mapcount {splat.mapcount})."
    )


def _flags_alone(splat: Splat, _console: Console) -> str | None:
    """Return that the flags were refused, where the kernel does not say why: all else is 0.

    Kernels before dump_page() (2.6.34) print them on the page's line, without names.
    """
    fields = (splat.refcount, splat.mapcount, splat.mapping)
    if splat.kind != "bad_page_state" or splat.reason or splat.flags:
        return None
    release = _OLDEST.match(splat.kernel_release or "")
    if (
        release is None
        or int(release[1]) >= 34
        or splat.flags_word is None
        or any(one != 0 for one in fields)
    ):
        return None
    return (
        "The count, the mapcount and the mapping are as they must be: the kernel refused the flags "
        f"({splat.flags_word:#x})."
    )


ROWS = (
    Row(
        name="tail_references",
        title="a tail page's references, up to v4.4",
        sees=each(_tail_references),
        causes=(
            Candidate(
                "a reference to a part of a large page was dropped twice, or never taken",
                1,
                (
                    Sign(2, "the mapcount is below 0", lambda splat, _: (splat.mapcount or 0) < 0),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate(
                "a reference to a part of a large page is still held",
                1,
                (Sign(2, "the mapcount is above 0", lambda splat, _: (splat.mapcount or 0) > 0),),
            ),
            Candidate("its struct page was overwritten by other code", 0, (MANY_PAGES,)),
        ),
        measure=("who takes references to parts of large buffers: the module in the stack",),
        source='"mm: drop tail page refcounting" (ddc58f27f9ee, in v4.5); openzfs issue 3075',
    ),
    Row(
        name="flags_alone",
        title="an old kernel refused a page for its flags",
        sees=each(_flags_alone),
        causes=(
            Candidate(
                "it was freed with a flag of a page in use",
                2,
                (Sign(1, "the stack is that of the free", way_is(Way.FREE)),),
            ),
            Candidate(
                "a weak bit of memory in the struct page",
                1,
                (
                    Sign(
                        2,
                        "its free had passed the same checks before the allocation",
                        way_is(Way.ALLOC),
                    ),
                ),
            ),
            Candidate("its struct page was overwritten by other code", 0, (MANY_PAGES,)),
        ),
        measure=(
            "which bit is it: enum pageflags of that kernel's include/linux/page-flags.h",
            "is it the same struct page, or bit, in other reports?  memtest86+",
        ),
        source="bad_page(), mm/page_alloc.c; Linus, 2009-08-23",
    ),
)
