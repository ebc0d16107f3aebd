"""life.zap: what was written is read, and anything else gets one line."""

from __future__ import annotations

import dataclasses
import random
import resource
from pathlib import Path

import pytest

from tests.unit.life.builders import PFN, a_zapped_page
from tests.unit.life.recorded import FOUNDING, recorded
from zaptrace import demo
from zaptrace.life.completeness import Completeness, Word
from zaptrace.life.life_file import read, write
from zaptrace.life.page_life import page_life
from zaptrace.life.records import of_pages
from zaptrace.model.errors import BadInput, Missing, ZaptraceError

COMPLETE = Completeness(100, 2, (Word(PFN, 8, None, 7), Word(PFN, 16, 3, 2**64 - 1)))


def _written(path: Path) -> Path:
    write(path, of_pages(a_zapped_page().life(stop=5), (PFN,)), COMPLETE)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = _written(tmp_path / "life.zap")
    assert path.stat().st_mode & 0o777 == 0o600
    life, complete = read(path)
    assert complete == COMPLETE
    assert life.pfns == (PFN,) and life.facts.stop == 5
    assert page_life(life, PFN) == page_life(a_zapped_page().life(stop=5), PFN)
    assert life.writers["count"].sum() == 7


def test_it_says_of_which_boot_it_is(tmp_path: Path) -> None:
    life = a_zapped_page().life()
    for boot in (None, "0a77d9c2-1111-4222-8333-444455556666/1111-aaaa"):
        write(tmp_path / "life.zap", dataclasses.replace(life, boot=boot), None)
        assert read(tmp_path / "life.zap")[0].boot == boot
    write(tmp_path / "life.zap", dataclasses.replace(life, boot="\x1b[31m"), None)
    with pytest.raises(BadInput, match="not the id of a boot"):
        read(tmp_path / "life.zap")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A limit of the file's size stands for it: the write comes to an error in the middle."""
    life, complete = recorded()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FOUNDING.stat().st_size // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "life.zap", life, complete)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_recorded_file_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    whole = FOUNDING.read_bytes()
    path = tmp_path / "life.zap"
    for end in range(0, len(whole), 61):
        path.write_bytes(whole[:end])
        with pytest.raises(BadInput, match=r"cut short or damaged|not a recording") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["capture", "longer", "empty"])
def test_another_file_is_said_to_be_one(tmp_path: Path, other: str) -> None:
    path = tmp_path / "life.zap"
    path.write_bytes(
        {"capture": demo.path().read_bytes(), "longer": b"\x7fELF" + bytes(100), "empty": b""}[
            other
        ]
    )
    with pytest.raises(BadInput, match="not a recording of pages' lives"):
        read(path)
    with pytest.raises(Missing):
        read(tmp_path / "none")


def test_cut_anywhere_it_is_damaged(tmp_path: Path) -> None:
    path = _written(tmp_path / "life.zap")
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(BadInput):
            read(path)


def test_flipped_bits_never_get_further_than_one_line(tmp_path: Path) -> None:
    path = _written(tmp_path / "life.zap")
    whole = path.read_bytes()
    some = random.Random(15)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(some.randint(1, 4)):
            data[some.randrange(len(data))] ^= 1 << some.randrange(8)
        path.write_bytes(data)
        try:
            life, _ = read(path)
        except ZaptraceError as error:
            assert "\n" not in str(error)
            continue
        for pfn in (PFN, 0):
            page_life(life, pfn, since_boot=True)
