"""The kernel's own report on a page out of a console log, fit to be quoted in a mail."""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.model.splats import Splat
from zaptrace.model.verdict import VerdictKind
from zaptrace.report.splats import frame_text
from zaptrace.splat.attributes import attribute
from zaptrace.splat.lines import Line, read_lines

MOST_LINES = 24
"""Lines behind a headline among which the report's own stand."""
_HEADLINE = "BUG: "
_QUOTED = ("page", "flags", "reason", "vma", "task")
_SAID_TWICE = ("mapping", "index")  # of the page, and of the VMA


def kernels_words(
    console: bytes, splats: Sequence[Splat], kind: VerdictKind, pfn: int | None
) -> tuple[str, ...]:
    """The kernel's first report on what a verdict is about: its page, or an mm's counters."""
    about = [splat for splat in splats if pfn is not None and splat.pfn == pfn]
    if kind is VerdictKind.RSS_MISMATCH:
        about = [splat for splat in splats if splat.kind == "bad_rss_counter"]
    return excerpt(console, about[0]) if about else ()


def excerpt(console: bytes, splat: Splat) -> tuple[str, ...]:
    """One report without prefixes, raw dumps and module lists; the trace as it was parsed."""
    lines = [line for line in read_lines(console) if line.number >= (splat.line or 1)]
    at = next((at for at, line in enumerate(lines) if _HEADLINE in line.text), None)
    if at is None or splat.line is None:
        return ()
    behind = lines[at + 1 : at + 1 + MOST_LINES]
    trace = [f" {frame_text(frame)}" for frame in splat.trace]
    return (
        lines[at].text,
        *_own([line for line in behind if line.caller == lines[at].caller], splat),
        *(["Call Trace:", *trace] if trace else []),
    )


def _own(lines: list[Line], splat: Splat) -> list[str]:
    """The lines that say of the splat what the parser took from them: not a neighbour's."""
    own: dict[str, str] = {}
    for line in lines:
        said = attribute(line.text)
        if said and said.name in _QUOTED and said.name not in own:
            told = ((key, value) for key, value in said.fields.items() if key not in _SAID_TWICE)
            if all(getattr(splat, key) == value for key, value in told):
                own[said.name] = line.text
    return list(own.values())
