"""The end of a bisect: how sure it is, whether a revert heals, and the document that reports it."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zaptrace.model.errors import CannotTell
from zaptrace.model.progress import Listener, step
from zaptrace.runs.bisect.repo import Repo
from zaptrace.runs.bisect.session import Session
from zaptrace.runs.bisect.trial import Mark, Outcome
from zaptrace.runs.hit_rate import passes_unseen, wilson

Changed = Callable[[Repo, Session, Path, Listener], Outcome]
"""What tries the changed work tree of a session; the runs that matter go to the folder."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """How likely it is that no bad commit was judged good.

    Attributes:
        hits, boots: of the bad commits' boots: what is known of how often the bug strikes.
        unseen: the probability that a bad commit passes as good.
        goods: commits that were called good.
    """

    hits: int
    boots: int
    unseen: float
    goods: int

    @property
    def value(self) -> float:
        """The probability, 0 to 1."""
        return float((1.0 - self.unseen) ** self.goods)

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "value": self.value,
            "hits": self.hits,
            "boots": self.boots,
            "interval": list(wilson(self.hits, self.boots)),
            "passes_unseen": self.unseen,
            "good_commits": self.goods,
        }


def confidence(outcomes: dict[str, Outcome], clean_boots: int, good: str) -> Confidence:
    """From what the commits' trials came to.

    Args:
        clean_boots: how many make a commit good.
        good: the good end, which is taken at the user's word.
    """
    bad = [one for one in outcomes.values() if one.mark is Mark.BAD]
    hits, boots = sum(one.hits for one in bad), sum(one.boots for one in bad)
    goods = sum(one.mark is Mark.GOOD for commit, one in outcomes.items() if commit != good)
    return Confidence(hits, boots, passes_unseen(hits, boots, clean_boots), goods)


@dataclass(frozen=True, slots=True)
class Heals:
    """How the bad revision behaves without the commit.

    Attributes:
        verdict: "heals", "does not heal", "does not revert" or "not tried".
    """

    verdict: str
    why: str


def heals(
    work: Repo, session: Session, suspects: tuple[str, ...], tried: Changed, listener: Listener
) -> Heals:
    """Revert the commit on the bad revision, build and boot that.

    Args:
        tried: tries what is checked out in the work tree.
    """
    if len(suspects) != 1:
        return Heals("not tried", "more than one commit may be the first bad one")
    (guilty,) = suspects
    if work.is_merge(guilty):
        return Heals("not tried", "it is a merge")
    with step("revert", "Revert it on the bad revision", listener) as current:
        work.run("checkout", "--quiet", "--detach", "--force", session.bad)
        done = _reverted(work, guilty)
        if done is None:
            done = _without(work, session, tried, listener)
        current.note = f"{done.verdict}: {done.why}"
        work.run("reset", "--hard", "--quiet")
    return done


def _reverted(work: Repo, commit: str) -> Heals | None:
    """Revert it in the work tree; None when that worked."""
    try:
        work.run("revert", "--no-commit", commit)
    except CannotTell:
        work.ask("revert", "--abort")
        return Heals("does not revert", "later commits changed the same lines")
    return None


def _without(work: Repo, session: Session, tried: Changed, listener: Listener) -> Heals:
    outcome = tried(work, session, session.folder / "runs" / "reverted", listener)
    words = {Mark.GOOD: "heals", Mark.BAD: "does not heal", Mark.SKIP: "does not build or boot"}
    return Heals(words[outcome.mark], outcome.why)


def document(
    repo: Repo, session: Session, suspects: tuple[str, ...], log: str, healed: Heals
) -> dict[str, Any]:
    """Return what `bisect start --json` prints."""
    sure = confidence(session.outcomes, session.guest.boots, session.good)
    return {
        "tree": str(session.tree),
        "good": session.good,
        "bad": session.bad,
        "arch": session.arch,
        "bug": {"kind": session.bug.kind, "function": session.bug.function}
        if session.bug
        else None,
        "guilty": _cited(repo, suspects[0]) if len(suspects) == 1 else None,
        "suspects": [_cited(repo, commit) for commit in suspects],
        "confidence": sure.to_json(),
        "revert": {"verdict": healed.verdict, "why": healed.why},
        "steps": [
            {"commit": commit, "cited": repo.subject(commit), **outcome.to_json()}
            for commit, outcome in session.outcomes.items()
        ],
        "clean_boots": session.guest.boots,
        "log": log.splitlines(),
        "session": str(session.folder),
    }


def _cited(repo: Repo, commit: str) -> dict[str, str]:
    return {"commit": commit, "cited": repo.subject(commit), "author": repo.author(commit)}


def summary(found: dict[str, Any]) -> str:
    """Return the document for a person."""
    return "\n".join(
        (*_culprit(found), "", *_sureness(found), "", "$ git bisect log", *found["log"])
    )


def _culprit(found: dict[str, Any]) -> list[str]:
    bug = found["bug"]
    name = f"{bug['kind']} in {bug['function']}()" if bug["function"] else bug["kind"]
    if found["guilty"]:
        one = found["guilty"]
        return [
            f"First bad commit: {one['cited']}",
            f"  Author: {one['author']}",
            f"  Bug:    {name}",
        ]
    lines = ["The first bad commit is one of these; those between could not be judged:"]
    lines += [f"  {one['cited']}  ({one['author']})" for one in found["suspects"]]
    return [*lines, f"  Bug: {name}"]


def _sureness(found: dict[str, Any]) -> list[str]:
    sure, revert, boots = found["confidence"], found["revert"], found["clean_boots"]
    low, high = sure["interval"]
    skipped = [one for one in found["steps"] if one["mark"] == "skip"]
    sentence = (
        f"{sure['value']:.1%}: the bug struck in {sure['hits']} of {sure['boots']} boots of bad "
        f"commits (95% interval {low:.0%} to {high:.0%}), so one passes {boots} clean boots with "
        f"{sure['passes_unseen']:.1%}; {sure['good_commits']} commits were called good so"
    )
    return [
        f"Revert:     {revert['verdict']} ({revert['why']})",
        *_wrapped(f"Confidence: {sentence}"),
        *(
            line
            for one in skipped
            for line in _wrapped(f"Skipped:    {one['cited']}: {one['why']}")
        ),
        f"Kept in:    {shlex.quote(found['session'])}",
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 80, subsequent_indent=" " * 12, break_long_words=False)
