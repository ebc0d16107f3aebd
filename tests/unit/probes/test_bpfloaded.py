"""bpf(2) itself, where this machine allows it: maps, programs with their maps, a tracepoint."""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from probes import bpfcalls
from probes.bpfloaded import Loaded
from probes.bpfobject import Compiled, Function, MapDefinition

COUNTED, PER_CPU = 2, bpfcalls.PER_CPU_ARRAY


def insn(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
    return struct.pack("=BBhi", code, registers, offset, value)


EXIT = insn(0x95)
COUNTS_UP = b"".join(
    [
        insn(0x62, 10, 0, -4, 0),  # the key: *(u32 *)(r10 - 4) = 0
        insn(0xBF, 2, 10),
        insn(0x07, 2, 0, 0, -4),  # r2 = r10 - 4
        insn(0x18, 1, 1),  # r1 = the map
        insn(0),
        insn(0x85, 0, 0, 0, 1),  # map_lookup_elem
        insn(0x15, 0, 0, 2, 0),  # none: done
        insn(0xB7, 1, 0, 0, 1),
        insn(0xDB, 0, 1),  # lock *(u64 *)r0 += 1
        insn(0xB7),
        EXIT,
    ]
)
ENDLESS = insn(0x05, 0, 0, -1)
MAPS = (
    MapDefinition("gate", COUNTED, 4, 8, 1, 0),
    MapDefinition("counts", PER_CPU, 4, 32, 2, 0),
)
FUNCTIONS = {
    "site_0": Function(COUNTS_UP, {3: "gate"}),
    "bad": Function(ENDLESS + EXIT, {}),
}


@pytest.fixture
def loaded() -> Iterator[Loaded]:
    """Maps and programs in this machine's kernel."""
    try:
        made = Loaded(Compiled("GPL", 0, MAPS, FUNCTIONS))
    except OSError as error:
        pytest.skip(f"bpf(2): {error.strerror}")
    yield made
    made.close()


def test_a_program_counts_in_its_map(loaded: Loaded) -> None:
    try:
        loaded.attach_raw_tracepoint("site_0", "sys_enter")
    except OSError as error:
        pytest.skip(f"no tracepoint: {error.strerror}")
    gate = loaded._maps["gate"]
    deadline = time.monotonic() + 60
    while not struct.unpack("=Q", gate.lookup(bytes(4)))[0]:
        assert time.monotonic() < deadline
        os.getppid()


def test_a_value_comes_back(loaded: Loaded) -> None:
    loaded.open_gate()
    gate = loaded._maps["gate"]
    assert gate.lookup(bytes(4)) == struct.pack("=II", 1, os.getpid())
    loaded.open_gate(opened=False)
    assert gate.lookup(bytes(4))[:4] == bytes(4)
    with pytest.raises(KeyError):
        gate.lookup(struct.pack("=I", 1))
    with pytest.raises(ValueError, match="another size"):
        gate.update(bytes(4), b"short")


def test_counts_are_of_each_site_and_cpu(loaded: Loaded) -> None:
    counts = loaded.counts(2)
    assert counts.shape == (2, bpfcalls.possible_cpus())
    assert not np.any(counts["entered"])


def test_what_the_kernel_refuses_is_reported_in_its_words(loaded: Loaded) -> None:
    with pytest.raises(OSError, match=r"back-edge|loop|unreachable"):
        loaded.program("bad", bpfcalls.KPROBE)


def test_nothing_stays_open(loaded: Loaded) -> None:
    descriptors = [one.fd for one in loaded._maps.values()]
    descriptors.append(loaded.program("site_0", bpfcalls.RAW_TRACEPOINT))
    loaded.close()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    loaded.close()


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_map_that_makes_no_sense_is_an_error_and_leaves_none_open() -> None:
    before = open_files()
    with pytest.raises(OSError):
        Loaded(Compiled("GPL", 0, (*MAPS, MapDefinition("odd", COUNTED, 3, 0, 0, 0)), {}))
    assert open_files() == before
