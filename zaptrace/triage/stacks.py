"""What the call trace of a report about a page says of the task: freeing, allocating, or neither.

bad_page() runs where the allocator *looks* at a page.  Up to 6.2, without CONFIG_DEBUG_VM, an
order-0 page is looked at when the CPU's list of free pages is refilled from the buddy allocator
or drained into it: the task that triggers that has nothing to do with the page.  Since "mm,
page_alloc: reduce page alloc/free sanity checks" (700d2e9a36b9, in v6.3) a page is looked at when
it is freed or allocated, and only where the checks are on (CONFIG_DEBUG_VM, debug_pagealloc,
page_poison, init_on_alloc, init_on_free).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from zaptrace.model.splats import Frame, Splat


class Way(enum.Enum):
    """What a task did when the allocator looked at the page."""

    FREE = "free"
    """It gave the page to the allocator: the stack is the freer's."""
    ALLOC = "alloc"
    """It was about to be given the page, or to move it to its CPU's list."""
    DRAIN = "drain"
    """It moved pages from a CPU's list to the buddy allocator; the page was freed earlier."""
    UNKNOWN = "unknown"
    """No call trace, or none that goes through the allocator."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A call trace, read.

    Attributes:
        way: what the task did.
        steps: the functions of the allocator that say so, innermost first.
        callers: the functions that called the allocator, innermost first; for a report that
            is not the allocator's, all but those that print.
    """

    way: Way
    steps: tuple[str, ...] = ()
    callers: tuple[Frame, ...] = ()


_PRINTS = re.compile(
    r"_?printk|vprintk\w*|show_stack\w*|(?:__)?dump_stack\w*|dump_page|__dump_page|dump_backtrace|bad_page(?:_\w+)?"
    r"|print_bad_(?:pte|page_map)|report_bug|__warn\w*|warn_slowpath\w*|handle_bug|exc_invalid_op"
    r"|asm_exc_invalid_op|do_error_trap|do_invalid_op|invalid_op|bug_handler|brk_handler"
    r"|call_break_hook|do_debug_exception|el1_\w+|el1h_\w+|die|show_regs|panic|oops_\w+"
    r"|unwind_\w+|arch_stack_walk|walk_stackframe|check_panic_on_warn|monitor_event_exception"
    r"|illegal_op|__do_pgm_check|pgm_check_handler"
    r"|(?:__)?(?:re)?set_page_owner|save_stack|stack_trace_save\w*|kasan_save_\w+"
    r"|print_(?:report|address_description|memory_metadata)|(?:__)?kasan_(?:report|check)\w*"
    r"|(?:__)?asan_\w+|check_memory_region\w*|k[cm]san_\w*report\w*|kfence_(?:report|handle)\w*"
)
"""What prints a report, comes between a BUG() and the function that holds it, or saves a stack."""

_FREE_CHECK = re.compile(
    r"free_pages_check(?:_bad)?|free_tail_pages?_(?:check|prepare)|free_page_is_bad(?:_report)?"
    r"|check_free_page(?:_bad)?|__free_one_page"
)
"""Looks at a page that is free; what called it says when it was freed."""
_DRAINS = re.compile(
    r"free_pcppages_bulk|bulkfree_pcp_prepare|free_unref_page_commit|free_frozen_page_commit"
    r"|free_pages_bulk|drain_(?:pages\w*|zone_pages|local_pages\w*|all_pages\w*|remote_pages)"
    r"|__drain_pages|__drain_all_pages|decay_pcp_high|refresh_cpu_vm_stats"
)
_ALLOCS = re.compile(
    r"check_new_\w+|check_pcp_refill|prep_new_page|post_alloc_hook|(?:__)?rmqueue\w*"
    r"|buffered_rmqueue|get_page_from_freelist|__alloc_(?:frozen_)?pages\w*|alloc_pages\w*"
    r"|__folio_alloc\w*|folio_alloc\w*|vma_alloc_folio\w*"
)
_FREES = re.compile(
    r"free_pages_prepare|free_pcp_prepare|(?:__)?free_pages(?:_ok|_core|_exact)?|free_hot_cold_page"
    r"(?:_list)?|free_unref_(?:page|folios)\w*|(?:__)?free_frozen_pages\w*|free_one_page"
    r"|free_large_kmalloc|free_compound_page|destroy_large_folio|free_huge_(?:page|folio)"
    r"|free_the_page|page_frag_free|free_page|free_contig_range|free_nonslab_page"
)
_PUTS = re.compile(
    r"(?:__)?put_page|(?:__)?folio_put\w*|put_page_testzero|__put_single_page"
    r"|__put_compound_page|release_pages|folios_put\w*|free_pages?_and_swap_cache"
    r"|free_folio_and_swap_cache|free_pages_and_swap_cache|__page_cache_release|__pagevec_release"
    r"|__folio_batch_release|free_swap_cache|put_compound_page|put_unrefcounted_compound_page"
)
"""Drops a reference, which may be the last; whose it was is said by the caller."""
_DEFERRED = re.compile(
    r"rcu_(?:core|do_batch|cpu_kthread|nocb_cb_kthread)\w*|\w*do_softirq\w*|handle_softirqs|irq_exit"
    r"\w*|net_rx_action|tasklet_\w+|(?:common|handle)_\w*irq\w*|do_IRQ|asm_\w*interrupt|el1_irq"
    r"|do_\w*irq|\w*ext_int_handler|process_one_work|process_scheduled_works|delayed_fput"
    r"|blk_done_softirq|smp_call_function_many_cond|flush_smp_call_function_queue|__sysvec_\w+"
)
"""Functions that run what another task, or a device, requested."""
_CLONE = re.compile(r"(?:\.(?:isra|constprop|part|cold|llvm|lto_priv)(?:\.[0-9]{1,20})?)+$")


def base_name(symbol: str) -> str:
    """Return a function's name without what the compiler appends to a clone's."""
    return _CLONE.sub("", symbol[:512])


def reliable(trace: Iterable[Frame]) -> tuple[Frame, ...]:
    """Return the frames that have a name and that the kernel vouches for."""
    return tuple(frame for frame in trace if frame.symbol and frame.reliable)


def deferral(trace: Iterable[Frame]) -> str | None:
    """Return the function that says that the task only lent its CPU: interrupts, put-off work."""
    names = (base_name(frame.symbol or "") for frame in reliable(trace))
    return next((name for name in names if _DEFERRED.fullmatch(name)), None)


def without_printing(trace: Iterable[Frame]) -> tuple[Frame, ...]:
    """Return the reliable frames but for the innermost ones that only print the report."""
    frames = reliable(trace)
    at = next((at for at, frame in enumerate(frames) if not _prints(frame)), len(frames))
    return frames[at:]


_CHECKED = re.compile(r"WARNING: .{1,200}? (?:at )?([A-Za-z_][\w.]{0,127})\+0x[0-9a-f]{1,8}/0x")


def check_site(splat: Splat) -> str | None:
    """Return the function that holds a BUG() or WARN(): as a WARNING says, or by the trace."""
    if found := _CHECKED.match(splat.reason or ""):
        return base_name(found[1])
    frame = next(iter(without_printing(splat.trace)), None)
    return base_name(frame.symbol) if frame and frame.symbol else None


def read_stack(trace: Sequence[Frame]) -> Reading:
    """Read the call trace of a report; names are looked at, never offsets.

    The innermost function that is not a mere check decides: a drain inside of an allocation
    (direct reclaim) is a drain.  Frames that the kernel does not vouch for count where the others
    do not say: only the allocator calls bad_page(), so that it must be there.
    """
    reading = _read(reliable(trace))
    if reading.way is not Way.UNKNOWN or all(frame.reliable for frame in trace):
        return reading
    guessed = _read(tuple(frame for frame in trace if frame.symbol))
    ways = {_way_of(name) for name in guessed.steps} - {None}
    return replace(guessed, callers=reading.callers) if len(ways) == 1 else reading


def _read(frames: tuple[Frame, ...]) -> Reading:
    at = next((at for at, frame in enumerate(frames) if not _prints(frame)), len(frames))
    way = Way.UNKNOWN
    steps: list[str] = []
    for frame in frames[at:]:
        name = base_name(frame.symbol or "")
        found = _way_of(name)
        if found is None and not _PUTS.fullmatch(name) and not _FREE_CHECK.fullmatch(name):
            break
        if way is Way.UNKNOWN and found is not None:
            way = found
        steps.append(name)
        at += 1
    return Reading(way, tuple(steps), frames[at:])


def _way_of(name: str) -> Way | None:
    if _DRAINS.fullmatch(name):
        return Way.DRAIN
    if _ALLOCS.fullmatch(name):
        return Way.ALLOC
    return Way.FREE if _FREES.fullmatch(name) else None


def of_allocator(symbol: str) -> bool:
    """Return whether a function is the allocator's, or drops references for its caller."""
    name = base_name(symbol)
    known = (_PUTS, _FREE_CHECK, _PRINTS)
    return _way_of(name) is not None or any(one.fullmatch(name) for one in known)


def _prints(frame: Frame) -> bool:
    return _PRINTS.fullmatch(base_name(frame.symbol or "")) is not None
