"""Rows on a console as a whole: bits, patterns in memory, taint, the kernel's own limits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zaptrace.model.splats import Splat
from zaptrace.splat.kinds import about_pages
from zaptrace.triage.bits import Flip
from zaptrace.triage.console import Console
from zaptrace.triage.dump import swap_value
from zaptrace.triage.raw_words import poison, repeated_byte, texts, words
from zaptrace.triage.row import Candidate, Row, Seen, Sign, each
from zaptrace.triage.signs import (
    ALONE,
    FOREIGN,
    IN_MODULE,
    MANY,
    MANY_PAGES,
    foreign_taint,
    modules,
    several_pages,
)

_LINUS = "L. Torvalds, 2009-08-23, alpine.LFD.2.01.0908230943490.3158@localhost.localdomain"
BURST = 60
"""Reports of one kind a minute (bad_page(), print_bad_pte())."""
_ALL_ONES = {32: 0xFFFFFFFF, 64: 0xFFFFFFFFFFFFFFFF}
_LIMITED = ("bad_page_state", "bad_page_map")
_MEMORY = "a weak or stuck bit of the memory that holds the struct page or page table"
_OVERWRITTEN = "memory was overwritten: DMA, firmware, or a wild write of the kernel or a module"
_MEMTEST = (
    "memtest86+; EDAC counters (ras-mc-ctl --error-count); swap the memory modules",
    "leave the page out (memmap=4K$ADDRESS) and see whether it stays quiet",
)


def _one_bit(console: Console) -> Iterator[Seen]:
    found: dict[tuple[str, int | None], list[Flip]] = {}
    bits: dict[str, set[int]] = {}
    for flip in console.flips:
        if flip.plain:
            same = (flip.text, flip.splat.pfn)
            found.setdefault(same, []).append(flip)
            bits.setdefault(flip.field, set()).add(flip.bit)
    entries = {swap_value(splat) for splat in console.splats} - {None}
    for (text, _), flips in found.items():
        first = flips[0]
        others = len(entries - {first.value}) > 1 or len(bits[first.field]) >= MANY
        # Several entries are wrong where PTEs hold other data: small numbers among it.
        if not (others and first.field == "the swap entry"):
            splats = tuple(flip.splat for flip in flips)
            yield Seen(f"One bit keeps a value from being legal: {text}.", splats)


def _again(splat: Splat, console: Console) -> bool:
    """Return whether the same bit of the same field is wrong in another report, on another page."""
    return any(
        flip.splat is splat and any(_elsewhere(one, splat) for one in _with(flip, console))
        for flip in console.flips
    )


def _with(flip: Flip, console: Console) -> Iterator[Splat]:
    """Return the reports in which the same bit of the same field is wrong."""
    return (
        one.splat
        for one in console.flips
        if one.field == flip.field and one.bit == flip.bit and one.plain == flip.plain
    )


def _elsewhere(one: Splat, other: Splat) -> bool:
    return (one.pfn, one.addr, one.reason) != (other.pfn, other.addr, other.reason)


def _same_bit(console: Console) -> Iterator[Seen]:
    found: dict[tuple[str, int], list[Flip]] = {}
    for flip in console.flips:
        if flip.plain:
            found.setdefault((flip.field, flip.bit), []).append(flip)
    for (field, bit), some in found.items():
        if len(some) > 1 and any(_elsewhere(one.splat, some[0].splat) for one in some):
            splats = tuple(one.splat for one in some)
            yield Seen(f"Bit {bit} of {field} is wrong in several reports.", splats)


def _same_page(console: Console) -> Iterator[Seen]:
    for pfn, splats in console.pages.items():
        if len(splats) > 1:
            yield Seen(f"pfn {pfn:#x} was reported more than once.", splats)


def _text(splat: Splat, _console: Console) -> str | None:
    found = texts(splat)
    if not found:
        return None
    quoted = ", ".join(f'{one.name} "{text}"' for one, text in found[:3])
    return f"Words of the struct page are ASCII text: {quoted} (read little-endian)."


def _repeated(splat: Splat, _console: Console) -> str | None:
    found = [
        (one, byte)
        for one in words(splat)
        if (byte := repeated_byte(one)) is not None and poison(one) is None
    ]
    if not found:
        return None
    quoted = ", ".join(f"{one.name} {byte:#04x}" for one, byte in found[:3])
    return f"Words of the struct page are one byte, repeated: {quoted}."


def _poison(splat: Splat, _console: Console) -> str | None:
    found = [(one, name) for one in words(splat) if (name := poison(one))]
    if not found:
        return None
    quoted = ", ".join(f"{one.name}: {name}" for one, name in found[:3])
    return f"Words of the struct page hold a poison pattern: {quoted}."


def _never_set(splat: Splat, _console: Console) -> str | None:
    ones = [one for one in words(splat) if one.value == _ALL_ONES[one.wide]]
    if len(ones) < 3:
        return None
    return "The struct page is all ones: it was never initialised (page_init_poison())."


def _tainted(console: Console) -> Iterator[Seen]:
    about = [splat for splat in console.splats if about_pages(splat) and splat.tainted]
    first = next((splat for splat in console.splats if about_pages(splat)), None)
    for splat in about:
        if "B" in (splat.tainted or "") and splat is first:
            yield Seen(
                "The kernel was tainted B (bad page) before the first report of this log: an "
                "earlier report is missing here.",
                (splat,),
            )
        break


def _foreign(console: Console) -> Iterator[Seen]:
    splats = [splat for splat in console.splats if about_pages(splat)]
    tainted = tuple(splat for splat in splats if foreign_taint(splat, console))
    named = modules(splats)
    if not tainted:
        return
    letters = "".join(
        letter for letter in FOREIGN if any(letter in (one.tainted or "") for one in tainted)
    )
    who = f"in the call traces: {', '.join(named)}" if named else "none stands in a call trace"
    yield Seen(f"Modules from elsewhere are or were loaded (taint {letters}); {who}.", tainted)


def _limited(console: Console) -> Iterator[Seen]:
    found: dict[tuple[str, str | None], list[Splat]] = {}
    for splat in console.splats:
        if splat.kind in _LIMITED:
            found.setdefault((splat.kind, splat.log), []).append(splat)
    for splats in found.values():
        held_back = sum(splat.suppressed or 0 for splat in splats)
        if held_back:
            yield Seen(
                f"The kernel held back {held_back} reports more: counts are lower bounds.",
                tuple(splats),
            )
        elif _burst(splats):
            yield Seen(
                f"{BURST} reports came within a minute, as many as the kernel prints: counts are "
                "lower bounds.",
                tuple(splats),
            )


def _burst(splats: list[Splat]) -> bool:
    times = [splat.time for splat in splats]
    for first, last in zip(times, times[BURST - 1 :], strict=False):
        if first is not None and last is not None and 0 <= last - first <= 60:
            return True
    return False


def _unchecked(console: Console) -> Iterator[Seen]:
    if said := checks_off(console):
        splats = tuple(splat for splat in console.splats if about_pages(splat))
        if splats:
            yield Seen(said, splats[:1])


_DEBUG = re.compile(
    r"\b(?:debug_pagealloc=(?:on|1)|page_poison=(?:on|1|y)|init_on_(?:alloc|free)=(?:on|1|y))"
)


def checks_off(console: Console) -> str | None:
    """Return why the allocator may not have looked at pages, where the log shows it; else None.

    Since "mm, page_alloc: reduce page alloc/free sanity checks" (700d2e9a36b9, v6.3) pages are
    looked at only with CONFIG_DEBUG_VM, debug_pagealloc, page_poison, init_on_alloc or
    init_on_free.  A "Bad page state" proves that they are.
    """
    boot = console.boot
    release = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", console.release or "")
    if release is None or (int(release[1]), int(release[2])) < (6, 3):
        return None
    if any(splat.kind == "bad_page_state" for splat in console.splats):
        return None
    auto = boot.auto_init or ""
    off = "heap alloc:off" in auto and "heap free:off" in auto
    if not off or _DEBUG.search(boot.command_line or ""):
        return None
    return (
        "The allocator looks at pages on this kernel only with CONFIG_DEBUG_VM: the boot says "
        '"heap alloc:off, heap free:off", and its command line turns on no other check. A page in '
        "a bad state may not have been reported."
    )


_SAME_BIT = Sign(3, "the same bit is wrong in another report", _again)

MEMORY_ROWS = (
    Row(
        name="same_bit",
        title="the same bit, again",
        sees=_same_bit,
        causes=(
            Candidate(_MEMORY, 3),
            Candidate(
                "software that sets this bit in the wrong page",
                1,
                (Sign(1, f"{MANY} pages or more are reported", several_pages),),
            ),
        ),
        measure=(*_MEMTEST, "zaptrace splat --group LOGS: is it the same host every time?"),
        source=_LINUS,
    ),
    Row(
        name="one_bit",
        title="one bit differs from a legal value",
        sees=_one_bit,
        causes=(
            Candidate(_MEMORY, 2, (_SAME_BIT, ALONE, MANY_PAGES)),
            Candidate(
                "a wild write, or a bit operation on the wrong word",
                1,
                (Sign(2, f"{MANY} pages or more are reported", several_pages), IN_MODULE),
            ),
        ),
        measure=(*_MEMTEST, "zaptrace splat --group LOGS: the same bit on one host only?"),
        source="D. Sterba, linux-btrfs, 2024-07-25 (xor with the legal value)",
    ),
    Row(
        name="text_in_page",
        title="ASCII text in the struct page",
        sees=each(_text),
        causes=(
            Candidate(_OVERWRITTEN, 3),
            Candidate("chance: one word of printable bytes", 0),
        ),
        measure=(
            "whose text is it?",
            "a dump: the neighbouring struct pages; iommu.strict=1; KASAN or KFENCE",
        ),
        source="libretech issue 10; raspberrypi/firmware issue 865",
    ),
    Row(
        name="repeated_bytes",
        title="repeated bytes in the struct page",
        sees=each(_repeated),
        causes=(Candidate(_OVERWRITTEN, 2),),
        measure=("a dump: the neighbouring struct pages; iommu.strict=1; KASAN or KFENCE",),
        source="raspberrypi/firmware issue 865",
    ),
    Row(
        name="poison",
        title="a poison pattern in the struct page",
        sees=each(_poison),
        causes=(
            Candidate("use after free: the pattern marks memory that was given back", 2),
            Candidate("a copy of poisoned memory was written here", 1),
        ),
        measure=("slub_debug=FZPU, page_poison=1, or KASAN: who used it after its free",),
        source="include/linux/poison.h",
    ),
    Row(
        name="never_initialised",
        title="a struct page that was never initialised",
        sees=each(_never_set),
        causes=(
            Candidate("a pfn in a hole of memory, or of a device, was used as a page", 2),
            Candidate("memory that was onlined half, or is being removed", 1),
        ),
        measure=("/proc/iomem: is there memory at that address?",),
        source="page_init_poison(), mm/debug.c",
    ),
)

LOG_ROWS = (
    Row(
        name="same_page",
        title="the same page, again",
        sees=_same_page,
        causes=(
            Candidate("the memory that holds its struct page, or page table, is weak", 1),
            Candidate("a page that one driver or the firmware keeps using", 1, (IN_MODULE,)),
            Candidate("one incident that was reported at several places", 1),
        ),
        measure=(*_MEMTEST, "/proc/iomem: who else uses that address?"),
        source=_LINUS,
    ),
    Row(
        name="tainted_before",
        title="a bad page was reported before this log begins",
        sees=_tainted,
        causes=(),
        measure=("find the first report: journalctl -k -b, pstore, the netconsole server",),
        source="add_taint(TAINT_BAD_PAGE), mm/page_alloc.c",
    ),
    Row(
        name="out_of_tree",
        title="modules from elsewhere",
        sees=_foreign,
        causes=(
            Candidate(
                "one of those modules",
                1,
                (
                    Sign(
                        3, "a module stands in the call trace", lambda one, _: bool(modules((one,)))
                    ),
                ),
            ),
            Candidate("the kernel itself: a taint is no proof", 1),
        ),
        measure=("reproduce without them; page_owner and fault:/mmap: name the user of a page",),
        source="Documentation/admin-guide/tainted-kernels.rst; openzfs issue 3309",
    ),
    Row(
        name="rate_limit",
        title="the kernel's rate limit was reached",
        sees=_limited,
        causes=(),
        measure=("zaptrace live or repro: events have no such limit",),
        source="bad_page(), mm/page_alloc.c; print_bad_pte(), mm/memory.c: 60 a minute",
    ),
    Row(
        name="checks_off",
        title="page checks may be off",
        sees=_unchecked,
        causes=(),
        measure=("boot with debug_pagealloc=on, page_poison=1 or init_on_free=1",),
        source='"mm, page_alloc: reduce page alloc/free sanity checks" (700d2e9a36b9, v6.3)',
    ),
)
