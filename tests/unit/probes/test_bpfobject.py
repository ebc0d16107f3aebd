"""A compiled BPF program kept in the cache: whole, or compiled anew."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from probes import bpfobject, bpfstore
from probes.bcccompiler import definition
from probes.bpfcalls import possible_cpus
from probes.bpfobject import (
    Compiled,
    Damaged,
    Function,
    MapDefinition,
    from_bytes,
    to_bytes,
    without_descriptors,
)
from probes.bpfstore import compiled_once, key_of

GATE = MapDefinition("gate", 2, 4, 8, 1, 0)
EVENTS = MapDefinition("events", 27, 0, 0, 1 << 24, 0)
KEY = key_of("bcc 1", "int site_0;")


def wide(source: int, value: int) -> bytes:
    """A 64-bit load into r1, of a constant or of what `source` says."""
    registers = 1 | source << 4 if sys.byteorder == "little" else 1 << 4 | source
    return struct.pack("=BBhi", 0x18, registers, 0, value) + bytes(8)


EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
TEXT = wide(1, 41) + wide(0, 41) + wide(1, 42) + EXIT
FUNCTION = Function(wide(1, 0) + wide(0, 41) + wide(1, 0) + EXIT, {0: "gate", 4: "events"})
COMPILED = Compiled("GPL", 0x60100, (GATE, EVENTS), {"site_0": FUNCTION})


def test_descriptors_are_taken_out_and_put_in_again() -> None:
    taken = without_descriptors(TEXT, {41: "gate", 42: "events"})
    assert taken == FUNCTION
    assert taken.relocated({"gate": 41, "events": 42}) == TEXT
    assert taken.relocated({"gate": 7, "events": 9}) == wide(1, 7) + wide(0, 41) + wide(1, 9) + EXIT


@pytest.mark.parametrize("text", [wide(1, 43), wide(2, 41), wide(4, 0)])
def test_what_refers_to_anything_else_is_not_kept(text: bytes) -> None:
    with pytest.raises(Damaged, match="refers to"):
        without_descriptors(text + EXIT, {41: "gate", 42: "events"})


def test_what_was_kept_comes_back_the_same() -> None:
    assert from_bytes(to_bytes(COMPILED, KEY), KEY) == COMPILED


def test_one_of_something_else_is_refused() -> None:
    with pytest.raises(Damaged, match="something else"):
        from_bytes(to_bytes(COMPILED, KEY), key_of("bcc 2", "int site_0;"))


def test_a_damaged_one_is_refused_wherever_it_is_damaged() -> None:
    whole = to_bytes(COMPILED, KEY)
    for cut in range(0, len(whole), 7):
        with pytest.raises(Damaged):
            from_bytes(whole[:cut], KEY)
        with pytest.raises(Damaged):
            from_bytes(whole[:cut] + bytes([whole[cut] ^ 1]) + whole[cut + 1 :], KEY)


@pytest.mark.parametrize(
    "function",
    [
        Function(EXIT, {1: "gate"}),
        Function(EXIT, {0: "nothing"}),
        Function(EXIT + b"\0", {}),
        Function(b"", {}),
    ],
)
def test_one_that_makes_no_sense_is_refused(function: Function) -> None:
    odd = Compiled("GPL", 0, (GATE,), {"site_0": function})
    with pytest.raises(Damaged, match="no program"):
        from_bytes(to_bytes(odd, KEY), KEY)


class Compiler:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Compiled:
        self.asked += 1
        return COMPILED


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that programs are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "zaptrace" / bpfstore.FOLDER


def test_it_is_compiled_once(kept: Path) -> None:
    compiler = Compiler()
    for _ in range(3):
        assert compiled_once(KEY, compiler) == COMPILED
    assert compiler.asked == 1
    (file,) = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["torn", "changed", "renamed", "writable", "link", "folder"])
def test_a_bad_cache_costs_a_compile_and_is_replaced(kept: Path, how: str) -> None:
    compiler = Compiler()
    compiled_once(KEY, compiler)
    file, whole = kept / KEY, (kept / KEY).read_bytes()
    if how == "torn":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "changed":
        file.write_bytes(whole.replace(b'"entries": 1,', b'"entries": 2,'))
    elif how == "renamed":
        file.write_bytes(to_bytes(COMPILED, key_of("another")))
    elif how == "writable":
        file.chmod(0o622)
    elif how == "link":
        file.rename(kept / "elsewhere")
        file.symlink_to(kept / "elsewhere")
    else:
        file.unlink()
        file.mkdir()
    assert compiled_once(KEY, compiler) == COMPILED
    assert compiler.asked == 2
    if how != "folder":
        assert compiled_once(KEY, compiler) == COMPILED
        assert compiler.asked == 2


def test_the_cache_does_not_grow_for_ever(kept: Path) -> None:
    keys = [key_of(str(number)) for number in range(bpfstore.KEPT + 3)]
    for age, key in enumerate(keys):
        compiled_once(key, lambda: COMPILED)
        os.utime(kept / key, (age, age))
    compiled_once(key_of("one more"), lambda: COMPILED)
    assert len(list(kept.iterdir())) == bpfstore.KEPT
    assert (kept / keys[-1]).exists() and not (kept / keys[0]).exists()


def test_a_key_depends_on_each_part_and_on_where_it_ends() -> None:
    keys = {key_of(*parts) for parts in (("a", "b"), ("a", "c"), ("ab", ""), ("ab",), ("", "ab"))}
    assert len(keys) == 5


def test_a_map_shows_how_it_was_made() -> None:
    fdinfo = (
        "pos:\t0\nflags:\t02000002\nmap_type:\t27\nkey_size:\t0\nvalue_size:\t0\n"
        "max_entries:\t16777216\nmap_flags:\t0x0\nmap_extra:\t0x0\nmemlock:\t16855128\n"
    )
    assert definition("events", fdinfo) == EVENTS
    with pytest.raises(Damaged, match="max_entries"):
        definition("events", fdinfo.replace("max_entries", "most"))


def test_possible_cpus(tmp_path: Path) -> None:
    path = tmp_path / "possible"
    for text, count in (("0\n", 1), ("0-3\n", 4), ("0,2-7\n", 8)):
        path.write_text(text)
        assert possible_cpus(path) == count


def test_a_file_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = to_bytes(COMPILED, KEY)
    monkeypatch.setattr(bpfobject, "MOST_BYTES", len(whole) - 1)
    with pytest.raises(Damaged):
        from_bytes(whole, KEY)
