"""The kernel's own report on a page out of a console log, fit to be quoted in a mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zaptrace.model.splats import Splat
from zaptrace.model.verdict import VerdictKind
from zaptrace.report.splats import frame_text
from zaptrace.splat.attributes import attribute
from zaptrace.splat.kinds import KINDS
from zaptrace.splat.lines import Line, read_lines
from zaptrace.splat.newest_first import oldest_first

MOST_LINES = 24
"""Lines after a headline that may hold the report's own."""
BEFORE = 24
"""Lines before it, for a dump that precedes a BUG() or a WARN()."""
_HEADLINE = "BUG: "
_DUMPED_BEFORE = {kind.name for kind in KINDS if kind.dump_before}
_FOLLOWS = {
    kind.name: {line for one in KINDS if one.name == kind.name for line in one.follows}
    for kind in KINDS
}
_QUOTED = (
    "page",
    "folio",
    "memcg",
    "aops",
    "flags",
    "page_type",
    "reason",
    "vma",
    "file",
    "task",
)
_SAID_TWICE = ("mapping", "index")  # of the page, and of the VMA


def kernels_words(
    console: bytes, splats: Sequence[Splat], kind: VerdictKind, pfn: int | None
) -> tuple[str, ...]:
    """Return the kernel's first report on what a verdict is about: its page, or an mm's
    counters."""
    about = [splat for splat in splats if pfn is not None and splat.pfn == pfn]
    if kind is VerdictKind.RSS_MISMATCH:
        about = [splat for splat in splats if splat.kind == "bad_rss_counter"]
    return excerpt(console, about[0]) if about else ()


def excerpt(console: bytes, splat: Splat) -> tuple[str, ...]:
    """Return one report without prefixes, raw dumps and module lists; the trace as it was
    parsed."""
    blocks, turned = oldest_first([console])
    if turned is not None:
        console, splat = b"".join(blocks), replace(splat, line=turned + 1 - (splat.line or 0))
    lines = list(read_lines(console, splat.line))
    places = [at for at, line in enumerate(lines) if line.number == splat.line]
    at = next((at for at in places if _HEADLINE in lines[at].text), places[-1] if places else None)
    if at is None:
        return ()
    head = lines[at]
    before = lines[max(at - BEFORE, 0) : at] if splat.kind in _DUMPED_BEFORE else []
    after = lines[at + 1 : at + 1 + MOST_LINES]
    trace = [f" {frame_text(frame)}" for frame in splat.trace]
    return (
        *_own([line for line in before if line.caller == head.caller], splat),
        head.text,
        *_own([line for line in after if line.caller == head.caller], splat),
        *(["Call Trace:", *trace] if trace else []),
    )


def _own(lines: list[Line], splat: Splat) -> list[str]:
    """Return the lines that say of the splat what the parser took from them: not a neighbour's."""
    own: dict[str, str] = {}
    for line in lines:
        said = attribute(line.text)
        if not said or said.name not in _QUOTED or said.name in own:
            continue
        if said.name not in _FOLLOWS[splat.kind]:
            continue
        if all(_says(splat, key, value) for key, value in said.fields.items()):
            own[said.name] = line.text
    return list(own.values())


def _says(splat: Splat, key: str, value: object) -> bool:
    """Return whether a value of a line is the splat's, as far as that can be told."""
    if key == "reason":  # a VM_BUG_ON's names the place, too
        return str(value) in (splat.reason or "")
    return key in _SAID_TWICE or getattr(splat, key) == value
