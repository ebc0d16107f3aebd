"""What the plugin and zaptrace share: vm/plugin/plugin.h has the same."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAGIC: Final = b"ZAPLIFE\3"

SHARED = np.dtype(
    [
        ("magic", "V8"),
        ("size", "<u8"),  # bytes of all
        ("nodes_at", "<u8"),
        ("max_nodes", "<u8"),
        ("records_at", "<u8"),
        ("max_records", "<u8"),
        ("lo", "<u8"),  # virtual address of the recorded range
        ("len", "<u8"),  # bytes; 0: nothing is recorded yet
        ("direct", "<u8"),  # virtual address of physical 0 in the kernel's direct map
        ("moved", "<u8"),  # how far above its link-time addresses the kernel's code runs
        ("page_size", "<u8"),  # bytes of a struct page; 0: page tables are not recorded
        ("type_at", "<u8"),  # offset of its page_type
        ("type_mask", "<u8"),
        ("type_value", "<u8"),  # page_type & type_mask == type_value: a page table
        ("api", "<u8"),  # version of QEMU's plugin API
        ("storage", "<u8"),  # see NOT_SEEN
        ("start_ns", "<u8"),  # CLOCK_MONOTONIC of the first record
        ("ram", "<u8"),  # bytes of guest memory that the plugin can read
        ("count", "<u8"),  # records wanted, more than max_records when it was full
        ("nodes", "<u8"),
        ("lost_stacks", "<u8"),
        ("healed", "<u8"),
        ("tables", "<u8"),  # times that a page became a page table
    ]
)
STORED = np.dtype(
    [
        ("value", "V8"),  # the aligned word after the store, as the guest has it
        ("where", "<u8"),  # its place, CPU, bytes and flags: see PLACE_BITS
        ("node", "<u4"),  # the call stack, with the instruction innermost; 0: not known
        ("time", "<u4"),  # since start_ns, in units of 2**TIME_SHIFT ns, modulo 2**32
    ]
)
"""A record as the plugin writes it."""
PLACE_BITS, CPU_BITS, BYTES_BITS, TIME_SHIFT = 40, 8, 4, 8
FLAGS_AT: Final = PLACE_BITS + CPU_BITS + BYTES_BITS
"""`where`, from the lowest bit: offset in the range, of a store to a page table its physical
address; CPU; bytes of the store that lie in this word; flags."""
RECORD = np.dtype(
    [
        ("ns", "<u8"),  # CLOCK_MONOTONIC of the host
        ("pc", "<u8"),
        ("va", "<u8"),  # where the store's bytes in this word begin
        ("value", "V8"),  # the aligned word after the store, as the guest has it
        ("pa", "<u8"),  # where `va` is in guest memory; UNKNOWN, but for page tables
        ("stack", "<u4"),  # node; 0: not known
        ("cpu", "u1"),
        ("bytes", "u1"),  # of the store in this word, 1 to 8
        ("flags", "u1"),
        ("pad", "u1"),
    ]
)
NODE = np.dtype(
    [
        ("parent", "<u4"),  # the caller's node; 0 for a root
        ("next", "<u4"),  # of no meaning here
        ("address", "<u8"),  # return address; of a root the start of its stack; or a store's code
    ]
)
WRITER = np.dtype([("pc", "<u8"), ("count", "<u8")])
"""An instruction, and how often it stored."""
UNKNOWN: Final = 2**64 - 1
VALID, VALUE, ALIAS, MORE, STORAGE, TABLE = 1, 2, 4, 8, 16, 32
"""Flags of a record: it is whole; its value is known; through the direct map; not the store's first
word; of a storage-to-storage instruction; to a page table, and no struct page."""
NOT_SEEN: Final = 2
"""`storage`: this QEMU does not report storage-to-storage instructions, and they were not followed
either (0: it does, 1: they were)."""

Array = npt.NDArray[Any]
U64 = npt.NDArray[np.uint64]
