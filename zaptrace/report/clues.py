"""What stands out in a console's reports, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zaptrace.model.clues import Cause, Clue
from zaptrace.model.verdict import Verdict, VerdictKind
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


def still_open(clues: Sequence[Clue], verdict: Verdict) -> Sequence[Clue]:
    """Return the clues that a report of this verdict shows.

    None where events or a dump explain what happened: what a console alone would leave open is
    settled then.
    """
    explained = verdict.kind is not VerdictKind.UNEXPLAINED
    return () if explained and verdict.evidence != ("splat",) else clues


def short_lines(clues: Sequence[Clue], width: int) -> Iterator[str]:
    """Yield up to three lines a row: what is seen, the likeliest cause, the next measurement."""
    rows: dict[str, list[Clue]] = {}
    for clue in clues:
        rows.setdefault(clue.row, []).append(clue)
    for same in rows.values():
        first = same[0]
        yield cut(f"  {first.title}{_where(same)}", width)
        if first.causes:
            yield from fill(first.causes[0].what, width, "    likely: ", "            ")
        if first.measure:
            yield from fill(first.measure[0], width, "    next:   ", "            ")


def _signs(cause: Cause) -> Iterator[str]:
    for sign, said in (("+", cause.speaks_for), ("-", cause.speaks_against)):
        for text in said:
            yield f"{sign} {text}"


def _where(clues: Sequence[Clue]) -> str:
    """Return how many reports, and of which page when it is one."""
    pfns = {pfn for clue in clues for pfn in clue.pfns}
    pages = f", pfn {min(pfns):#x}" if len(pfns) == 1 else ""
    many = sum(len(clue.lines) for clue in clues)
    return f" ({many} report{'s' if many > 1 else ''}{pages})"
