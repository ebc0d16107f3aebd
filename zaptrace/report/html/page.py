"""The report as one web page: no script, no network, every string of a guest escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zaptrace.model.clues import Clue
from zaptrace.model.events import Events
from zaptrace.model.findings import Finding
from zaptrace.model.pte_window import TableWindow
from zaptrace.model.verdict import OrderStep, Verdict, VerdictKind
from zaptrace.report.clues import still_open
from zaptrace.report.finding_meanings import MEANINGS, owner_lines
from zaptrace.report.html.life_section import life_content
from zaptrace.report.html.markup import Content, Markup, joined, tag
from zaptrace.report.html.pte_map import COLUMNS, table_map
from zaptrace.report.html.source_section import source_section
from zaptrace.report.html.steps_table import steps_table
from zaptrace.report.html.style import CSS
from zaptrace.report.html.timeline import rates, timeline
from zaptrace.report.life import ShownLife
from zaptrace.report.run_info import RunInfo
from zaptrace.report.shell_commands import wrapped
from zaptrace.report.site_roles import is_freed_wrong, is_turn
from zaptrace.report.source_excerpt import Sources
from zaptrace.report.text import proof_heading, run_facts, subject
from zaptrace.report.words import hexadecimal, number, task

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is loaded and nothing runs, even if something slipped through."""


def page(
    verdict: Verdict,
    info: RunInfo,
    *,
    events: Events | None = None,
    window: TableWindow | None = None,
    sources: Sources | None = None,
    life: ShownLife | None = None,
) -> str:
    """Return the whole document.

    Args:
        events: the capture, for the rates.
        window: the page tables around the page.
        sources: the lines of the kernel's source, where a tree is available.
        life: the recorded life of the page, where it was kept.
    """
    title = subject(verdict, info).removeprefix("mm: ")
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"zaptrace: {title}"),
        tag("style", CSS),
    )
    body = joined(
        _headline(verdict, title),
        _facts(verdict, info),
        _story(verdict),
        _counters(verdict, info),
        _life(life),
        _tables(window),
        source_section(verdict.sites, sources or Sources()),
        _splat(info),
        _triage(still_open(info.triage, verdict)),
        _rates(verdict, events, info),
        _reproduce(info),
        _unseen(verdict, info),
        _environment(verdict, info),
        tag("footer", "Made by zaptrace. This page holds everything that it shows."),
    )
    whole = tag("html", tag("head", head), tag("body", tag("main", body)), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def section(name: str, heading: str, sub: str, *content: Content) -> Markup:
    """Return a card of the page; `name` is its id."""
    below = tag("p", sub, class_="sub") if sub else ""
    return tag("section", tag("h2", heading), below, *content, id=name)


def _headline(verdict: Verdict, title: str) -> Markup:
    first, _, rest = title.partition(" (")
    clean = verdict.kind is VerdictKind.CLEAN
    return tag(
        "header",
        tag("div", verdict.kind.value, class_="kind mono"),
        tag("h1", f"{first[:1].upper()}{first[1:]}{f' ({rest}' if clean and rest else ''}"),
        tag("p", verdict.facts, id="summary"),
        tag("ul", [tag("li", one) for one in verdict.readings]) if verdict.readings else "",
        class_="clean" if clean else None,
    )


def _facts(verdict: Verdict, info: RunInfo) -> Markup:
    """Return what one wants to know first, in large figures."""
    turn = next((step for step in verdict.order if is_freed_wrong(step)), None)
    finding = _finding(verdict)
    facts: list[tuple[str, str, bool]] = []
    if verdict.pfn is not None:
        facts.append(("page (pfn)", f"{verdict.pfn:#x}", False))
    if verdict.comm is not None or verdict.pid is not None:
        facts.append(("task", task(verdict.comm, verdict.pid), False))
    if turn and turn.raw_mapcount is not None:
        facts.append(("mapcount when freed", str(turn.raw_mapcount + 1), True))
        facts.append(("refcount when freed", number(turn.refcount), False))
    elif finding and finding.pfn is None:
        owner = next(iter(finding.mappings), None)
        facts.append(("mm", hexadecimal(owner.mm if owner else None), False))
    elif finding:
        facts.append(("mapcount", number(finding.mapcount), True))
        facts.append(("refcount", number(finding.refcount), False))
    if finding and finding.pfn is not None and finding.ptes is not None:
        facts.append(("PTEs that map it", str(finding.ptes), False))
    if not facts:
        facts = [("events", f"{info.events:,}", False), ("findings", str(info.findings), False)]
    facts.append(
        ("kernel", " ".join(one for one in (info.kernel_release, info.arch) if one), False)
    )
    cells = [
        tag("div", tag("dt", name), tag("dd", said or "-"), class_="wrong" if wrong else None)
        for name, said, wrong in facts
    ]
    return tag("dl", cells, class_="facts")


def _finding(verdict: Verdict) -> Finding | None:
    return next((one for one in verdict.proof if one.pfn == verdict.pfn), None)


def _story(verdict: Verdict) -> Markup:
    if not verdict.order:
        return Markup("")
    first = _time(verdict.order)
    since = "" if first is None else f" Time 0 is {first / 1e6:,.3f} ms after boot."
    return section(
        "story",
        "What happened to the page",
        f"Microseconds since the first of these events.{since}",
        timeline(verdict.order),
    )


def _life(life: ShownLife | None) -> Markup:
    if life is None:
        return Markup("")
    return section(
        "life",
        "The page's life",
        "Every store to its counters, and to PTEs that map it, since its allocation; each "
        "line opens to the call stack.",
        life_content(life),
    )


def _time(steps: tuple[OrderStep, ...]) -> int | None:
    return next((step.time_ns for step in steps if step.time_ns is not None), None)


def _counters(verdict: Verdict, info: RunInfo) -> Markup:
    if not verdict.order and not verdict.proof:
        return Markup("")
    finding = _finding(verdict)
    against = proof_heading(info.ended)
    if not verdict.order:
        return section("counters", against, "", _proof(verdict.proof))
    # A dump that was taken in bad_page() is older than what was recorded after it.
    parts = [steps_table(verdict, None if info.ended == "bad_page" else finding)]
    if verdict.proof:
        parts += [tag("h3", against), _proof(verdict.proof)]
    return section(
        "counters",
        "Counters before and after",
        "As each event found them, and as the next one that says so did. The allocator takes "
        "a page only when its mapcount and its refcount are 0.",
        *parts,
    )


def _proof(findings: tuple[Finding, ...]) -> Markup:
    names = (("pfn", ""), ("PTEs", "n"), ("mapcount", "n"), ("refcount", "n"))
    head = [tag("th", name, class_=kind or None) for name, kind in names]
    rows = [tag("tr", *head, tag("th", "the audit says"))]
    for one in findings:
        numbers = (one.ptes, one.mapcount, one.refcount)
        rows.append(
            tag(
                "tr",
                tag("td", tag("code", hexadecimal(one.pfn))),
                [tag("td", number(value), class_="n") for value in numbers],
                tag("td", tag("code", one.cls.value, class_="wrong"), f": {MEANINGS[one.cls]}"),
                class_="above",
            )
        )
        rows.append(tag("tr", tag("td", _details(one), colspan=5)))
    return tag("table", rows, id="proof")


def _details(finding: Finding) -> Markup:
    flags = f"flags: {' | '.join(finding.flags)}" if finding.flags else ""
    lines = [line for line in (*owner_lines(finding), flags, finding.note) if line]
    return joined([tag("div", line, class_="soft") for line in lines])


def _tables(window: TableWindow | None) -> Markup:
    if window is None:
        return Markup("")
    there = sum(pfn is not None for pfn in window.pfns)
    sub = (
        f"The page table's entries around {window.address:#x}, out of the stopped guest's memory, "
        f"{COLUMNS} in a row; of {len(window.pfns)} looked at {there} are present. Rows outside "
        "of the mapping are left out."
    )
    return section("tables", "The page table around it", sub, table_map(window))


def _rates(verdict: Verdict, events: Events | None, info: RunInfo) -> Markup:
    if events is None or not len(events.records):
        return Markup("")
    turn = next((step for step in verdict.order if is_turn(step) and step.time_ns), None)
    marked = " The dashed line is the moment of the bug." if turn else ""
    sub = (
        f"{info.events:,} events, {info.lost:,} lost; time since boot. Each kind has its own "
        f"scale.{marked}"
    )
    bug = turn.time_ns if turn else None
    return section("rates", "Events by kind", sub, rates(events, bug))


def _splat(info: RunInfo) -> Markup:
    if not info.splat:
        return Markup("")
    return section("splat", "What the kernel printed", "", tag("pre", _lines(info.splat)))


def _triage(clues: Sequence[Clue]) -> Markup:
    """Return what stands out in the console's reports, each with its causes and measurements."""
    if not clues:
        return Markup("")
    blocks = [_clue(clue) for clue in clues]
    sub = "The causes are ranked by what else the console says: + speaks for one, - against it."
    return section("triage", "What stands out, and what to measure next", sub, *blocks)


def _clue(clue: Clue) -> Markup:
    causes = [
        tag(
            "li",
            cause.what,
            [tag("div", f"+ {text}", class_="soft") for text in cause.speaks_for],
            [tag("div", f"- {text}", class_="soft") for text in cause.speaks_against],
        )
        for cause in clue.causes
    ]
    return tag(
        "div",
        tag("h3", clue.seen),
        tag("ol", causes) if causes else "",
        tag("ul", [tag("li", text) for text in clue.measure], class_="measure"),
        tag("p", clue.source, class_="sub"),
        class_="clue",
    )


def _reproduce(info: RunInfo) -> Markup:
    if not info.command:
        return Markup("")
    parts: list[Content] = [tag("pre", _command(info.command))]
    if info.qemu:
        parts.append(tag("p", "Or, without zaptrace, in the run folder:", class_="sub"))
        parts.append(tag("pre", _command(info.qemu)))
    return section("reproduce", "How to reproduce", "", *parts)


def _command(command: str) -> list[str]:
    return _lines(line.removeprefix("  ") for line in wrapped(command, 100))


def _lines(lines: Iterable[str]) -> list[str]:
    """Lines of a `pre`: each escaped for itself, for a line end is not printable."""
    return [part for line in lines for part in (line, Markup("\n"))]


def _unseen(verdict: Verdict, info: RunInfo) -> Markup:
    said = [tag("li", one) for one in dict.fromkeys((*verdict.doubts, *info.unseen))]
    if not said:
        return Markup("")
    return section("unseen", "What was not seen", "", tag("ul", said, class_="doubts"))


def _environment(verdict: Verdict, info: RunInfo) -> Markup:
    rows = [(tag("dt", name), tag("dd", said)) for name, said in run_facts(verdict, info) if said]
    return section("environment", "Environment", "", tag("dl", *rows, class_="env"))
