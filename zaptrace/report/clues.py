"""What stands out in a console's reports, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zaptrace.model.clues import Cause, Clue
from zaptrace.report.words import cut, fill

MOST_CAUSES = 5


def clue_lines(clue: Clue, width: int) -> Iterator[str]:
    """Yield a clue whole: what is seen, the causes ranked, the measurements, the source."""
    yield from fill(clue.seen, width, "  ", "    ")
    for number, cause in enumerate(clue.causes[:MOST_CAUSES], 1):
        yield from fill(cause.what, width, f"    {number}. ", "       ")
        for text in _signs(cause):
            yield from fill(text, width, "         ", "           ")
    for text in clue.measure:
        yield from fill(text, width, "    -> ", "       ")
    if clue.source:
        yield from fill(f"[{clue.source}]", width, "       ")


def short_lines(clues: Sequence[Clue], width: int) -> Iterator[str]:
    """Yield two lines a clue: what is seen, and the likeliest cause or the next measurement."""
    for clue in clues:
        yield cut(f"  {clue.title}{_where(clue)}", width)
        if clue.causes:
            yield cut(f"    likely: {clue.causes[0].what}", width)
        if clue.measure:
            yield cut(f"    next:   {clue.measure[0]}", width)


def _signs(cause: Cause) -> Iterator[str]:
    for sign, said in (("+", cause.speaks_for), ("-", cause.speaks_against)):
        for text in said:
            yield f"{sign} {text}"


def _where(clue: Clue) -> str:
    """How many reports, and of which page when it is one."""
    pages = f", pfn {clue.pfns[0]:#x}" if len(clue.pfns) == 1 else ""
    many = len(clue.lines)
    return f" ({many} report{'s' if many > 1 else ''}{pages})"
