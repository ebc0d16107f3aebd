"""What the plugin stores in 24 bytes, as records."""

from __future__ import annotations

import numpy as np

from tests.unit.life.builders import BASE, PFN, REFCOUNT, page_fields
from zaptrace.life.record_layout import (
    ALIAS,
    BYTES_BITS,
    CPU_BITS,
    NODE,
    PLACE_BITS,
    STORED,
    TABLE,
    UNKNOWN,
    VALID,
    VALUE,
    Array,
)
from zaptrace.life.records import Facts, Life, recorded

DIRECT = 0xFFFF888000000000
NODES = np.array([(0, 0, 0), (0, 0, 0x10000), (1, 0, 0x200), (2, 0, 0x1000), (0, 0, 0x2000)], NODE)
"""A kernel stack, a call on it, a store of the callee's, and a store whose stack is not known."""
PLACE = PFN * 64 + REFCOUNT


def stored(
    place: int = PLACE,
    flags: int = VALID | VALUE,
    *,
    value: int = 0,
    size: int = 4,
    cpu: int = 1,
    node: int = 3,
    time: int = 0,
) -> tuple[bytes, int, int, int]:
    where = ((flags << BYTES_BITS | size) << CPU_BITS | cpu) << PLACE_BITS | place
    return value.to_bytes(8, "big"), where, node, time


def life_of(
    *rows: tuple[bytes, int, int, int], nodes: Array = NODES, stop: int | None = None
) -> Life:
    facts = Facts(BASE, 1, 1, len(rows), 0, 0, 0, stop, 5000, tables=1)
    return recorded(np.array(list(rows), STORED), nodes, page_fields(), facts, DIRECT)


def test_a_record_says_where_when_who_and_what() -> None:
    life = life_of(stored(value=7, time=3), stored(2**PLACE_BITS - 8, size=8, cpu=255, node=4))
    first, last = life.records
    assert (first["va"], first["pc"], first["stack"]) == (BASE + PLACE, 0x1000, 2)
    assert life.stack(int(first["stack"])) == (0x200, 0x10000)
    assert (first["cpu"], first["bytes"], first["flags"]) == (1, 4, VALID | VALUE)
    assert first["value"].tobytes() == (7).to_bytes(8, "big")
    assert first["pa"] == np.uint64(UNKNOWN)
    assert life.pages()[0] == PFN
    assert (last["va"], last["cpu"], last["bytes"]) == (BASE + 2**PLACE_BITS - 8, 255, 8)
    assert (last["pc"], last["stack"]) == (0x2000, 0)


def test_stores_to_page_tables_are_apart_and_numbers_are_of_all() -> None:
    table = stored(0x4008, VALID | VALUE | TABLE, value=0x1001, size=8, node=4, time=2)
    life = life_of(stored(), table, stored(flags=VALID | VALUE | ALIAS))
    assert life.numbers.tolist() == [0, 2]
    assert life.pages().tolist() == [PFN, PFN]  # the plugin knows which page an alias is
    (entry,) = life.ptes
    assert (entry["number"], entry["slot"], entry["after"]) == (1, 0x4008, 0x1001)
    assert (entry["pc"], entry["stack"], entry["cpu"]) == (0x2000, 0, 1)
    assert entry["ns"] == 5000 + 2 * 256
    assert life.writers.tolist() == [(0x1000, 2), (0x2000, 1)]


def test_what_is_torn_is_left_out_and_counted() -> None:
    nothing = (bytes(8), 0, 0, 0)
    life = life_of(
        *(nothing, stored(), stored(size=0), stored(size=9), stored(size=8)),
        *(stored(flags=VALID | VALUE | TABLE, size=15), stored(flags=VALUE)),
    )
    assert life.numbers.tolist() == [1] and not len(life.ptes)
    assert (life.facts.missed, life.facts.torn) == (6, 6)


def test_a_node_that_is_none_has_neither_code_nor_stack() -> None:
    circle = np.array([(3, 0, 0), (2, 0, 0x10), (1, 0, 0x20), (2, 0, 0x1000)], NODE)
    life = life_of(stored(node=9), stored(), nodes=circle)
    assert life.records["pc"].tolist() == [0, 0x1000]
    assert life.stack(int(life.records["stack"][0])) == ()
    assert life.stack(int(life.records["stack"][1])) == (0x20, 0x10)
    assert life.writers.tolist() == [(0x1000, 1)]


def test_times_go_on_when_their_32_bits_are_full() -> None:
    late = 2**32 - 1
    times = (late, 1, late, 2, 2**31, late, 0)  # two CPUs around the first
    life = life_of(*(stored(time=one) for one in times), stop=4)
    units = [late, 2**32 + 1, late, 2**32 + 2, 2**32 + 2**31, 2**32 + late, 2**33]
    assert life.records["ns"].tolist() == [5000 + 256 * one for one in units]
    assert life.facts.start_ns == 5000 + 256 * late
    assert life.facts.stop_ns == 5000 + 256 * (2**32 + 2)


def test_many_are_as_few() -> None:
    """They are expanded a part at a time."""
    rows = [
        stored(at % 9000 * 8, VALID | (TABLE if at % 7 == 0 else 0), size=8) for at in range(40000)
    ]
    life = life_of(*rows)
    assert len(life.records) == 40000 - 5715
    assert (life.records["va"] == BASE + life.numbers % 9000 * 8).all()
    assert (life.numbers % 7 != 0).all()
    assert not len(life_of().records)
