"""What an instruction stores byte by byte is one store."""

from __future__ import annotations

import numpy as np

from tests.unit.life.builders import BASE, FLAGS, PFN, Recorder
from zaptrace.life.byte_runs import merge_bytes
from zaptrace.life.page_life import page_life
from zaptrace.life.record_layout import TABLE, VALID, VALUE


def bytewise(some: Recorder, old: int, new: int, *, cpu: int = 0, pc: int = 7) -> None:
    """An entry that MVC overwrites, as QEMU 10 reports it."""
    words = [old.to_bytes(8, "big"), new.to_bytes(8, "big")]
    for at in range(8):
        now = words[1][: at + 1] + words[0][at + 1 :]
        row = (1_000_000 + len(some.rows), pc, 0x80004000 + at, now, 0x4000 + at, 0, cpu, 1)
        some.rows.append((*row, VALID | VALUE | TABLE, 0))


def test_an_entry_that_is_overwritten_bytewise_maps_nothing_in_between() -> None:
    some = Recorder()
    some.store(FLAGS, 0, 8)
    some.entry(0x1B60001)
    bytewise(some, 0x1B60001, 0x400)
    life = some.life(tables=1)
    assert life.ptes["after"].tolist() == [0x1B60001, 0x400]
    assert life.ptes["slot"].tolist() == [0x4000, 0x4000]
    assert life.ptes["number"].tolist() == [1, 9]  # its last byte's
    assert life.facts.missed == 0


def test_each_cpu_and_each_instruction_has_its_own() -> None:
    some = Recorder()
    for at in range(8):
        for cpu, pc in ((0, 7), (1, 7)):
            va = BASE + (PFN + cpu) * 64 + at
            some.rows.append(
                (at, pc, va, bytes(8), 0x4000 + va - BASE, 0, cpu, 1, VALID | VALUE, 0)
            )
    records, nodes = some.arrays()
    merged, numbers = merge_bytes(records, np.arange(16, dtype=np.uint64))
    assert merged["bytes"].tolist() == [8, 8] and numbers.tolist() == [14, 15]
    assert (merged["va"] - np.uint64(BASE)).tolist() == [PFN * 64, (PFN + 1) * 64]
    assert len(nodes) == 1
    records["pc"][8] = 9
    assert merge_bytes(records, numbers=np.arange(16))[0]["bytes"].tolist().count(8) == 1


def test_words_and_lone_bytes_stay_what_they_are() -> None:
    some = Recorder()
    for offset in (FLAGS + 6, FLAGS + 7, FLAGS + 8, FLAGS + 24):
        some.store(offset, 1, 1)
    some.store(FLAGS, 3, 8)
    records, _ = some.arrays()
    merged, _ = merge_bytes(records, np.arange(5))
    assert merged["bytes"].tolist() == [2, 1, 1, 8]
    again, _ = merge_bytes(merged, np.arange(4))
    assert again.tobytes() == merged.tobytes()
    writes = page_life(some.life(), PFN, since_boot=True).writes
    assert [one.number for one in writes] == [1, 2, 3, 4]
