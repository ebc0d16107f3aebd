"""A page's recorded life as lines: every store that changed something, by its line of source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tui.format import Piece
from zaptrace.life.named_life import STRAY, NamedWrite
from zaptrace.life.page_life import Role
from zaptrace.report.life import ShownLife, change_text
from zaptrace.report.words import plain

Lives = Callable[[int], ShownLife]
"""Reads the life of a page, by its PFN; it raises ZaptraceError where there is none."""
MOST_CALLERS = 6
"""Of a store; the rest is what `zaptrace life --stack` prints."""
_INDENT = " " * 20
_STYLES = {
    Role.MAPPED: "rmap",
    Role.UNMAPPED: "rmap",
    Role.PTE_SET: "zap",
    Role.PTE_CLEARED: "zap",
    Role.PTE_CHANGED: "zap",
    Role.PMD_SET: "zap",
    Role.PMD_CLEARED: "zap",
    Role.PMD_CHANGED: "zap",
    Role.FREED: "warn",
    STRAY: "bad",
}


def life_lines(shown: ShownLife) -> list[list[Piece]]:
    """Return the lines: what has no partner, then the stores, the oldest first."""
    return list(_lines(shown))


def _lines(shown: ShownLife) -> Iterator[list[Piece]]:
    writes = shown.named.writes
    for note in shown.notes:
        yield [(plain(note), "dim")]
    for sentence in shown.sentences:
        yield [(f"✖ {plain(sentence)}", "bad")]
    stopped = False
    for one in writes:
        if one.write.after_stop and not stopped:
            stopped = True
            yield [("── the guest was stopped and dumped here, and ran on", "warn")]
        if one.write.changes or not one.write.valued:
            yield from _store(shown, one, writes[0].write.ns)


def _store(shown: ShownLife, one: NamedWrite, origin: int) -> Iterator[list[Piece]]:
    """Yield what one store changed, and who did it."""
    write, role = one.write, one.role
    blamed = write.number in shown.blamed
    changes = [change_text(change, shown.fields) for change in write.changes]
    first, *rest = changes or ["(value not recorded)"]
    mark = "✖" if blamed else " "
    yield [
        (f"{(write.ns - origin) / 1e6:11.3f} ms ", "key"),
        (f"cpu {write.cpu} ", "dim"),
        (f"{mark} ", "bad"),
        (f"{role:<12}", "bad" if blamed else _STYLES.get(role, "")),
        (plain(first), ""),
    ]
    for more in rest:
        yield [(f"{_INDENT}{'':15}{plain(more)}", "")]
    if write.alias:
        yield [(f"{_INDENT}{'':15}not through vmemmap, but the direct map", "bad")]
    author = one.author
    callers = [str(frame) for frame in one.around()[:MOST_CALLERS]]
    chain = " < ".join([str(author), *callers])
    yield [(f"{_INDENT}{plain(author.source or '?')} ", ""), (plain(chain), "dim")]
