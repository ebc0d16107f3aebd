"""Rows on a real Dask cluster of this machine: a scheduler, and workers that can be killed."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster import Cluster, gone
from tests.matrix import __main__ as matrix
from tests.matrix.rows import PASSED, ROWS, STEPS, Row
from zaptrace.model.errors import CannotTell, Missing
from zaptrace.runs.cluster.process import FOLDER, Outcome, Task

FIRST, SECOND, THIRD = ROWS[:3]
ROW = """\
import json, os, pathlib, signal, sys, time
name, what, *paths = sys.argv[1:]
begun, out, folder = map(pathlib.Path, paths)
with begun.open("a") as file:
    print(os.getppid(), os.getpid(), file=file)
if what == "kill" and len(begun.read_text().splitlines()) == 1:
    os.kill(os.getppid(), signal.SIGKILL)
    what = "sleep"
if what == "sleep":
    time.sleep(60)
print(f"{name} runs", flush=True)
(folder / "console.log").write_text(f"console of {name}")
(folder / "vmcore").write_text("too big")
passed = {"result": "passed", "reason": None, "seconds": 0.0}
out.write_text(json.dumps({step: passed for step in %r}))
""" % [*STEPS]


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from zaptrace.runs.cluster import pool

    monkeypatch.setattr(pool, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 1)


def test_a_lost_workers_row_is_done_on_another(
    dask: Cluster,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = (FIRST, SECOND, THIRD)
    monkeypatch.setattr(matrix, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(matrix, "task_of", that(tmp_path, {FIRST: "kill"}))
    for _ in matrix._elsewhere(dask.address, rows):
        pass
    said, refused = capfd.readouterr()
    workers = {row: [worker for worker, _ in begun(tmp_path, row)] for row in rows}
    assert len(workers[FIRST]) == len({*workers[FIRST]}) == 2
    assert len(workers[SECOND]) == len(workers[THIRD]) == 1
    assert gone(begun(tmp_path, FIRST)[0][1])
    assert said.count("takes tasks") == 2
    assert said.count("is lost") == 1
    assert refused.count("is not used: it was not started with make worker") == 1
    for row in rows:
        assert f"{row.name} runs\n" in said
        assert {cell["result"] for cell in matrix.told(matrix._kept(row)).values()} == {PASSED}
        left = {path.name: path.read_text() for path in (matrix.KEPT / row.name).iterdir()}
        assert left == {"console.log": f"console of {row.name}", "row.log": f"{row.name} runs\n"}


def test_a_row_that_hangs_is_ended(dask: Cluster, tmp_path: Path) -> None:
    sleeping = that(tmp_path, {SECOND: "sleep"}, 2)
    found = dict(outcomes(dask.address, [SECOND], sleeping))
    assert found[SECOND].why == "hung: its 2 s were over"
    assert gone(begun(tmp_path, SECOND)[0][1])


def test_a_row_without_a_client_is_ended(dask: Cluster, tmp_path: Path) -> None:
    sleeping = that(tmp_path, {SECOND: "sleep"})
    given = outcomes(dask.address, [SECOND], sleeping)
    with interrupted_when(lambda: begun(tmp_path, SECOND)), pytest.raises(KeyboardInterrupt):
        next(given)
    assert gone(begun(tmp_path, SECOND)[0][1])


def test_a_worker_with_another_checkout_is_not_used(
    dask: Cluster,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from zaptrace.runs.cluster import pool
    from zaptrace.runs.cluster.worker import checkout

    theirs = checkout()
    monkeypatch.setattr(pool, "checkout", lambda: "0123")
    with pytest.raises(Missing, match=r"no worker with this checkout \(zaptrace-0123\)") as caught:
        next(outcomes(dask.address, ROWS, that(tmp_path, {}), patience=0.5))
    assert f"make worker SCHEDULER={dask.address}" in str(caught.value.hint)
    assert f"(zaptrace-{theirs}, not zaptrace-0123)" in capfd.readouterr().err


def test_a_scheduler_that_goes_away_is_reported(dask: Cluster, tmp_path: Path) -> None:
    given = outcomes(dask.address, [SECOND, THIRD], that(tmp_path, {}))
    next(given)
    dask.processes["scheduler"].kill()
    with pytest.raises(CannotTell, match="went away"):
        next(given)


def test_no_scheduler_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "KEPT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["matrix", "--scheduler", "tcp://127.0.0.1:1"])
    assert matrix.main() == 2
    said = capfd.readouterr().err
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in said
    assert "dask scheduler" in said.splitlines()[-1]


def outcomes(
    scheduler: str, rows: Sequence[Row], task: Callable[[Row], Task], patience: float = 60
) -> Iterator[tuple[Row, Outcome]]:
    from zaptrace.runs.cluster import pool

    with pool.connected(scheduler, matrix.tell, patience=patience) as workers:
        waiting = list(rows)
        while waiting or workers.running:
            for row in [waiting.pop(0) for _ in range(min(workers.free(), len(waiting)))]:
                workers.give(row, task(row))
            yield from workers.ended()
            time.sleep(pool.LOOK_SECONDS)


def that(folder: Path, what: dict[Row, str], seconds: float = 60) -> Callable[[Row], Task]:
    """Rows that say in a file of this folder who does them, and then do what is asked of
    them: "kill" their worker the first time, "sleep", or pass at once."""

    def task(row: Row) -> Task:
        done = f"{FOLDER}/{matrix.DONE}"
        words = ("-c", ROW, row.name, what.get(row, ""), str(folder / row.name), done, FOLDER)
        return Task(words, seconds, ("*.log", matrix.DONE))

    return task


def begun(folder: Path, row: Row) -> list[list[int]]:
    """Each time that a row was begun: the pids of its worker and of itself."""
    try:
        return [[*map(int, line.split())] for line in (folder / row.name).open()]
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def interrupted_when(true: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C, as soon as something is true."""

    def look(*_: object) -> None:
        if true():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
