"""Files that are whole or not there, in folders that are private."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from zaptrace.model import paths

PATIENCE = 60.0


def test_the_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.cache_home() == tmp_path / "cache" / "zaptrace"
    assert paths.cache_home().stat().st_mode & 0o777 == 0o700


def test_a_relative_xdg_folder_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert paths.state_home() == tmp_path / ".local/state/zaptrace"


def test_a_file_is_private_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    paths.write_whole(path, b"old")
    paths.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    """SIGKILL at any moment: what is read is always one whole version."""
    path = tmp_path / "file"
    script = (
        "import sys; from pathlib import Path; from zaptrace.model.paths import write_whole\n"
        "for n in range(10**6): write_whole(Path(sys.argv[1]), bytes([n % 256]) * 200_000)"
    )
    for wait in (0.2, 0.23, 0.27):
        child = subprocess.Popen([sys.executable, "-c", script, str(path)])
        deadline = time.monotonic() + PATIENCE
        while not path.exists():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        data = path.read_bytes()
        assert len(data) == 200_000
        assert len(set(data)) == 1


def test_what_cannot_be_written_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    paths.write_whole(path, b"old")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from zaptrace.model.paths import write_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_whole(Path(sys.argv[1]), bytes(2000))"
    )
    child = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=False)
    assert child.stderr.decode().endswith(f"File too large: '{path}'\n")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


def test_the_lock_keeps_a_second_process_out(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = (
        "import sys; from pathlib import Path; from zaptrace.model.paths import locked\n"
        "print('trying', flush=True)\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True)"
    )
    with paths.locked(lock):
        child = subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"trying\n"
        assert select.select([child.stdout], [], [], 0.5)[0] == []
    assert child.communicate(timeout=PATIENCE)[0] == b"in\n"


def test_no_lock_outlives_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    script = (
        "import os, sys; from pathlib import Path; from zaptrace.model.paths import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(lock)], check=False)
    with paths.locked(lock):
        assert lock.exists()


HOLDER = """\
import sys, time
from zaptrace.model.paths import scratch_folder
with scratch_folder() as folder:
    (folder / "socket").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a scratch folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_scratch_folder_is_private_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with paths.scratch_folder() as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_a_killed_owner_left_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living, held = holder()
    dead, abandoned = holder()
    dead.kill()
    dead.wait()
    foreign = tmp_path / "another-program"
    foreign.mkdir()
    link = tmp_path / "zaptrace.link"
    link.symlink_to(foreign)
    with paths.scratch_folder():
        assert abandoned.exists(), "young: its owner may not have locked it yet"
    monkeypatch.setattr(paths, "_SETTLED_SECONDS", 0.0)
    with paths.scratch_folder():
        assert not abandoned.exists()
        assert (held / "socket").exists()
        assert foreign.exists()
        assert link.is_symlink()
    living.communicate()
    assert not held.exists()
