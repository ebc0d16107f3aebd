"""The user's git repository: what is asked of it, before and while it is bisected."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vm import host
from zaptrace.model.errors import BadInput, CannotTell

REFUSAL = re.compile(r"^(?:fatal|error): ")
LONG = 3600.0  # s; a checkout of a whole kernel on a slow disk


class Repo:
    """A git work tree."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def at(cls, folder: Path) -> Repo:
        """Return the work tree that a folder lies in.

        Raises:
            BadInput: it lies in none.
            Missing: there is no git.
        """
        if not folder.is_dir():
            raise BadInput(f"{folder} is not a folder")
        done = host.run(*cls(folder)._argv("rev-parse", "--show-toplevel"))
        if b"dubious ownership" in done.stderr:
            raise BadInput(
                f"git does not work in {folder}: another user owns it",
                f"git config --global --add safe.directory {folder.resolve()}",
            )
        if done.returncode:
            raise BadInput(f"{folder} is not a git tree: there is no history to bisect")
        return cls(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))))

    def ask(self, *args: str) -> str | None:
        """Return what git prints; None when it says no."""
        done = host.run(*self._argv(*args), seconds=LONG)
        return None if done.returncode else done.stdout.decode(errors="replace").strip()

    def run(self, *args: str) -> str:
        """Return what git prints.

        Raises:
            CannotTell: it failed.
        """
        done = host.run(*self._argv(*args), seconds=LONG)
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            reason = next((line for line in words if REFUSAL.match(line)), "") or " ".join(words)
            raise CannotTell(f"git {args[0]}: {reason}")
        return done.stdout.decode(errors="replace").strip()

    def read(self, *args: str) -> bytes:
        """Return exactly what git prints."""
        return host.run(*self._argv(*args), seconds=LONG).stdout

    def commit(self, revision: str) -> str:
        """Return a revision's commit.

        Raises:
            BadInput: the tree does not have it.
        """
        commit = self.ask(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        if commit is None:
            raise BadInput(f"{self.path} has no revision {revision!r}", self._deepen())
        return commit

    def subject(self, commit: str) -> str:
        """Return `6a64340b1c2d mm/swap: say whose`, as commits are cited."""
        return self.run("log", "-1", "--abbrev=12", "--format=%h %s", commit)

    def author(self, commit: str) -> str:
        """Return the author line."""
        return self.run("log", "-1", "--format=%an <%ae>  %ad", "--date=iso", commit)

    def is_merge(self, commit: str) -> bool:
        """Return whether the commit has more than one parent."""
        return len(self.run("rev-list", "--parents", "-1", commit).split()) > 2

    def check_clean(self) -> None:
        """Refuse changes that no commit holds.

        Raises:
            BadInput: there are some.
        """
        changed = self.run("status", "--porcelain", "--untracked-files=no").splitlines()
        if changed:
            raise BadInput(
                f"{self.path} is dirty: {changed[0].split(maxsplit=1)[-1]}"
                f"{f' and {len(changed) - 1} more' if len(changed) > 1 else ''} changed, which "
                "no commit of the range holds",
                f"git -C {self.path} stash",
            )

    def check_range(self, good: str, bad: str) -> int:
        """Return the number of commits from good (without it) to bad.

        Args:
            good, bad: commits.

        Raises:
            BadInput: the history does not lead from one to the other.
        """
        if good == bad:
            raise BadInput("the good and the bad revision are the same commit")
        if self.ask("merge-base", "--is-ancestor", good, bad) is None:
            if self._shallow():
                raise BadInput(
                    f"{self.path} is shallower than the range: its history ends before it "
                    "leads from the bad revision to the good one",
                    self._deepen(),
                )
            base = self.ask("merge-base", good, bad)
            raise BadInput(
                f"the good revision {good[:12]} is not an ancestor of the bad one {bad[:12]}",
                f"--good {base[:12]}, their merge base, if it is good" if base else None,
            )
        return int(self.run("rev-list", "--count", f"{good}..{bad}"))

    def _shallow(self) -> bool:
        return self.ask("rev-parse", "--is-shallow-repository") == "true"

    def _deepen(self) -> str | None:
        return f"git -C {self.path} fetch --unshallow" if self._shallow() else None

    def _argv(self, *args: str) -> tuple[str, ...]:
        # Nothing from our caller (git bisect run, a hook) must say which repository it is;
        # no reading may take the user's index lock.
        unset = [f"--unset={name}" for name in os.environ if name.startswith("GIT_")]
        return ("env", *unset, "git", "--no-optional-locks", "-C", str(self.path), *args)
