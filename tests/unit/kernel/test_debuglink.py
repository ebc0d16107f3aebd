"""Debug info compressed, split off, or shared: opened, or refused in one line."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.kernel.conftest import Mimic
from zaptrace.elf import debuglink as split_files
from zaptrace.kernel import build_id
from zaptrace.kernel.plan import make_plan
from zaptrace.kernel.running import running_vmlinux
from zaptrace.kernel.zap_sites import NO_CODE
from zaptrace.model.errors import BadInput


def objcopy(mimic: Mimic, *words: str | Path) -> None:
    program = shutil.which(mimic.addr2line.replace("addr2line", "objcopy"))
    if program is None:
        pytest.skip("objcopy is not installed")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if "zstd" in done.stderr:
        pytest.skip(f"this objcopy has no zstd: {done.stderr}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("way", ["zlib", "zstd"])
def test_compressed_debug_info(bare: Mimic, tmp_path: Path, way: str) -> None:
    packed = tmp_path / "vmlinux"
    objcopy(bare, f"--compress-debug-sections={way}", bare.path, packed)
    assert packed.stat().st_size < bare.path.stat().st_size
    assert make_plan(packed) == make_plan(bare.path)


def test_zstd_without_its_library(
    bare: Mimic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "vmlinux"
    objcopy(bare, "--compress-debug-sections=zstd", bare.path, packed)

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(BadInput, match=r"compressed by zstd, and libzstd\.so\.1 is not installed"):
        make_plan(packed)


@pytest.mark.parametrize("given", ["vmlinux", "vmlinux.debug"])
def test_debug_info_beside_the_code(bare: Mimic, tmp_path: Path, given: str) -> None:
    split(bare, tmp_path)
    assert make_plan(tmp_path / given) == make_plan(bare.path)


def test_the_name_of_the_other_half_is_followed(bare: Mimic, tmp_path: Path) -> None:
    split(bare, tmp_path)
    (tmp_path / ".debug").mkdir()
    odd = tmp_path / ".debug" / "odd"
    (tmp_path / "vmlinux.debug").rename(odd)
    objcopy(bare, f"--add-gnu-debuglink={odd}", tmp_path / "vmlinux")
    assert make_plan(tmp_path / "vmlinux") == make_plan(bare.path)


def test_debug_info_alone(bare: Mimic, tmp_path: Path) -> None:
    split(bare, tmp_path)
    (tmp_path / "vmlinux").unlink()
    plan, whole = make_plan(tmp_path / "vmlinux.debug"), make_plan(bare.path)
    assert plan.sites == whole.sites
    assert plan.notes == (NO_CODE,)
    assert dataclasses.replace(plan, notes=(), release=whole.release) == whole


def test_debug_info_where_the_system_has_it_by_build_id(
    bare: Mimic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_files, "SYSTEM", tmp_path / "system")
    identity = build_id(bare.path)
    assert identity is not None
    split(bare, tmp_path)
    place = split_files.installed(identity)
    assert place.parent.name == identity[:2]
    place.parent.mkdir(parents=True)
    (tmp_path / "vmlinux.debug").rename(place)
    assert make_plan(tmp_path / "vmlinux") == make_plan(bare.path)
    assert running_vmlinux(identity) == place


def test_a_vmlinux_in_the_folder_at_hand_is_taken_when_it_is_that_build(
    bare: Mimic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    identity = build_id(bare.path)
    assert identity is not None
    Path("vmlinux").write_text("not even an ELF file")
    assert running_vmlinux(identity) is None
    Path("vmlinux").write_bytes(bare.path.read_bytes())
    assert running_vmlinux("00" * 20) is None
    assert running_vmlinux(identity) == Path("vmlinux")


def test_the_other_half_belongs_to_another_build(bare: Mimic, tmp_path: Path) -> None:
    split(bare, tmp_path)
    objcopy(bare, "--remove-section=.note.gnu.build-id", tmp_path / "vmlinux.debug")
    with pytest.raises(BadInput, match=r"no symbol table|no debug info"):
        make_plan(tmp_path / "vmlinux")


def test_debug_info_that_dwz_has_shared(bare: Mimic, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.write_bytes(b"/usr/lib/debug/.dwz/common.debug\0" + bytes(20))
    shared = tmp_path / "vmlinux"
    objcopy(bare, f"--add-section=.gnu_debugaltlink={link}", bare.path, shared)
    with pytest.raises(BadInput, match="dwz has moved a part of its debug info"):
        make_plan(shared)


def split(mimic: Mimic, folder: Path) -> None:
    """vmlinux without debug info and symbols, and vmlinux.debug with them."""
    objcopy(mimic, "--only-keep-debug", mimic.path, folder / "vmlinux.debug")
    objcopy(mimic, "--strip-all", mimic.path, folder / "vmlinux")
