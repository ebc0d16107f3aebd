"""What a report on the console says by itself, where nothing else is known.

bad_page() prints the stack of the task that checks a page, which need not have freed it; and what
print_bad_pte() finds has more causes than a zap that goes wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from zaptrace.explain.met_again import once_more
from zaptrace.explain.naming import counters, cut_reason, flags_of, page, task
from zaptrace.explain.predicates import Case, way_of
from zaptrace.model.splats import OwnerStack, Splat
from zaptrace.model.task_name import task_name
from zaptrace.splat.kinds import OF_NAME, TITLES
from zaptrace.triage.console import Console
from zaptrace.triage.dump import at_allocation, below_zero, described, entry_level
from zaptrace.triage.mapped import readings
from zaptrace.triage.stacks import Way, check_site, deferral, read_stack, reliable

_SANITIZERS = ("BUG: KASAN:", "BUG: KFENCE:", "BUG: KMSAN:")
MOST_STEPS = 3
"""Functions of the allocator that a sentence names."""


def only_printed(case: Case) -> bool:
    """Return whether the console is all the evidence about the page."""
    story = case.story
    printed = story.state or story.map or story.report
    return bool(printed) and not (story.fault or story.bad_pte or story.finding)


def sentences(case: Case) -> tuple[str, ...]:
    """Return what the reports on one page say, a sentence each."""
    story = case.story
    if story.state:
        return (*_refused(case, story.state), *_owners(story.state))
    if story.map:
        return (*_bad_pte(case, story.map), *_owners(story.map))
    assert story.report is not None
    return (*_reported(case, story.report), *_owners(story.report))


def _refused(case: Case, state: Splat) -> Iterator[str]:
    story = case.story
    who, what = task(story), page(story)
    flags = flags_of(state.reason, state)
    why = f" ({cut_reason(state.reason)}{f'; {flags}' if flags else ''})" if state.reason else ""
    said = counters(story.raw_mapcount, story.refcount)
    steps = ", ".join(read_stack(state.trace).steps[:MOST_STEPS]) or "by the reason"
    way = way_of(case)
    if way is Way.UNKNOWN and at_allocation(state):
        way = Way.ALLOC
    if way is Way.ALLOC:
        yield (
            f"{who} was allocating pages ({steps}) when the kernel met {what} on its free lists in "
            f"a bad state{why}: {said}."
        )
        yield (
            "That task did not free it: who did, and who still uses or maps it or wrote to its "
            "struct page since, the report does not say."
        )
    elif way is Way.DRAIN:
        yield (
            f"{what} was found in a bad state{why}, {said}, when {who} moved pages from a CPU's "
            f"list of free pages to the buddy allocator ({steps})."
        )
        yield (
            "It had been freed before that, by whom the report does not say: the stack is the "
            "detector's, not the freer's."
        )
    elif way is Way.FREE:
        yield _freed(state, who, f"{what} in a bad state{why}, {said}")
        if again := once_more(case):
            yield again
    else:
        trace = "its call trace does not say" if state.trace else "no call trace says"
        yield (
            f"The kernel found {what} in a bad state{why}, {said}{_while(case)}; {trace} whether "
            "this task freed it, allocated it or only came by."
        )


def _freed(state: Splat, who: str, what: str) -> str:
    """Return who freed it: an interrupt borrows the task, and deferred work frees for another
    task."""
    if by := deferral(state.trace):
        return (
            f"{what}, was freed by deferred work or in an interrupt ({by}()) while {who} ran; who "
            "put it off, and why the page was in that state, the report does not say."
        )
    return f"{who} freed {what}; the report does not say why."


def _while(case: Case) -> str:
    story = case.story
    return "" if story.comm is None and story.pid is None else f" while {task(story)} ran"


def _bad_pte(case: Case, found: Splat) -> Iterator[str]:
    story = case.story
    raw = None if found.mapcount is None else found.mapcount - 1
    entry = _entry(found)
    at = "" if found.addr is None else f" at {found.addr:#x}"
    said = counters(raw, found.refcount)
    yield f"{task(story)} met {entry}{at}, which maps {page(story)}: {said}."
    if below := below_zero(found):
        yield f"It counts fewer mappings than none ({below})."
    if not entry_readings(case):
        yield "Why, it does not say."


def entry_readings(case: Case) -> tuple[str, ...]:
    """Return the causes that a bad PTE leaves open which is all that is known of its page."""
    story = case.story
    if story.state or story.map is None:
        return ()
    return readings(story.map, Console(tuple(case.evidence.splats)))


def _entry(splat: Splat) -> str:
    """Return `PTE 0x1234`, or the level alone where the value is not printed."""
    level = entry_level(splat)
    value = splat.pmd if level == "PMD" else splat.pte
    return level if value is None else f"{level} {value:#x}"


def _reported(case: Case, found: Splat) -> Iterator[str]:
    story = case.story
    raw = None if found.mapcount is None else found.mapcount - 1
    said = counters(raw, found.refcount)
    if (found.reason or "").startswith(_SANITIZERS):
        yield _ended(
            f"The kernel stopped a use of memory{_while(case)}{where(found)}: {found.reason}"
        )
        what = "freed before" if found.refcount == 0 else "not said to be wrong itself"
        yield f"The memory lies in {page(story)} ({said}), which is {what}."
        return
    yield _ended(
        f"The kernel reported {page(story)} ({said}){_while(case)}"
        f"{where(found)}: {cut_reason(found.reason) or described(found)}"
    )
    yield "The report says what was found there, not how it came to be."


def without_page(splat: Splat) -> tuple[str, ...]:
    """Return what a report says that is about pages and names none, or none that can be
    followed."""
    who = f" while {task_name(splat.comm or splat.process, splat.pid)} ran"
    known = splat.comm or splat.process or splat.pid is not None
    entry = f", {_entry(splat)}" if splat.pte is not None or entry_level(splat) == "PMD" else ""
    at = "" if splat.addr is None else f", address {splat.addr:#x}"
    said = f"The kernel reported {described(splat)}{entry}{at}{who if known else ''}"
    reason = f": {cut_reason(splat.reason)}" if splat.reason else ""
    shown = "No page is named in it."
    if splat.mapcount is not None and splat.pfn is None:
        page_counters = counters(splat.mapcount - 1, splat.refcount)
        shown = f"It shows a page ({page_counters}), and not its number."
    return (_ended(f"{said}{where(splat)}{reason}"), shown)


def unexplained_kinds(splats: Iterable[Splat]) -> tuple[str, ...]:
    """Return `2 more reports: Bad page table`, for reports that are in no story."""
    counts = Counter(TITLES.get(splat.kind, splat.kind) for splat in splats)
    return tuple(
        f"{many} more report{'s' if many > 1 else ''}: {kind}" for kind, many in counts.items()
    )


def _owners(splat: Splat) -> Iterator[str]:
    """Yield what page_owner remembers."""
    owner = splat.page_owner
    if owner is None:
        return
    stacks = (("allocated last", owner.allocated), ("freed last before that", owner.freed))
    if owner.state == "freed":
        stacks = (("allocated last", owner.allocated), ("freed", owner.freed))
    for what, stack in stacks:
        if stack and (by := _stack(stack)):
            yield f"page_owner: it was {what} {by}."


def _stack(stack: OwnerStack) -> str:
    who = ""
    if stack.pid is not None or stack.comm:
        who = f"by {task_name(stack.comm, stack.pid) if stack.comm else f'process {stack.pid}'}"
    callers = read_stack(stack.trace).callers or reliable(stack.trace)
    return " ".join(part for part in (who, f"in {callers[0].symbol}()" if callers else "") if part)


def where(splat: Splat) -> str:
    """Return `, in FUNCTION()`: where the check stands that failed, or who called the allocator."""
    checks = OF_NAME[splat.kind].dump_before
    callers = read_stack(splat.trace).callers
    site = check_site(splat) if checks else callers[0].symbol if callers else None
    return f", in {site}()" if site else ""


def _ended(text: str) -> str:
    """Return the text as a sentence."""
    return text if text.endswith((".", "!")) else f"{text}."
