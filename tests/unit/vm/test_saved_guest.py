"""Saved guests on disk: private, whole, and of the very guest that is wanted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from vm import saved_guest, waiting
from vm.qemu import GuestConfig
from vm.saved_guest import keep, kept, key_of, listed, remove, writing
from zaptrace.arch import ARCHES
from zaptrace.model.errors import BadInput, GuestLost

KEY = "0123456789abcdef"
STATE = b"a guest's whole state" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder of its saved guests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "zaptrace" / "snapshots"


def save(key: str = KEY, state: bytes = STATE) -> None:
    with writing(key) as path:
        path.write_bytes(state)
        digest = hashlib.sha256(state).hexdigest()
        keep(key, path, digest, {"boot_id": "11-22", "arch": "s390x"}, b"booting\xff\n")


def is_kept(key: str = KEY) -> bool:
    with kept(key) as found:
        return found is not None and found.is_whole()


def test_what_was_saved_is_there_again(cache: Path) -> None:
    assert not is_kept()
    save()
    with kept(KEY) as found:
        assert found is not None
        assert found.is_whole()
        assert (found.state.read(), found.boot_id) == (STATE, "11-22")
        assert found.console == b"booting\xff\n"
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o600}
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [(one["arch"], Path(one["path"]).name) for one in listed()] == [
        ("s390x", f"{KEY}.state")
    ]


@pytest.mark.parametrize(
    "how", ["torn", "longer", "changed", "foreign", "gone", "form", "nonsense"]
)
def test_one_that_is_not_whole_or_not_the_wanted_one_is_not_used(cache: Path, how: str) -> None:
    save()
    state, facts = cache / f"{KEY}.state", cache / f"{KEY}.json"
    told = json.loads(facts.read_text())
    if how == "torn":
        os.truncate(state, len(STATE) - 1)
    elif how == "longer":
        state.write_bytes(STATE + b"\0")
    elif how == "changed":
        state.write_bytes(STATE[:-1] + b"?")
    elif how == "foreign":
        facts.write_text(json.dumps(told | {"key": "another"}))
    elif how == "gone":
        state.unlink()
    elif how == "form":
        facts.write_text(json.dumps(told | {"form": saved_guest.FORM + 1}))
    else:
        facts.write_text("[]")
    assert not is_kept()
    save()
    assert is_kept()


def test_a_save_that_is_cut_short_leaves_nothing_that_is_used(cache: Path) -> None:
    with pytest.raises(OSError, match="full"), writing(KEY) as path:
        path.write_bytes(STATE)
        raise OSError("the disk is full")
    assert list(cache.iterdir()) == []
    killed = cache / f".{KEY}-killed"
    killed.write_bytes(STATE)
    assert not is_kept() and listed() == []
    save()
    assert not killed.exists()


def test_only_so_many_are_kept_and_the_one_in_use_stays_open(cache: Path) -> None:
    save()
    os.utime(cache / f"{KEY}.state", (1, 1))
    with kept(KEY) as found:
        os.utime(cache / f"{KEY}.state", (1, 1))
        for number in range(saved_guest.KEPT):
            save(f"other{number}")
        assert not is_kept()
        assert found is not None and found.state.read() == STATE
    assert len(listed()) == saved_guest.KEPT
    remove("other0")
    assert len(listed()) == saved_guest.KEPT - 1


def config(tmp_path: Path, arch: str = "s390x") -> GuestConfig:
    files = {name: tmp_path / name for name in ("kernel", "initrd", "root", "checkout")}
    for name, path in files.items():
        path.write_bytes(name.encode())
    disks = {"root": files["root"], "checkout": files["checkout"]}
    console = tmp_path / "console.log"
    row = ARCHES[arch]
    return GuestConfig(
        row, files["kernel"], files["initrd"], "quiet", console, disks=disks, ports=("a",)
    )


def test_a_key_depends_on_the_guest_and_not_on_where_its_files_are(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    one = config(tmp_path)
    key = key_of(one, "checkout")
    moved = dict(one.disks)
    moved["checkout"] = tmp_path / "there" / "checkout"
    moved["checkout"].write_bytes(b"CHECKOUT")
    console = tmp_path / "there" / "console.log"
    assert key_of(dataclasses.replace(one, disks=moved, console=console), "checkout") == key


def test_whatever_makes_another_guest_makes_another_key(tmp_path: Path) -> None:
    one = config(tmp_path)
    keys = [key_of(one, "checkout")]
    changes = [
        {"append": "quiet zapfault=batch"},
        {"memory": "2G"},
        {"smp": 4},
        {"cpu": "max"},
        {"accel": "kvm"},
        {"ports": ("a", "b")},
        {"arch": dataclasses.replace(one.arch, machine=("-M", "s390-ccw-virtio-7.1"))},
    ]
    for change in changes:
        keys.append(key_of(dataclasses.replace(one, **change), "checkout"))  # type: ignore[arg-type]
    for name in ("kernel", "initrd", "root", "checkout"):
        (tmp_path / name).write_bytes(b"another one")
        keys.append(key_of(one, "checkout"))
    assert len(set(keys)) == len(keys)


def test_a_rebuilt_root_is_another_disk_though_it_is_as_long(tmp_path: Path) -> None:
    """Its pages are in the guest's memory."""
    one = config(tmp_path)
    key = key_of(one, "checkout")
    (tmp_path / "new").write_bytes((tmp_path / "root").read_bytes())
    (tmp_path / "new").rename(tmp_path / "root")
    assert key_of(one, "checkout") != key


def test_another_emulator_makes_another_key(tmp_path: Path) -> None:
    one = config(tmp_path)
    emulator = tmp_path / "qemu"
    keys = set()
    for version in ("7.2.22", "10.0.2"):
        emulator.write_text(f"#!/bin/sh\necho QEMU emulator version {version}\n")
        emulator.chmod(0o700)
        row = dataclasses.replace(one.arch, qemu=str(emulator))
        keys.add(key_of(dataclasses.replace(one, arch=row), "checkout"))
    assert len(keys) == 2


@pytest.mark.parametrize("changed", [False, True])
def test_a_guest_whose_state_was_changed_is_loaded_and_does_not_run(
    changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum is taken while QEMU loads."""
    one = config(tmp_path)
    save()
    ran: list[object] = []
    ended: list[object] = []

    @contextlib.asynccontextmanager
    async def running(*_: object) -> AsyncIterator[str]:
        try:
            yield "a guest"
        finally:
            ended.append("a guest")

    monkeypatch.setattr(waiting, "running", running)
    monkeypatch.setattr(waiting, "_going_on", lambda guest, _stack: ran.append(guest))

    async def go(found: saved_guest.Snapshot) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await waiting._restored(one, tmp_path / "log", found, stack)

    with kept(KEY) as found:
        assert found is not None
        if changed:
            Path(saved_guest.folder(), f"{KEY}.state").write_bytes(STATE[::-1])
        with pytest.raises(GuestLost, match="as it was saved") if changed else nullcontext():
            asyncio.run(go(found))
    assert ran == ([] if changed else ["a guest"])
    assert ended == ["a guest"]


class Kept:
    """What happens to the guest that is kept: QEMU's answers, one a try."""

    def __init__(self, *answers: BaseException | None) -> None:
        self.answers = list(answers)
        self.saved = self.booted = 0

    async def restored(self, *_: object) -> str:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        return "restored"

    async def save(self, _config: GuestConfig, _log: Path, key: str) -> None:
        self.saved += 1
        save(key)

    async def boot(self, *_: object) -> str:
        self.booted += 1
        return "booted"


BAD, LOST = BadInput("QEMU refuses such a guest"), GuestLost("QEMU was killed")


@pytest.mark.parametrize(
    ("is_there", "answers", "how", "saved", "refused"),
    [
        (True, [None], "restored", 0, False),
        (False, [None], "restored", 1, False),
        (True, [BAD, None], "restored", 1, False),
        (True, [LOST, None], "restored", 1, False),
        (False, [BAD], "booted", 1, True),
        (False, [LOST], "booted", 1, False),
    ],
)
def test_one_that_cannot_be_loaded_is_made_anew_once_then_booted(
    is_there: bool,
    answers: list[BaseException | None],
    how: str,
    saved: int,
    refused: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = config(tmp_path)
    key = key_of(one, "checkout")
    if is_there:
        save(key)
    kept_one = Kept(*answers)
    monkeypatch.setattr(waiting, "_restored", kept_one.restored)
    monkeypatch.setattr(waiting, "_save", kept_one.save)
    monkeypatch.setattr(waiting, "_booted", kept_one.boot)

    async def go() -> object:
        async with contextlib.AsyncExitStack() as stack:
            return await waiting.waiting(one, tmp_path / "log", "checkout", stack)

    assert asyncio.run(go()) == how
    assert kept_one.saved == saved
    assert saved_guest.is_refused(key) is refused
    if refused:  # it is not tried again
        assert asyncio.run(go()) == "booted"
        assert kept_one.saved == saved
