"""After a repro boot: is the recording of pages' lives complete, and which pages are kept of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import drgn

from zaptrace.arch import arch_named
from zaptrace.arch.page_tables import PageTables
from zaptrace.life.changed_words import changed_unseen
from zaptrace.life.completeness import Completeness, Span, compare
from zaptrace.life.folio_pages import with_folios
from zaptrace.life.freed_mapped import freed_while_mapped
from zaptrace.life.life_file import write
from zaptrace.life.lost_tables import LostTable, lost_tables
from zaptrace.life.planted import planted
from zaptrace.life.pte_records import PteFormat
from zaptrace.life.recording import Recording
from zaptrace.life.records import Facts, Life, of_pages, recorded
from zaptrace.memory.pages import page_layout, read_array
from zaptrace.memory.resolve import code_site
from zaptrace.memory.struct_page import page_fields
from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT, Events, Kind, Origin, blank, is_kind
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.progress import Listener, step
from zaptrace.model.splats import Splat
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.life_recorder import LifeRecorder

MOST_PAGES = 256
"""Suspects whose lives are kept; one has some 100 records."""
_SUSPECT_KINDS = (Kind.BAD_PAGE, Kind.BAD_PTE, Kind.PAGE_FREE)


def keep_lives(
    folder: RunFolder,
    facts: RunFacts,
    recorder: LifeRecorder,
    prog: drgn.Program | None,
    names: drgn.Program | None,
    pfns: tuple[int, ...] | None,
    listener: Listener,
    entries: Sequence[int] = (),
    wild: Sequence[int] = (),
) -> None:
    """Write life.zap, and say in `facts` what it is worth.

    Args:
        prog: the opened dump; without one nothing is compared.
        names: what knows the kernel's types.
        pfns: the pages to keep; None: all.
        entries: physical addresses of page-table entries whose stores are kept as well.
        wild: what the kernel died of: the pages whose struct pages held it are kept as well.
    """
    with step("life", "Keep the lives of suspect pages", listener, facts.timing) as current:
        if recorder.base is None or names is None:
            if not facts.life_unrecorded:
                why = "the guest did not get to where its struct pages are known"
                facts.life_unrecorded.append(f"Pages' lives were not recorded: {why}.")
            current.note = "not recorded"
            return
        try:
            life = _life(recorder.recording, recorder.base, names, pte_format(facts.arch))
            complete = _complete(life, prog)
            lost = lost_tables(life)
            entries = (*entries, *(one.slot for one in lost))
            pfns = _with_stale_entries(pfns, life, names, lost)
            more = (*_changed(life, complete), *_planted(life, wild))
            pfns = None if pfns is None else with_folios(life, (*pfns, *more))
            kept = dataclasses.replace(of_pages(life, pfns, entries), boot=facts.boot_id)
            size = write(folder.life, kept, complete)
        except (BadInput, OSError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            facts.life_unrecorded.append(f"Pages' lives were not kept: {cause}.")
            current.note = "not kept"
            return
        facts.life = {
            "stores": life.facts.wanted,
            "missed": life.facts.missed,
            "ptes": len(life.ptes),
            "pages": None if pfns is None else len(pfns),
            "bytes": size,
            "words": complete.words if complete else None,
            "differ": complete.differ if complete else None,
        }
        facts.life_unrecorded += life.unseen()
        pages = "every page" if pfns is None else f"{len(pfns)} pages"
        current.note = f"{life.facts.wanted:,} stores; {pages} kept"


def suspects(
    events: Events | None, found: AuditResult | None, splats: Iterable[Splat]
) -> tuple[int, ...]:
    """Return the pages whose lives are likely to be asked for, the most suspect first.

    The first is the page at which the guest was stopped: the verdict is about it.  A bug that
    strikes everywhere leaves more of each kind than there is room for: some of each are kept.
    """
    records = events.records if events is not None else blank(0)
    bad = records[(records["kind"] == Kind.BAD_PAGE) & (records["pfn"] != ABSENT)]
    stop = bad[bad["origin"] == Origin.REGISTERS]["pfn"].tolist()
    pfns = dict.fromkeys([*stop, *bad["pfn"][: MOST_PAGES // 2].tolist()])
    reported = [splat.pfn for splat in splats if splat.pfn is not None]
    pfns |= dict.fromkeys(reported[: MOST_PAGES // 4])
    pfns |= dict.fromkeys(_of_findings(found))
    more = records[is_kind(records, _SUSPECT_KINDS) & (records["pfn"] != ABSENT)]
    pfns |= dict.fromkeys(more["pfn"].tolist())
    pfns |= dict.fromkeys(reported)
    return tuple(pfns)[:MOST_PAGES]


def _with_stale_entries(
    pfns: tuple[int, ...] | None, life: Life, names: drgn.Program, lost: Iterable[LostTable]
) -> tuple[int, ...] | None:
    """Return the suspects with the pages that were freed while a PTE mapped them, the page tables
    that were never freed, and the tables that those PTEs and these tables were in: how long an
    entry counts is seen by its table's own life."""
    if pfns is None:
        return None
    found = freed_while_mapped(
        life, lambda address, back: code_site(names, address, is_return=back)
    )
    mapped = ((one.pfn, one.table) for one in found)
    tables = ((one.pfn, one.above) for one in lost)
    return tuple(dict.fromkeys((*pfns, *(page for pair in (*mapped, *tables) for page in pair))))


def _changed(life: Life, complete: Completeness | None) -> Iterator[int]:
    """Yield the pages whose struct page was changed by no recorded store."""
    yield from (one.pfn for one in changed_unseen(life, complete))


def _planted(life: Life, wild: Sequence[int]) -> Iterator[int]:
    """Yield the pages whose struct page held what the kernel died of."""
    yield from (one.pfn for one in planted(life, wild))


def _of_findings(found: AuditResult | None) -> Iterator[int]:
    for finding in found.findings if found is not None else ():
        if finding.pfn is not None and finding.cls is not FindingClass.IN_FLIGHT:
            yield finding.pfn


def pte_format(arch: str) -> PteFormat:
    """Return how an architecture's PTE says which page it maps, and counts (vm_normal_page())."""
    tables = arch_named(arch).page_tables
    last = tables.levels[-1]
    # Tables of large leaves are typed as page tables as well: theirs are no PTEs.
    large = max((one.value for one in tables.levels[-2].leaf), default=0)
    if any(one.value & large for one in last.empty):  # s390x: of another meaning in a PTE
        large = 0
    leaf = tuple((one.mask | tables.special | large, one.value) for one in last.leaf)
    inverted = tuple((one.mask, one.value) for one in last.inverted)
    huge_origin = tables.levels[-2].leaf_origin if large else 0
    return PteFormat(leaf, inverted, last.leaf_origin, last.shift, _huge(tables), huge_origin)


def _huge(tables: PageTables) -> tuple[tuple[int, int], ...]:
    """Return which entries above PTEs map a large folio; none where PTEs may look like them.

    Of a PTE with that bit (PAT, x86_64) the address is hardly ever such a folio's.  The lowest bit
    of an address may be a flag there (PAT, too).
    """
    last, above = tables.levels[-1], tables.levels[-2]
    if any(one.value & empty.value for one in above.leaf for empty in last.empty):
        return ()
    inside = last.leaf_origin & ~above.leaf_origin & ~(1 << last.shift)
    beside = inside | tables.large_special
    return tuple((one.mask | beside, one.value) for one in above.leaf)


def _life(recording: Recording, base: int, names: drgn.Program, form: PteFormat) -> Life:
    """Return the recording, checked."""
    stored = recording.stored()
    wanted = recording.fact("count")
    facts = Facts(
        base=base,
        api=recording.fact("api"),
        storage=recording.fact("storage"),
        wanted=wanted,
        missed=wanted - len(stored),
        values=0,
        lost_stacks=recording.fact("lost_stacks"),
        stop=recording.stop,
        start_ns=recording.fact("start_ns"),
        tables=recording.fact("tables"),
    )
    direct = recording.fact("direct")
    return recorded(stored, recording.nodes(), page_fields(names), facts, direct, form)


def _complete(life: Life, prog: drgn.Program | None) -> Completeness | None:
    """Return the recording against the dump; None when they cannot be compared."""
    if prog is None or life.facts.stop is None:
        return None
    layout = page_layout(prog)
    if layout.base != life.facts.base or layout.struct_size != life.fields.size:
        raise BadInput("the kernel's struct pages are not where they were said to be")
    spans: list[Span] = []
    for valid in layout.valid:
        words = len(valid) * layout.struct_size // 8
        try:
            memory = read_array(prog, layout.address(valid.start), "<u8", words)
        except drgn.FaultError:
            return None
        spans.append((valid.start, memory))
    return compare(life, spans, life.facts.stop)
