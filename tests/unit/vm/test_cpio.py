"""The cpio writer against GNU cpio, an independent reader of the format."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vm.cpio import Archive


def an_archive() -> bytes:
    archive = Archive()
    archive.directory("/proc")
    archive.file("/bin/busybox", b"#!" + bytes(range(256)) * 3, 0o755)
    archive.symlink("/bin/sh", "busybox")
    archive.file("/etc/odd name", b"x")
    archive.file("/empty", b"")
    return archive.finish()


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed: make setup")
def test_gnu_cpio_unpacks_what_was_put_in(tmp_path: Path) -> None:
    argv = ["cpio", "--extract", "--make-directories", "--quiet"]
    subprocess.run(argv, input=an_archive(), cwd=tmp_path, check=True)
    assert (tmp_path / "bin/busybox").read_bytes() == b"#!" + bytes(range(256)) * 3
    assert (tmp_path / "bin/busybox").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
    assert (tmp_path / "etc/odd name").read_bytes() == b"x"
    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "proc").is_dir()


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed: make setup")
def test_devices_are_listed_with_their_numbers() -> None:
    archive = Archive()
    archive.character_device("/dev/console", 5, 1)
    listed = subprocess.run(
        ["cpio", "--list", "--verbose", "--quiet"],
        check=True,
        input=archive.finish(),
        capture_output=True,
    )
    line = listed.stdout.decode().splitlines()[-1].split()
    assert line[0] == "crw-------"
    assert line[4:6] == ["5,", "1"]


def test_equal_entries_give_equal_bytes() -> None:
    assert an_archive() == an_archive()


def test_a_path_is_taken_once() -> None:
    archive = Archive()
    archive.file("/init", b"1")
    with pytest.raises(ValueError, match="init"):
        archive.file("init", b"2")
