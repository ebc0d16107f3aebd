"""The report as plain text of at most 72 columns, fit to be pasted into a mail to a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zaptrace.explain.verdict_table import row_of
from zaptrace.model.clues import Clue
from zaptrace.model.findings import Finding
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind
from zaptrace.report.clues import clue_lines, still_open
from zaptrace.report.finding_meanings import MEANINGS, owner_lines
from zaptrace.report.run_info import RunInfo
from zaptrace.report.shell_commands import wrapped
from zaptrace.report.site_roles import chain_of, marked_line, places, shared_tail, title
from zaptrace.report.source_excerpt import Sources
from zaptrace.report.words import count, cut, fill, hexadecimal, number, plain, task

WIDTH = 72
NS_PER_US = 1000

_WHEN = {
    "bad_page": "when it was stopped in bad_page()",
    "bad_table": "when it was stopped in pmd_clear_bad() or its like",
    "panic": "at the panic",
    "oops": "at the oops",
    "hang": "when it hung",
}


def render(verdict: Verdict, info: RunInfo, sources: Sources | None = None) -> str:
    """Return the whole report, every line at most `WIDTH` columns, ended by a newline.

    Args:
        sources: the lines of the kernel's source, where a tree is available.
    """
    if verdict.kind is VerdictKind.CLEAN:
        sections = [_logs(info), _environment(verdict, info)]
    else:
        sections = [
            _readings(verdict),
            _order(verdict),
            _sites(verdict.sites),
            _code(sources or Sources()),
            _proof(verdict.proof, info.ended),
            _triage(still_open(info.triage, verdict)),
            _splat(info),
            _logs(info),
            _environment(verdict, info),
            _reproduce(info),
        ]
    sections.append(_unseen(verdict, info))
    head = [subject(verdict, info), "=" * WIDTH, "", *fill(verdict.facts, WIDTH)]
    lines = head + [line for section in sections for line in _spaced(list(section))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def subject(verdict: Verdict, info: RunInfo) -> str:
    """Return one line that could be a mail's subject."""
    where = [f"pfn {verdict.pfn:#x}"] if verdict.pfn is not None else []
    if verdict.comm is not None or verdict.pid is not None:
        where.append(task(verdict.comm, verdict.pid))
    if not where:
        where = [plain(one) for one in (info.kernel_release, info.arch) if one]
    named = f" ({', '.join(where)})" if where else ""
    return cut(f"mm: {_subject(verdict, info)}{named}", WIDTH)


def _subject(verdict: Verdict, info: RunInfo) -> str:
    wrong = verdict.pfn is not None or info.findings or info.splats or info.ended in _WHEN
    if verdict.kind is VerdictKind.UNEXPLAINED and not wrong:
        return "nothing wrong was seen, by too little evidence to say so"
    return row_of(verdict).subject


def _spaced(section: list[str]) -> list[str]:
    """Return a section with its heading set off; nothing for one that has nothing to say."""
    if len(section) < 2:
        return []
    return ["", section[0], "-" * len(section[0]), *section[1:]]


def _readings(verdict: Verdict) -> Iterator[str]:
    yield "What the evidence leaves open"
    for one in verdict.readings:
        yield from fill(one, WIDTH, "  - ", "    ")


def _order(verdict: Verdict) -> Iterator[str]:
    yield "Order of events (time in µs)"
    steps = verdict.order
    start = next((step.time_ns for step in steps if step.time_ns is not None), 0)
    for step, where in zip(steps, places(verdict), strict=True):
        since = "-" if step.time_ns is None else f"{(step.time_ns - start) / NS_PER_US:+.1f}"
        cpu = "" if step.cpu is None else f"CPU {step.cpu}"
        head = f"{since:>11}  {cpu:<6} "
        yield from fill(step.what, WIDTH, head, " " * len(head))
        if where:
            yield from fill(f"at {where}", WIDTH, " " * len(head))


def _sites(sites: tuple[CodeSite, ...]) -> Iterator[str]:
    yield "Source lines"
    for at, site in enumerate(sites):
        if at:
            yield ""
        where = site.symbol or hexadecimal(site.address)
        offset = "" if site.offset is None else f"+{site.offset:#x}"
        yield cut(f"  {title(site)}: {plain(where)}{offset}", WIDTH)
        yield from _chain(site, shared_tail(site, sites[0]))


def _chain(site: CodeSite, known: int) -> Iterator[str]:
    """Yield the inline chain, innermost first; `>` marks the line inside the zap.

    Args:
        known: links at the end that are already printed.
    """
    links = chain_of(site)
    shown = links[: len(links) - known]
    wanted = marked_line(site) if len(links) > 1 else None
    wide = min(max((len(function) for function, _ in shown), default=0), 34)
    for link in shown:
        start = "  > " if link == wanted else "    "
        yield from fill(f"{link[0]:<{wide}}  {link[1]}", WIDTH, start, "      ")
    if known:
        yield f"    … and from {plain(links[-known][0])} on as above"


def _code(sources: Sources) -> Iterator[str]:
    """Yield the lines themselves, indented half as far, each mark below its line."""
    yield "The code"
    for at, excerpt in enumerate(sources.excerpts):
        if at:
            yield ""
        yield cut(f"  {plain(excerpt.file)}", WIDTH)
        for number_, line in enumerate(excerpt.lines, excerpt.first):
            start = "  >" if number_ in excerpt.marks else "   "
            code = line.lstrip()
            indent = " " * ((len(line) - len(code)) // 2)
            yield cut(f"{start} {number_:5}  {indent}{plain(code)}", WIDTH)
            if number_ in excerpt.marks:
                yield cut(f"          ^-- {excerpt.marks[number_]}", WIDTH)
    for at, said in enumerate(sources.left_out):
        if at or sources.excerpts:
            yield ""
        yield from fill(said, WIDTH, "  ")


def proof_heading(ended: str) -> str:
    """Return what the audit compared, and when."""
    return f"Counters against page tables, {_WHEN.get(ended, 'at the end of the run')}"


def _proof(findings: tuple[Finding, ...], ended: str) -> Iterator[str]:
    yield proof_heading(ended)
    for at, finding in enumerate(findings):
        if not at:
            yield "         pfn   PTEs  mapcount  refcount  the audit says"
        row = (
            f"  {hexadecimal(finding.pfn):>10}  {number(finding.ptes):>5}  "
            f"{number(finding.mapcount):>8}  {number(finding.refcount):>8}  {finding.cls.value}"
        )
        yield cut(row, WIDTH)
        yield from fill(MEANINGS[finding.cls], WIDTH, "    ")
        if finding.flags:
            yield from fill(f"flags: {'|'.join(finding.flags)}", WIDTH, "    ", "      ")
        for line in (*owner_lines(finding), finding.note or ""):
            yield from fill(line, WIDTH, "    ", "      ")


def _splat(info: RunInfo) -> Iterator[str]:
    yield "What the kernel printed"
    if not info.splat and info.ended == "bad_page":
        yield "  Nothing yet: it was stopped at the first instruction of bad_page()."
    for line in info.splat:
        indent = "    " if line.startswith(" ") else "  "
        yield from fill(line.strip(), WIDTH, indent, "      ")


def _triage(clues: Sequence[Clue]) -> Iterator[str]:
    yield "What stands out, and what to measure next"
    for at, clue in enumerate(clues):
        if at:
            yield ""
        yield from clue_lines(clue, WIDTH)


def _logs(info: RunInfo) -> Iterator[str]:
    yield "The logs"
    for said in info.logs:
        yield from fill(said, WIDTH, "  ", "    ")


def _environment(verdict: Verdict, info: RunInfo) -> Iterator[str]:
    yield "Environment"
    for name, said in run_facts(verdict, info):
        if said:
            yield from fill(said, WIDTH, f"  {name:<9} ", " " * 12)


def run_facts(verdict: Verdict, info: RunInfo) -> tuple[tuple[str, str], ...]:
    """Return where and how the run was made, by name; "" for what is not known."""
    counts = f"{count(info.events, 'event')} ({info.lost} lost), {count(info.splats, 'splat')}, "
    counts += count(info.findings, "finding")
    return (
        ("verdict", verdict.kind.value),
        ("known by", ", ".join(verdict.evidence)),
        ("besides", "; ".join(verdict.others)),
        ("kernel", " ".join(part for part in (info.kernel_release, info.arch) if part)),
        ("build ID", info.build_id or ""),
        ("machine", info.machine),
        ("ended by", info.ended),
        ("recorded", counts),
        ("seconds", ", ".join(f"{step}={took:.2f}" for step, took in info.timing.items())),
        ("run", _without_name(info.run)),
    )


def _without_name(path: str) -> str:
    """Return a path that may be mailed: the home folder, which names its owner, as `~`."""
    home = str(Path.home())
    return "~" + path.removeprefix(home) if path.startswith(home + "/") else path


def _reproduce(info: RunInfo) -> Iterator[str]:
    yield "How to reproduce"
    yield from wrapped(info.command, WIDTH)
    if info.qemu:
        yield ""
        yield "  or, without zaptrace, in the run folder:"
        yield ""
        yield from wrapped(info.qemu, WIDTH)


def _unseen(verdict: Verdict, info: RunInfo) -> Iterator[str]:
    yield "What was not seen"
    for doubt in dict.fromkeys((*verdict.doubts, *info.unseen)):
        yield from fill(doubt, WIDTH, "  - ", "    ")
