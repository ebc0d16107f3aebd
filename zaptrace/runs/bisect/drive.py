"""A whole bisect: check, learn the bug, let git bisect run, confirm, clean up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from vm import kernel_tree
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput, CannotTell
from zaptrace.model.paths import write_whole
from zaptrace.model.progress import Listener, step
from zaptrace.runs import self_exec
from zaptrace.runs.bisect import git_run, progress_pipe
from zaptrace.runs.bisect.conclude import document, heals
from zaptrace.runs.bisect.repo import Repo
from zaptrace.runs.bisect.session import Session, held, open_session
from zaptrace.runs.bisect.trial import Guest, Mark, Outcome, try_tree
from zaptrace.runs.hit_rate import boots_needed, passes_unseen
from zaptrace.runs.signature import Signature

DOUBT = 0.10
"""The probability of taking a bad commit for a good one at which the user is warned."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user requested; see `zaptrace bisect start --help`."""

    tree: Path
    good: str
    bad: str
    arch: str
    config: Path | None
    guest: Guest


class Trials(Protocol):
    """Where commits are tried: on this machine, or elsewhere (`zaptrace.runs.bisect.elsewhere`)."""

    def commit(self, work: Repo, session: Session, commit: str, listener: Listener) -> Outcome:
        """Try one commit."""

    def changed(self, work: Repo, session: Session, folder: Path, listener: Listener) -> Outcome:
        """Try what is checked out in the work tree, with its changes."""

    def search(self, work: Repo, session: Session, listener: Listener) -> tuple[str, ...]:
        """Try commits until nothing more can be learnt; the suspects, newest first."""


def bisect(request: Request, listener: Listener, trials: Trials | None = None) -> dict[str, Any]:
    """Find the commit; what `--json` prints.

    Begun before with the same request, it continues where it was; a finished
    one is printed again.

    Raises:
        BadInput: the tree, the range or the files cannot be used; nothing was built.
        CannotTell: the ends do not show what they should, or git was stopped.
        KeyboardInterrupt: it can be gone on with.
    """
    trials = trials or Here()
    with step("check", "Check the tree and the range", listener) as current:
        repo, session, commits = _checked(request)
        current.note = f"{commits} commits"
    with held(session):
        if session.result.exists():
            found: dict[str, Any] = json.loads(session.result.read_bytes())
            if session.worktree.exists():  # it was interrupted while it removed that
                _remove(repo, session, listener)
            return found
        work = _worktree(repo, session, listener)
        _keep_config_changes(session, listener)
        _identify(work, session, trials, listener)
        suspects = trials.search(work, session, listener)
        log = work.run("bisect", "log")
        work.run("bisect", "reset", "HEAD")
        healed = heals(work, session, suspects, trials.changed, listener)
        result = document(repo, session, suspects, log, healed)
        write_whole(session.folder / "bisect.log", f"{log}\n".encode())
        write_whole(session.result, (json.dumps(result, indent=1) + "\n").encode())
        _remove(repo, session, listener)
    return result


def _checked(request: Request) -> tuple[Repo, Session, int]:
    arch = arch_named(request.arch)
    repo = Repo.at(request.tree)
    kernel_tree.check(repo.path, arch)
    good, bad = repo.commit(request.good), repo.commit(request.bad)
    repo.check_clean()
    commits = repo.check_range(good, bad)
    initrd = request.guest.initrd
    if initrd is not None and not initrd.is_file():
        raise BadInput(f"{initrd} is not a file")
    config = kernel_tree.config_of(repo.path, request.config)
    session = open_session(repo.path, good, bad, arch.name, request.guest, config)
    return repo, session, commits


def _worktree(repo: Repo, session: Session, listener: Listener) -> Repo:
    """Return the linked work tree, as it was or new; the user's own checkout is not touched."""
    if (session.worktree / ".git").exists():
        work = Repo(session.worktree)
        if work.ask("rev-parse", "--verify", "HEAD") is not None:
            _unlocked(work)
            work.run("reset", "--hard", "--quiet")
            return work
    with step("worktree", "Check out a work tree of our own", listener):
        kernel_tree.remove_folder(session.worktree)
        session.worktree.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # --force: the same path may still be registered, of a tree that was removed by hand.
        options = ("--quiet", "--detach", "--force")
        repo.run("worktree", "add", *options, str(session.worktree), session.bad)
    return Repo(session.worktree)


def _unlocked(work: Repo) -> None:
    """Remove the lock of a killed checkout; the session is ours, so no process holds it."""
    (Path(work.run("rev-parse", "--absolute-git-dir")) / "index.lock").unlink(missing_ok=True)


def _keep_config_changes(session: Session, listener: Listener) -> None:
    """Leave what is changed in the user's configuration where it can be read."""
    path = session.folder / "config.diff"
    if session.source.config is None or path.exists():
        return
    with step("config", "Merge what is needed into the configuration", listener) as current:
        lines = kernel_tree.config_changes(session.source)
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())
        current.note = f"{len(lines)} lines changed, see {path}"


def _identify(work: Repo, session: Session, trials: Trials, listener: Listener) -> None:
    """Find out which bug the bad revision has, and that the good one does not have it.

    Raises:
        CannotTell: they do not show that.
    """
    bad = _tried(work, session, trials, "bad", listener)
    session.bug = bug_of(bad)
    session.save()
    _doubt(bad, session.guest.boots, listener)
    good = _tried(work, session, trials, "good", listener)
    if good.mark is Mark.BAD:
        raise CannotTell(f"the good revision has the bug too: {good.why}", "an older --good")
    if good.mark is Mark.SKIP:
        raise CannotTell(f"the good revision cannot be judged: {good.why}")


def bug_of(bad: Outcome) -> Signature:
    """Return the bug that the bad revision shows.

    Raises:
        CannotTell: it shows none, or none that distinguishes commits.
    """
    if bad.mark is Mark.GOOD:
        raise CannotTell(f"the bad revision shows no bug: {bad.why}", "a larger --repeat")
    if bad.mark is Mark.SKIP or bad.signature is None:
        raise CannotTell(f"the bad revision cannot be judged: {bad.why}")
    if not bad.signature.explained:
        raise CannotTell(
            f"the bad revision shows a bug that no rule explains: {bad.why}; every commit with "
            "any such bug would be called bad",
            f"zaptrace explain {bad.run}" if bad.run else None,
        )
    return bad.signature


def _doubt(bad: Outcome, boots: int, listener: Listener) -> None:
    """Say so when the bug is too rare for the requested number of clean boots."""
    unseen = passes_unseen(bad.hits, bad.boots, boots)
    if unseen > DOUBT:
        with step("doubt", "The bug is rare", listener) as current:
            needed = boots_needed(bad.hits, bad.boots, DOUBT)
            current.note = (
                f"a bad commit may pass {boots} clean boots with {unseen:.0%}: "
                f"--repeat {needed} makes that {DOUBT:.0%}"
            )


def _tried(work: Repo, session: Session, trials: Trials, name: str, listener: Listener) -> Outcome:
    """Return one end's outcome: known, or tried now (again, when it could not be judged)."""
    commit = session.bad if name == "bad" else session.good
    known = session.outcomes.get(commit)
    if known is None or known.mark is Mark.SKIP:
        with step(name, f"The {name} revision {work.subject(commit)}", listener) as current:
            outcome = trials.commit(work, session, commit, listener)
            session.remember(commit, outcome)
            current.note = outcome.why
    return session.outcomes[commit]


class Here:
    """Tries commits on this machine."""

    def commit(self, work: Repo, session: Session, commit: str, listener: Listener) -> Outcome:
        """Try one commit."""
        work.run("checkout", "--quiet", "--detach", "--force", commit)
        return self.changed(work, session, session.runs(commit), listener)

    def changed(self, _work: Repo, session: Session, folder: Path, listener: Listener) -> Outcome:
        """Try what is checked out."""
        return try_tree(session.source, session.guest, session.wanted, folder, listener)

    def search(self, work: Repo, session: Session, listener: Listener) -> tuple[str, ...]:
        """Return `git bisect run`, with what is known already answered at once."""
        argv = (*self_exec.ARGV, "bisect", "step", "--session", str(session.folder))
        with step("bisect", "git bisect run", listener) as current:
            git_run.start(work, session.good, session.bad)
            with (session.folder / "git.log").open("a") as log:
                relay = _Relay(listener, log)
                suspects = git_run.run(work, argv, relay, self_exec.environment())
            session.outcomes = Session.load(session.folder).outcomes
            current.note = f"{len(session.outcomes)} commits tried"
        return suspects


class _Relay:
    """Hands the steps' progress on, and keeps what git says."""

    def __init__(self, listener: Listener, log: TextIO) -> None:
        self._listener = listener
        self._log = log

    def __call__(self, line: str) -> None:
        update = progress_pipe.parse(line)
        if update is None:
            self._log.write(f"{line}\n")
        else:
            self._listener(update)


def one_step(folder: Path, listener: Listener) -> Outcome:
    """Return what is checked out in a session's work tree, tried unless it is known."""
    session = Session.load(folder)
    work = Repo(session.worktree)
    commit = work.run("rev-parse", "HEAD")
    known = session.outcomes.get(commit)
    if known is not None:
        return known
    with step("commit", work.subject(commit), listener) as current:
        outcome = try_tree(
            session.source, session.guest, session.wanted, session.runs(commit), listener
        )
        session.remember(commit, outcome)
        current.note = f"{outcome.mark.name.lower()}: {outcome.why}"
    return outcome


def _remove(repo: Repo, session: Session, listener: Listener) -> None:
    """Leave nothing in the user's repository, and no objects that cannot be used again."""
    with step("clean", "Remove the work tree", listener):
        repo.ask("worktree", "remove", "--force", str(session.worktree))
        kernel_tree.remove_folder(session.worktree)
        kernel_tree.forget(session.worktree, arch_named(session.arch))
