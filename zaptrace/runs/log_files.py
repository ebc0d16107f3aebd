"""Console logs where they lie: files, standard input, folders; plain, gzip, xz or zstd."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zaptrace.model.errors import BadInput, Missing

BLOCK = 1 << 20
STDIN = "-"
_MOST_FILES = 100_000
_IN_MEMORY = 64 << 20
"""Bytes of standard input that are kept in memory; more go to an unnamed temporary file."""
_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_ELF = b"\x7fELF"
_OTHER_FORMATS = {
    b"KDUMP   ": "a makedumpfile dump",
    b"BZh": "compressed by bzip2",
    b"PK\x03\x04": "a zip archive",
    b"LPKSHHRH": "a binary journal",
}
# What holds a console in a folder: by the last part of the name but compression's.
_SUFFIXES = (".log", ".txt", ".console", ".dmesg", ".out", ".serial")
_COMPRESSED = (".gz", ".xz", ".zst")
_NAMES = ("dmesg", "console", "kern", "messages", "syslog", "serial")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log that can be read as often as need be.

    Attributes:
        name: as it was given; `-` for standard input.
    """

    name: str
    path: Path | None = None
    held: IO[bytes] | None = None

    def blocks(self) -> Iterator[bytes]:
        """Yield the decompressed bytes.

        Raises:
            BadInput: it cannot be read, is no log, or is damaged.
            Missing: zstd is needed and not installed.
        """
        with self._opened() as raw:
            head = raw.read(16)
            raw.seek(0)
            _check(self.name, head)
            try:
                with _decompressed(self.name, head, raw) as plain:
                    while block := plain.read(BLOCK):
                        yield block
            except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
                raise _damaged(self.name, str(error)) from None

    def lines(self, first: int, count: int) -> bytes:
        """Return some whole lines, numbered from 1."""
        wanted: list[bytes] = []
        number, rest = 1, b""
        for block in self.blocks():
            *whole, rest = (rest + block).split(b"\n")
            begin = max(first - number, 0)
            wanted += whole[begin : begin + count - len(wanted)]
            number += len(whole)
            if len(wanted) >= count:
                return b"\n".join(wanted) + b"\n"
            rest = rest[-BLOCK:]  # a line without an end
        return b"\n".join([*wanted, rest])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.held is not None:
            self.held.seek(0)
            yield self.held
            return
        assert self.path is not None
        try:
            file = self.path.open("rb")
        except IsADirectoryError:
            raise BadInput(f"{self.name} is a folder, not a log") from None
        except OSError as error:
            raise BadInput(f"cannot read {self.name}: {error.strerror or error}") from error
        with file:
            yield file


def log_files(names: Sequence[str]) -> list[LogFile]:
    """Return the logs that some arguments name; a folder stands for the logs in it.

    Raises:
        BadInput: one does not exist, or a folder holds no log.
    """
    found: list[LogFile] = []
    for name in names:
        if name == STDIN:
            found.append(LogFile(STDIN, held=_standard_input()))
            continue
        path = Path(name)
        if path.is_dir():
            found += [LogFile(str(one), one) for one in logs_in(path)]
        else:
            found.append(LogFile(name, path))
    return found


def logs_in(folder: Path) -> list[Path]:
    """Return the files of a folder that are logs by their names, in order.

    Raises:
        BadInput: the folder has none.
    """
    entries = sorted(path for path in folder.iterdir() if path.is_file())[:_MOST_FILES]
    found = [path for path in entries if _is_log(path)]
    if not found:
        raise BadInput(
            f"cannot read {folder}: it is no run folder (no run.json), and no log lies in it",
            "name the log itself; zaptrace vm ls lists the run folders",
        )
    return found


def _is_log(path: Path) -> bool:
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    last = Path(name).suffix
    return last in _SUFFIXES or (name.startswith(_NAMES) and (not last or last[1:].isdigit()))


def _standard_input() -> IO[bytes]:
    data = sys.stdin.buffer.read(_IN_MEMORY)
    if len(data) < _IN_MEMORY:
        return io.BytesIO(data)
    number, name = tempfile.mkstemp(prefix="zaptrace-")
    Path(name).unlink()
    held = os.fdopen(number, "w+b")
    held.write(data)
    shutil.copyfileobj(sys.stdin.buffer, held, BLOCK)
    return held


def _check(name: str, head: bytes) -> None:
    if head.startswith(_ELF):
        hint = f"zaptrace inspect {name} --vmlinux VMLINUX"
        raise BadInput(f"{name} is an ELF file, not a console log", hint)
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise BadInput(f"{name} is {what}, not a console log")


def _damaged(name: str, why: str) -> BadInput:
    """Return the error for a compressed log that ends in its middle, or worse."""
    cat = {".xz": "xzcat", ".zst": "zstdcat"}.get(Path(name).suffix, "zcat")
    hint = f"{cat} {name} | zaptrace splat -   (as far as it can be read)"
    return BadInput(f"{name}: the compressed log is damaged ({why})", hint)


@contextlib.contextmanager
def _decompressed(name: str, head: bytes, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    if head.startswith(_GZIP):
        with gzip.GzipFile(fileobj=raw) as plain:
            yield io.BufferedReader(plain)
    elif head.startswith(_XZ):
        with lzma.LZMAFile(raw) as plain:
            yield io.BufferedReader(plain)
    elif head.startswith(_ZSTD):
        with _zstd(name, raw) as piped:
            yield piped
    else:
        yield raw


@contextlib.contextmanager
def _zstd(name: str, raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """Decompress by the zstd program: Python has no zstd of its own before 3.14."""
    program = shutil.which("zstd")
    if program is None:
        raise Missing(f"{name} is compressed by zstd, which is not installed", "apt install zstd")
    with _as_file(raw) as source, _running([program, "-dcq"], source) as run:
        assert run.stdout is not None and run.stderr is not None
        yield run.stdout
        said = run.stderr.read(1000).decode("utf-8", "replace").strip()
        if run.wait() != 0:
            raise _damaged(name, said or "zstd failed")


@contextlib.contextmanager
def _as_file(raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give a child process something to read from its beginning."""
    if isinstance(raw, io.BytesIO):
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(raw, copy, BLOCK)
            copy.flush()
            os.lseek(copy.fileno(), 0, os.SEEK_SET)
            yield copy
    else:
        os.lseek(raw.fileno(), 0, os.SEEK_SET)
        yield raw


@contextlib.contextmanager
def _running(command: list[str], source: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the block runs, no longer."""
    with subprocess.Popen(
        command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        try:
            yield run
        finally:
            run.kill()
