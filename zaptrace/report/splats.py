"""`zaptrace splat` for people: one line a report, grouped by kind, 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from zaptrace.model.splats import Frame, Splat
from zaptrace.report.ci import Case
from zaptrace.report.clues import short_lines
from zaptrace.report.words import count, cut, hexadecimal, number, plain, task
from zaptrace.splat.kinds import SHOW_A_PAGE, TITLES, from_mm
from zaptrace.triage import BootFacts, Console, triage

WIDTH = 80
MOST_COPIES = 6
"""Lines of copies that are named."""
_PAGE_HEAD = "    time [s]        pfn  maps  refs  task                  reason"
_RSS_HEAD = "    time [s]  counter           pages  mm"


def describe(splats: Sequence[Splat], *, limit: int | None) -> str:
    """Return the text of all the reports of a log.

    Args:
        limit: lines a kind; None shows every report.
    """
    if not splats:
        return "No report of the kernel found.\n"
    lines = [count(len(splats), "report")]
    for kind, title in TITLES.items():
        group = [splat for splat in splats if splat.kind == kind]
        if group:
            lines += ["", f"{title}: {len(group)}", *_group(kind, group, limit)]
    first = next((splat for splat in splats if splat.trace), None)
    if first:
        lines += ["", *_trace(first)]
    return "\n".join(lines) + "\n"


def unread(splats: Sequence[Splat], copies: Sequence[int] = ()) -> str:
    """Return the lines among each report that no rule reads: what a report may say beyond its
    fields.

    Args:
        copies: the lines where a report stands once more.
    """
    lines = [""]
    for splat in splats:
        if splat.unread_count:
            where = f"line {splat.line}" if splat.line else "-"
            lines.append(f"Not read of the report at {where}: {count(splat.unread_count, 'line')}")
            lines += [cut(f"  {plain(text)}", WIDTH) for text in splat.unread]
            if splat.unread_count > len(splat.unread):
                lines.append(f"  … and {splat.unread_count - len(splat.unread)} more")
    if len(lines) == 1:
        lines.append("Every line of the reports was read.")
    if copies:
        places = ", ".join(str(line) for line in copies[:MOST_COPIES])
        places += ", …" if len(copies) > MOST_COPIES else ""
        said = "is a copy of one (line" if len(copies) == 1 else "are copies of others (lines"
        text = f"Not counted: {count(len(copies), 'report')} that {said} {places})"
        lines.append(cut(text, WIDTH))
    return "\n".join(lines) + "\n"


def listing(
    logs: Sequence[tuple[str, Sequence[Splat], BootFacts, Sequence[int]]],
    *,
    limit: int | None,
    verbose: bool,
) -> str:
    """Return the text of all the reports of some logs, and what stands out in them.

    Args:
        logs: name, reports and boot of each, and the lines of reports that are copies.
        limit: lines a kind; None shows every report.
        verbose: show the lines that no rule reads, too.
    """
    if len(logs) == 1:
        return _one_log(*logs[0][1:], limit=limit, verbose=verbose)
    parts = []
    for name, splats, boot, copies in logs:
        if splats:
            text = _one_log(splats, boot, copies, limit=limit, verbose=verbose)
            parts.append(f"{cut(plain(name), WIDTH)}\n{'-' * min(len(name), WIDTH)}\n{text}")
    quiet = sum(not splats for _, splats, _, _ in logs)
    if quiet:
        parts.append(f"{count(quiet, 'log')} without a report of the kernel.\n")
    return "\n".join(parts)


def _one_log(
    splats: Sequence[Splat],
    boot: BootFacts,
    copies: Sequence[int],
    *,
    limit: int | None,
    verbose: bool,
) -> str:
    text = describe(splats, limit=limit)
    clues = list(short_lines(triage(Console(tuple(splats), boot)), WIDTH))
    if clues:
        text += "\n".join(["", "What stands out:", *clues]) + "\n"
    return text + (unread(splats, copies) if verbose else "")


def case(name: str, splats: Sequence[Splat], *, fails: bool, problem: str | None) -> Case:
    """Return one log as a test case.

    Args:
        fails: it holds a report that is not to be.
        problem: why the log could not be read; None when it was.
    """
    if problem is not None:
        return Case(name, 0.0, error=problem)
    if not fails:
        return Case(name, 0.0)
    first = next((one for one in splats if from_mm(one)), splats[0])
    said = plain(first.reason or first.kind.replace("_", " "))
    more = f" and {count(len(splats) - 1, 'more report')}" if len(splats) > 1 else ""
    return Case(name, 0.0, first.kind, message=f"{said}{more}", details=describe(splats, limit=20))


def _group(kind: str, group: Sequence[Splat], limit: int | None) -> Iterator[str]:
    if kind == "bad_rss_counter":
        yield _RSS_HEAD
    elif kind in SHOW_A_PAGE:
        yield _PAGE_HEAD
    for splat in group[:limit]:
        yield cut(_line(kind)(splat), WIDTH)
    if limit is not None and len(group) > limit:
        yield f"  … and {len(group) - limit} more (--all shows them)"
    held_back = sum(splat.suppressed or 0 for splat in group)
    if held_back:
        yield f"  … and {held_back} that the kernel says it suppressed"


def _time(splat: Splat) -> str:
    return f"{'-' if splat.time is None else f'{splat.time:.6f}':>12}"


def _page_line(splat: Splat) -> str:
    who = cut(task(splat.process or splat.comm, splat.pid), 20)
    return (
        f"{_time(splat)}  {hexadecimal(splat.pfn):>9}  {number(splat.mapcount):>4}  "
        f"{number(splat.refcount):>4}  {who:<20}  {plain(splat.reason or '-')}"
    )


def _rss_line(splat: Splat) -> str:
    return (
        f"{_time(splat)}  {splat.rss_type or '-':<13}  {number(splat.rss_value):>8}  "
        f"{hexadecimal(splat.mm)}"
    )


def _other_line(splat: Splat) -> str:
    return f"{_time(splat)}  {plain(splat.reason or '-')}"


def _line(kind: str) -> Callable[[Splat], str]:
    if kind == "bad_rss_counter":
        return _rss_line
    return _page_line if kind in SHOW_A_PAGE else _other_line


def _trace(splat: Splat) -> Iterator[str]:
    tainted = f"tainted {splat.tainted}" if splat.tainted else "not tainted"
    facts = [
        task(splat.comm or splat.process, splat.pid),
        plain(splat.kernel_release or "-"),
        tainted,
    ]
    yield cut(f"Call trace of the first: {', '.join(facts)}", WIDTH)
    for frame in splat.trace:
        yield cut(f"  {frame_text(frame)}", WIDTH)


def frame_text(frame: Frame) -> str:
    """Return one frame as the kernel writes it; `?` before what it does not vouch for."""
    where = frame.symbol or hexadecimal(frame.address)
    if frame.offset is not None and frame.size is not None:
        where += f"+{frame.offset:#x}/{frame.size:#x}"
    source = f"  {frame.source}" if frame.source else ""
    module = f" [{frame.module}]" if frame.module else ""
    return f"{'' if frame.reliable else '? '}{where}{module}{source}"
