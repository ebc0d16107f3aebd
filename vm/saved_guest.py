"""Saved guests: a live guest that waits for its first command, kept in the cache.

One lies there by all that went into it: the kernel, the disks' layout, QEMU's version and every
argument.  Its state (`KEY.state`, a migration stream) and what there is to know of it
(`KEY.json`) are private, written beside their places and renamed; the second one says how long
the first is and what its checksum is, and comes last.  What does not fit is not used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vm import host
from vm.qemu import GuestConfig, command_line
from zaptrace.model.errors import BadInput
from zaptrace.model.paths import cache_home, write_whole

FORM = 1
"""Version of what is kept; another one is not read."""
KEPT = 8
"""Saved guests, of 100 to 250 MiB each."""
_CONSOLE_BYTES = 256 << 10
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved guest, open.

    Attributes:
        state: the stream, at its beginning; as long as it must be, not yet checked (`is_whole`).
        sha256: what its checksum must be.
        boot_id: of the boot that was saved (`zaptrace.model.boot_ids`).
        console: what that boot had printed so far.
    """

    state: BinaryIO
    sha256: str
    boot_id: str
    console: bytes

    def is_whole(self) -> bool:
        """Return whether the state is, to the last byte, what was saved.

        It is read whole (a fifth of a second), beside another reader of the same descriptor.
        """
        digest, offset = hashlib.sha256(), 0
        try:
            while piece := os.pread(self.state.fileno(), _PIECE, offset):
                digest.update(piece)
                offset += len(piece)
        except (OSError, ValueError):  # it was closed in between
            return False
        return digest.hexdigest() == self.sha256


def folder() -> Path:
    """Return where they are (0700)."""
    path = cache_home() / "snapshots"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def key_of(config: GuestConfig, later: str) -> str:
    """Return the key of a guest like this one.

    Args:
        config: as it is booted, without a boot id.
        later: the disk that it does not look at before it is restored: of that one its size
            alone is known to it.

    Raises:
        BadInput: one of its files is not there.
    """
    # The paths do not matter, what is there does.
    anywhere = dataclasses.replace(
        config,
        kernel=Path("/kernel"),
        initrd=Path("/initrd") if config.initrd else None,
        console=Path("/console"),
        disks={serial: Path("/", serial) for serial in config.disks},
    )
    parts = [str(FORM), host.output(config.arch.qemu, "--version")]
    parts += command_line(anywhere, Path("/sockets"))
    try:
        parts += [_digest(path) for path in (config.kernel, config.initrd) if path]
        for serial, disk in config.disks.items():
            status = disk.stat()
            same = () if serial == later else (status.st_ino, status.st_mtime_ns)
            parts.append(f"{serial} {status.st_size} {same}")
    except OSError as error:
        raise BadInput(f"{error.filename}: {error.strerror}") from None
    whole = "\0".join(f"{len(part)} {part}" for part in parts)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def kept(key: str) -> Iterator[Snapshot | None]:
    """Yield the saved guest of this key, or None when there is none, or but a part of it."""
    with contextlib.ExitStack() as stack:
        yield _opened(key, stack)


def _opened(key: str, stack: contextlib.ExitStack) -> Snapshot | None:
    try:
        facts = json.loads(_place(key, "json").read_bytes())
        state = stack.enter_context(_place(key, "state").open("rb"))
        if facts["form"] != FORM or facts["key"] != key:
            return None
        if os.fstat(state.fileno()).st_size != facts["bytes"]:
            return None
        sha256, boot_id = str(facts["sha256"]), str(facts["boot_id"])
        console = facts["console"].encode("latin-1")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    for kind in ("state", "json"):
        with contextlib.suppress(OSError):
            os.utime(_place(key, kind))  # the one that was used longest ago goes first
    return Snapshot(state, sha256, boot_id, console)


@contextlib.contextmanager
def writing(key: str) -> Iterator[Path]:
    """Yield a private file for a guest's state, removed with the block unless it was kept.

    A lock on the key must be held: what a killed zaptrace has left of it is removed.
    """
    for stale in folder().glob(f".{key}-*"):
        stale.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{key}-", dir=folder())
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def keep(key: str, state: Path, sha256: str, facts: dict[str, Any], console: bytes) -> None:
    """Keep a state that has been written whole.

    Args:
        state: of `writing`.
        facts: `boot_id`, `arch` and what else is known of it.
        console: what the guest has printed.
    """
    size = state.stat().st_size
    remove(key)
    state.rename(_place(key, "state"))
    document = {
        **facts,
        "form": FORM,
        "key": key,
        "bytes": size,
        "sha256": sha256,
        "console": console[-_CONSOLE_BYTES:].decode("latin-1"),
    }
    write_whole(_place(key, "json"), json.dumps(document).encode())
    _thin_out()


def refuse(key: str, why: str) -> None:
    """Note that QEMU does not load what it has saved of this guest: it is booted from now on."""
    write_whole(_place(key, "refused"), why.encode())


def is_refused(key: str) -> bool:
    """Return whether that was noted."""
    return _place(key, "refused").exists()


def remove(key: str) -> None:
    """Remove one; who has it open keeps it."""
    for kind in ("json", "state"):
        _place(key, kind).unlink(missing_ok=True)


def listed() -> list[dict[str, Any]]:
    """Return those that are kept, by path: `path`, `bytes` and `arch`."""
    found = []
    for path in sorted(folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            facts, state = json.loads(path.read_bytes()), path.with_suffix(".state")
            size = state.stat().st_blocks * 512
            found.append({"path": str(state), "bytes": size, "arch": str(facts.get("arch"))})
    return found


def _place(key: str, kind: str) -> Path:
    return folder() / f"{key}.{kind}"


def _thin_out() -> None:
    """Remove those that were used longest ago."""
    states = sorted(folder().glob("*.state"), key=lambda one: one.stat().st_mtime, reverse=True)
    for path in states[KEPT:]:
        remove(path.stem)
