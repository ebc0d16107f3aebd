"""A bisect's folder: what was requested, what is known so far; enough to continue after any end.

session.json   the request, the bug, each commit's outcome
config         the configuration to start from, when there is one
runs/          run folders of the boots that showed a bug
bisect.log     `git bisect log`, at the end
git.log        what git said
result.json    what `bisect start --json` printed, at the end
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vm.kernel_tree import Tree, objects_folder
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput
from zaptrace.model.paths import cache_home, state_home, write_whole
from zaptrace.runs.bisect.seen_by import Wanted
from zaptrace.runs.bisect.trial import Guest, Outcome
from zaptrace.runs.signature import Signature


@dataclass(slots=True)
class Session:
    """One bisect.

    Attributes:
        folder: where it is kept.
        tree: the user's work tree.
        good, bad: commits.
        bug: what is looked for, None before the bad revision was tried.
        outcomes: commit -> what its trial came to.
    """

    folder: Path
    tree: Path
    good: str
    bad: str
    arch: str
    guest: Guest
    bug: Signature | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def worktree(self) -> Path:
        """The linked work tree that git bisect moves about in."""
        return cache_home() / "worktrees" / self.folder.name

    @property
    def wanted(self) -> Wanted | None:
        """The bug, and what a boot without it must have seen; None before it is known."""
        if self.bug is None:
            return None
        bad = self.outcomes.get(self.bad)
        return Wanted(self.bug, bad.sight) if bad else Wanted(self.bug)

    @property
    def source(self) -> Tree:
        """That, to be built."""
        arch, config = arch_named(self.arch), self.folder / "config"
        objects = objects_folder(self.worktree, arch) / "objects"
        return Tree(self.worktree, arch, objects, config if config.exists() else None)

    @property
    def result(self) -> Path:
        """The document with the result."""
        return self.folder / "result.json"

    def runs(self, commit: str) -> Path:
        """Return where a commit's runs are left."""
        return self.folder / "runs" / commit[:12]

    def save(self) -> None:
        """Write session.json."""
        data = {
            "tree": str(self.tree),
            "good": self.good,
            "bad": self.bad,
            "arch": self.arch,
            "guest": {**dataclasses.asdict(self.guest), "initrd": _text(self.guest.initrd)},
            "bug": dataclasses.asdict(self.bug) if self.bug else None,
            "outcomes": {commit: one.to_json() for commit, one in self.outcomes.items()},
        }
        write_whole(self.folder / "session.json", (json.dumps(data, indent=1) + "\n").encode())

    def remember(self, commit: str, outcome: Outcome) -> None:
        """Keep what a commit's trial came to."""
        self.outcomes[commit] = outcome
        self.save()

    @classmethod
    def load(cls, folder: Path) -> Session:
        """Read it.

        Raises:
            BadInput: it is not a bisect's folder.
        """
        path = folder / "session.json"
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
            initrd = data["guest"]["initrd"]
            return cls(
                folder=folder,
                tree=Path(data["tree"]),
                good=data["good"],
                bad=data["bad"],
                arch=data["arch"],
                guest=Guest(**{**data["guest"], "initrd": Path(initrd) if initrd else None}),
                bug=Signature(**data["bug"]) if data["bug"] else None,
                outcomes={c: Outcome.from_json(one) for c, one in data["outcomes"].items()},
            )
        except FileNotFoundError:
            raise BadInput(f"{folder} is not a bisect's folder: no session.json") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{path} is damaged: {error!r}", f"rm -r {folder}") from None


def open_session(
    tree: Path, good: str, bad: str, arch: str, guest: Guest, config: Path | None
) -> Session:
    """Return the bisect of exactly this request: begun now, or the one that was begun before."""
    text = config.read_bytes() if config else b""
    asked = (str(tree), good, bad, arch, repr(guest))
    key = hashlib.sha256("\0".join(asked).encode() + b"\0" + text).hexdigest()[:12]
    folder = state_home() / "bisects" / f"{tree.name}-{arch}-{key}"
    if (folder / "session.json").exists():
        return Session.load(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config:
        write_whole(folder / "config", text)
    session = Session(folder, tree, good, bad, arch, guest)
    session.save()
    return session


@contextlib.contextmanager
def held(session: Session) -> Iterator[None]:
    """Nobody else works on the session meanwhile.

    Raises:
        BadInput: another process does.
    """
    with (session.folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput("this bisect is already under way, in another zaptrace") from None
        yield


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
