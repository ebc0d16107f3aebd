"""A page's life as text of at most 80 columns, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zaptrace.life.completeness import Completeness, Word
from zaptrace.life.ledger import Ledger
from zaptrace.life.left_over import What
from zaptrace.life.named_life import STRAY, Frame, NamedLife, NamedWrite
from zaptrace.life.page_life import ENTIRE, ENTRY, HUGE_ENTRY, Change
from zaptrace.life.page_members import MAPCOUNT, TYPED_BELOW, PageFields
from zaptrace.life.records import Life

WIDTH = 80
_INDENT = " " * 19
_COUNTERS = ("_mapcount", "_refcount", ENTIRE)
"""Decimal; everything else is an address or bits."""


@dataclass(frozen=True, slots=True)
class ShownLife:
    """What is shown of a page's life.

    Attributes:
        sentences: what has no partner, of its ledger.
        blamed: numbers of the stores that those are about.
        notes: what the recording is worth, and what is not in it.
    """

    named: NamedLife
    fields: PageFields
    sentences: tuple[str, ...] = ()
    blamed: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def life_text(
    named: NamedLife,
    life: Life,
    complete: Completeness | None,
    unseen: Iterable[str],
    account: Ledger | None = None,
    *,
    stacks: bool = False,
    newest_first: bool = False,
    counters: bool = False,
) -> str:
    """Return the text.

    Args:
        account: its ledger.
        stacks: every caller of each store, and stores that changed nothing as well.
        newest_first: the last store first.
        counters: only stores that change `_mapcount` or `_refcount`, stores to page tables, and
            stray ones.
    """
    writes = [one for one in named.writes if one.write.changes or stacks or not one.write.valued]
    if counters:
        writes = [one for one in writes if _counts(one)]
    origin = named.writes[0].write.ns if named.writes else 0
    lines = [*_head(named, complete), *(f"! {one}" for one in unseen)]
    lines += [*(_account(account) if account is not None else ()), ""]
    blocks = [
        _block(before, one, life.fields, origin, stacks)
        for before, one in zip((None, *writes), writes, strict=False)
    ]
    for block in reversed(blocks) if newest_first else blocks:
        lines += block
    return "\n".join(line for long in lines for line in _folded(long)) + "\n"


def _counts(one: NamedWrite) -> bool:
    return one.role == STRAY or any(
        change.stored and change.name in (*_COUNTERS, ENTRY, HUGE_ENTRY)
        for change in one.write.changes
    )


def _head(named: NamedLife, complete: Completeness | None) -> Iterator[str]:
    found = named.life
    if not found.writes:
        yield f"pfn {found.pfn:#x}: no store to its struct page was recorded"
    elif found.since_allocation:
        which = f"the last {len(found.writes)} of {found.all}"
        yield f"pfn {found.pfn:#x}: {which} stores to its struct page, since its allocation"
    else:
        yield f"pfn {found.pfn:#x}: {len(found.writes)} stores to its struct page since the boot"
    yield from completeness_lines(complete, found.pfn)


def completeness_lines(complete: Completeness | None, pfn: int | None = None) -> Iterator[str]:
    """Yield what the recording is worth, measured at the stop."""
    if complete is None:
        yield "not compared with memory: the guest was not stopped and dumped"
    elif not complete.differ:
        yield f"complete: all {complete.words:,} words of struct pages were as recorded at the stop"
    else:
        mine = complete.of_page(pfn) if pfn is not None else ()
        where = f", {len(mine)} of them this page's" if pfn is not None else ""
        yield (
            f"not complete: {complete.differ:,} of {complete.words:,} words of struct pages were "
            f"not as recorded at the stop{where}"
        )
        yield from (_word(word) for word in mine)


def _account(account: Ledger) -> Iterator[str]:
    counted = account.adds or account.removals or account.left_over
    if account.unpaired is not None and not counted:
        yield f"no ledger: {account.unpaired}"
        return
    yield (
        f"rmap: {account.adds} added, {account.removals} removed; "
        f"references: {account.gets} got, {account.puts} put"
    )
    has_put = any(one.what is What.PUT_WITHOUT_GET for one in account.left_over)
    if account.unpaired is not None and not has_put:
        yield f"references are not paired: {account.unpaired}"
    for one in account.left_over:
        yield f"* {one.sentence()}"
    if not account.left_over and account.unpaired is None:
        yield "nothing is left over: each get has its put, each rmap its removal or its PTE"


def _word(word: Word) -> str:
    was = "nothing" if word.recorded is None else f"{word.recorded:#x}"
    return (
        f"  offset {word.offset}: memory has {word.memory:#x}, last recorded {was}: written by a "
        "device, a debugger, or an instruction that is not followed"
    )


def _block(
    before: NamedWrite | None,
    one: NamedWrite,
    fields: PageFields,
    origin: int,
    stacks: bool,
) -> list[str]:
    """Return a store's lines."""
    write = one.write
    lines = []
    if write.after_stop and (before is None or not before.write.after_stop):
        lines.append(f"{'-' * 11} the guest was stopped and dumped here, and ran on")
    time = f"{(write.ns - origin) / 1e6:11.3f} cpu{write.cpu:<3}"
    changes = [change_text(change, fields) for change in write.changes]
    first, *rest = changes or ["(nothing changed)" if write.valued else "(value not recorded)"]
    lines.append(f"{time} {_right(first, one.role)}")
    lines += [f"{_INDENT}{text}" for text in rest]
    ways = ["not through vmemmap, but the direct map"] if write.alias else []
    lines += [f"{_INDENT}! {way}" for way in ways]
    lines.append(f"{_INDENT}{_place(one, stacks)}")
    if stacks:
        lines += [f"{_INDENT}< {frame_line(frame)}" for frame in one.around()]
    return lines


def _right(text: str, role: str) -> str:
    """Return the role at the right margin, where there is room."""
    room = WIDTH - len(_INDENT) - len(text)
    return f"{text}{role:>{room}}" if role and room > len(role) else f"{text}  {role}".rstrip()


def _place(one: NamedWrite, stacks: bool) -> str:
    author = one.author
    text = f"{author.source or '?'} {author}"
    if stacks:
        return text
    for frame in one.around():
        more = f"{text} < {frame}"
        if len(_INDENT) + len(more) > WIDTH:
            break
        text = more
    return text


def frame_line(frame: Frame) -> str:
    """Return a function with its line, or that it had ended with a jump."""
    return f"{frame} {'(tail call)' if frame.left else frame.source or ''}".rstrip()


def change_text(change: Change, fields: PageFields) -> str:
    """Return one member's change: before and after."""
    name, aside = change.name, "" if change.stored else "  (changed unseen)"
    if name == MAPCOUNT and min(change.after, change.before or 0) < TYPED_BELOW:
        before = "?" if change.before is None else f"{change.before % 2**32:#x}"
        return f"page_type {before} → {change.after % 2**32:#x}{aside}"
    if name == "flags":
        return f"flags {_flags(change, fields)}{aside}"
    before = "?" if change.before is None else _number(change.before, name)
    return f"{name} {before} → {_number(change.after, name)}{aside}"


def _flags(change: Change, fields: PageFields) -> str:
    if change.before is None:
        return f"= {'|'.join(fields.flag_names(change.after)) or 'none'}"
    return (
        " ".join(fields.flag_changes(change.before, change.after))
        or f"{change.before:#x} → {change.after:#x}"
    )


def _number(value: int, name: str) -> str:
    return str(value) if name in _COUNTERS or not value else f"{value % 2**64:#x}"


def _folded(line: str) -> Iterator[str]:
    """Lines of at most WIDTH columns, broken at spaces where there are any."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    while len(line) > WIDTH:
        cut = line.rfind(" ", len(indent), WIDTH + 1)
        cut = cut if cut > 0 else WIDTH
        yield line[:cut]
        line = indent + line[cut:].lstrip()
    yield line


def life_json(
    named: NamedLife,
    run: str,
    complete: Completeness | None,
    unseen: Iterable[str],
    account: Ledger | None = None,
) -> dict[str, Any]:
    """Return what `life --json` prints."""
    found = named.life
    return {
        "run": run,
        "pfn": found.pfn,
        "since": "alloc" if found.since_allocation else "boot",
        "stores_since_boot": found.all,
        "complete": None if complete is None else complete.to_json(),
        "unseen": list(unseen),
        "ledger": None if account is None else _account_json(account),
        "writes": [_write_json(one) for one in named.writes],
    }


def _account_json(account: Ledger) -> dict[str, Any]:
    return {
        "rmaps_added": account.adds,
        "rmaps_removed": account.removals,
        "gets": account.gets,
        "puts": account.puts,
        "unpaired": account.unpaired,
        "left_over": [
            {
                "what": str(one.what),
                "count": one.count,
                "stores": [write.write.number for write in one.among],
                "dropped": [write.write.number for write in one.dropped],
                "sentence": one.sentence(),
            }
            for one in account.left_over
        ],
    }


def _write_json(one: NamedWrite) -> dict[str, Any]:
    write, author = one.write, one.author
    return {
        "number": write.number,
        "ns": write.ns,
        "cpu": write.cpu,
        "role": one.role or None,
        "changes": [
            {
                "field": change.name,
                "before": change.before,
                "after": change.after,
                "stored": change.stored,
            }
            for change in write.changes
        ],
        "function": author.function,
        "source": author.source,
        "pc": write.pc,
        "offset": one.offset,
        "inline_chain": [_frame_json(frame) for frame in one.frames],
        "stack": [
            {"address": address, "frames": [_frame_json(frame) for frame in frames]}
            for address, frames in zip(write.stack, one.callers, strict=True)
        ],
        "alias": write.alias,
        "storage_to_storage": write.storage,
        "after_stop": write.after_stop,
        "value_known": write.valued,
    }


def _frame_json(frame: Frame) -> dict[str, Any]:
    """Return a frame; that it had left only where it had."""
    data: dict[str, Any] = {"function": frame.function, "source": frame.source}
    return {**data, "tail_call": True} if frame.left else data
