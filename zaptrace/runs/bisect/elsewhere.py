"""A bisect's trials on the workers of a cluster: as many commits at once as there are workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from zaptrace.model.errors import CannotTell
from zaptrace.model.paths import write_whole
from zaptrace.model.progress import Listener, Step, step
from zaptrace.runs.bisect import pack
from zaptrace.runs.bisect.midpoints import History
from zaptrace.runs.bisect.repo import Repo
from zaptrace.runs.bisect.session import Session
from zaptrace.runs.bisect.trial import Mark, Outcome
from zaptrace.runs.cluster import pool
from zaptrace.runs.cluster.process import FOLDER, LOG, Task
from zaptrace.runs.cluster.process import Outcome as Ended
from zaptrace.runs.repeat import complaint

WORDS: tuple[str, ...] = ("-P", "-m", "zaptrace.runs.bisect.remote_trial", FOLDER)
KEPT = ("outcome.json", "runs/*.json", "runs/*.log", "runs/*.zap", "runs/*/report.txt")
TRIAL_SECONDS = 4 * 3600.0
MOST_BYTES = 256 << 20
_GIT = {Mark.GOOD: "good", Mark.BAD: "bad", Mark.SKIP: "skip"}


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One trial: a commit, with a change on top of it or without."""

    commit: str
    change: bytes = b""


class Elsewhere:
    """Tries commits of a session on a cluster.

    Args:
        scheduler: the cluster's address.
        tell: is called with each worker that comes or goes.
    """

    def __init__(self, scheduler: str, tell: Callable[[str], object]) -> None:
        self._scheduler = scheduler
        self._tell = tell
        self._ends: tuple[str, ...] = ()

    def commit(self, _work: Repo, session: Session, commit: str, listener: Listener) -> Outcome:
        """Try one commit."""
        return self._one(session, Asked(commit), session.runs(commit), listener)

    def changed(self, work: Repo, session: Session, folder: Path, listener: Listener) -> Outcome:
        """Try what is checked out, with its changes."""
        head = work.run("rev-parse", "HEAD")
        change = work.read("diff", "--binary", "--full-index", "HEAD")
        return self._one(session, Asked(head, change), folder, listener)

    def search(self, work: Repo, session: Session, listener: Listener) -> tuple[str, ...]:
        """Narrow the range down, k commits at once on k workers."""
        lines = work.run(
            *("rev-list", "--topo-order", "--reverse", "--parents"),
            *(session.bad, "--not", session.good),
        )
        history = History.of(lines.splitlines())
        order = [session.bad, session.good]
        title = f"Bisect {len(history.parents)} commits on {self._scheduler}"
        with step("bisect", title, listener) as current, self._pool(session) as workers:
            rounds = 0
            while chosen := history.next(_marks(session), _some(workers)):
                rounds += 1
                trials = {commit: Asked(commit) for commit in chosen}
                left = len(_left(history, session))
                current.advance(note=f"round {rounds}: {len(chosen)} of {left} commits")
                for commit, outcome in self._try(workers, session, trials, current):
                    session.remember(commit, outcome)
                order += chosen
            current.note = f"{rounds} rounds, {len(session.outcomes)} commits tried"
        _tell_git(work, session, [*order, *session.outcomes])
        return _left(history, session)

    def _one(self, session: Session, asked: Asked, folder: Path, listener: Listener) -> Outcome:
        with (
            step("trial", f"Try it on {self._scheduler}", listener) as current,
            self._pool(session) as workers,
        ):
            _some(workers)
            tried = self._try(workers, session, {folder.name: asked}, current)
            return next(outcome for _, outcome in tried)

    def _pool(self, session: Session) -> contextlib.AbstractContextManager[pool.Pool[str]]:
        path = session.folder / "pack"
        if not path.exists() or not self._ends:
            self._ends = pack.make(Repo(session.tree), session.good, session.bad, path)
        files = {pool.digest_of(path): path}
        if (initrd := session.guest.initrd) is not None:
            files[pool.digest_of(initrd)] = initrd
        return pool.connected(self._scheduler, pool.only_workers(self._tell), files)

    def _try(
        self, workers: pool.Pool[str], session: Session, trials: dict[str, Asked], current: Step
    ) -> Iterator[tuple[str, Outcome]]:
        """Try them, one on each worker; each is given back when it has ended."""
        waiting = list(trials.items())
        while waiting or workers.running:
            for _ in range(min(len(waiting), workers.free())):
                name, asked = waiting.pop(0)
                workers.give(name, self._task(session, asked))
            for name, ended in workers.ended():
                current.advance(note=f"{name[:12]} {ended.why}")
                yield name, _outcome(name, ended, session)
            time.sleep(pool.LOOK_SECONDS)

    def _task(self, session: Session, asked: Asked) -> Task:
        guest = dataclasses.asdict(session.guest)
        del guest["initrd"]
        wanted = session.wanted
        trial = {
            "commit": asked.commit,
            "arch": session.arch,
            "guest": guest,
            "ends": self._ends,
            "bug": dataclasses.asdict(wanted.bug) if wanted else None,
            "sight": dataclasses.asdict(wanted.sight) if wanted else None,
        }
        given = {"trial.json": json.dumps(trial).encode()}
        config = session.folder / "config"
        given |= {"config": config.read_bytes()} if config.exists() else {}
        given |= {"change.patch": asked.change} if asked.change else {}
        lent = {"pack": pool.digest_of(session.folder / "pack")}
        if session.guest.initrd is not None:
            lent["initrd"] = pool.digest_of(session.guest.initrd)
        return Task(WORDS, TRIAL_SECONDS, KEPT, given, lent, MOST_BYTES)


def _outcome(name: str, ended: Ended, session: Session) -> Outcome:
    """Return what a trial came to; its run folders are left where a trial here leaves them.

    Raises:
        CannotTell: it could not be made.
    """
    if ended.status is None:
        raise CannotTell(f"the trial of {name[:12]} {ended.why}")
    if ended.status or "outcome.json" not in ended.left:
        raise CannotTell(f"the trial of {name[:12]}: {complaint(ended.left.get(LOG, b''))}")
    outcome = Outcome.from_json(json.loads(ended.left["outcome.json"]))
    folder = session.runs(name)
    for path, data in ended.left.items():
        if path.startswith("runs/"):
            write_whole(folder / path.removeprefix("runs/"), data)
    run = str(folder / Path(outcome.run).name) if outcome.run else None
    return dataclasses.replace(outcome, run=run)


def _marks(session: Session) -> dict[str, Mark]:
    return {commit: outcome.mark for commit, outcome in session.outcomes.items()}


def _left(history: History, session: Session) -> tuple[str, ...]:
    return history.suspects(_marks(session))


def _some(workers: pool.Pool[str]) -> int:
    """Return how many workers there are; waits for one."""
    while not (count := workers.workers()):
        time.sleep(pool.LOOK_SECONDS)
    return count


def _tell_git(work: Repo, session: Session, commits: Sequence[str]) -> None:
    """Have git's own log say what was tried, in that order."""
    work.ask("bisect", "reset", "HEAD")
    work.run("bisect", "start", "--no-checkout", session.bad, session.good)
    for commit in dict.fromkeys(commits):
        if commit not in (session.bad, session.good):
            work.ask("bisect", _GIT[session.outcomes[commit].mark], commit)
