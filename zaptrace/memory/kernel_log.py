"""The kernel's own log in a dump.

A console may lack its end: a kernel that dies with a lock held, or whose console driver waits for
an interrupt (s390x), has logged what it did not get to print.
"""

from __future__ import annotations

import drgn
from drgn.helpers.linux.printk import get_printk_records

_MOST_RECORDS_BITS = 21
"""log2 of the records of the largest buffer: CONFIG_LOG_BUF_SHIFT is 25 at most, of 32 bytes each
(PRB_AVGBITS, kernel/printk/printk.c)."""
_NS = 1_000_000_000


def kernel_log(prog: drgn.Program) -> tuple[str, ...]:
    """Return the lines of the kernel's log, as a console prints them; none where it cannot be read.

    The ring of records is that of v5.10 on ("printk: use the lockless ringbuffer").
    """
    try:
        if not _is_whole(prog["prb"].desc_ring):
            return ()
        records = get_printk_records(prog)
    except (drgn.FaultError, LookupError, TypeError, ValueError, AttributeError):
        return ()
    lines: list[str] = []
    for one in records:
        stamp = f"[{one.timestamp // _NS:5d}.{one.timestamp % _NS // 1000:06d}] "
        text = one.text.decode(errors="replace")
        lines += [stamp + line for line in text.split("\n")]
    return tuple(lines)


def _is_whole(ring: drgn.Object) -> bool:
    """Return whether as many records are in use as there can be: a dump is not to be trusted."""
    bits: int = ring.count_bits.value_()
    used: int = ring.head_id.counter.value_() - ring.tail_id.counter.value_()
    return bits <= _MOST_RECORDS_BITS and 0 <= used < 1 << bits
