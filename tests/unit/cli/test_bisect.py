"""`zaptrace bisect` from the outside, as far as it goes without a guest."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.bisect.toy import git, history, state
from zaptrace.cli.main import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class Cli:
    """The command line, in this process: starting Python is a second each time."""

    def __init__(self, capsys: pytest.CaptureFixture[str], tree: Path) -> None:
        self._capsys = capsys
        self.tree = tree
        self.home = tree.parent / "home"

    def bisect(self, *args: str) -> Done:
        try:
            status = main(["bisect", *args])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            status = ended.code
        return Done(status, *self._capsys.readouterr())

    def start(self, *args: str) -> Done:
        ends = ("--good", "good", "--bad", "bad")
        return self.bisect("start", "--tree", str(self.tree), *ends, *args)

    def step(self, *args: str) -> Done:
        return self.bisect("step", "--tree", str(self.tree), *args)


@pytest.fixture
def cli(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield Cli(capsys, history(tmp_path / "linux", commits=3, bug_from=1))
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--arch", "vax"), "zaptrace does not know the architecture 'vax'"),
        (("--good", "v9"), "has no revision 'v9'"),
        (("--config", "/nowhere"), "/nowhere is not a file"),
        (("--initrd", "/nowhere"), "/nowhere is not a file"),
        (("--good", "bad", "--bad", "good"), "is not an ancestor"),
        (("--repeat", "0"), "'0' is not a whole number above 0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(
    cli: Cli, args: tuple[str, ...], words: str
) -> None:
    before = state(cli.tree)
    done = cli.start(*args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Compile" not in done.stderr
    assert state(cli.tree) == before


def test_a_dirty_tree_is_refused(cli: Cli) -> None:
    (cli.tree / "mm" / "memory.c").write_text("int x;\n")
    done = cli.start()
    assert done.returncode == 2
    assert "is dirty: mm/memory.c changed" in done.stderr


def test_a_bad_revision_that_does_not_build_is_no_verdict(cli: Cli) -> None:
    (cli.tree / "broken").touch()
    git(cli.tree, "add", "broken")
    git(cli.tree, "commit", "--quiet", "--message", "break it")
    done = cli.start("--bad", "HEAD")
    assert done.returncode == 125, done.stderr
    assert "the bad revision cannot be judged: it does not build: mm/memory.c:7:1" in done.stderr


def test_a_work_tree_that_was_removed_is_made_again(cli: Cli) -> None:
    (cli.tree / "broken").touch()
    git(cli.tree, "add", "broken")
    git(cli.tree, "commit", "--quiet", "--message", "break it")
    cli.start("--bad", "HEAD")
    (worktree,) = cli.home.glob("zaptrace/worktrees/linux-*/.git")
    shutil.rmtree(worktree.parent)
    done = cli.start("--bad", "HEAD")
    assert done.returncode == 125
    assert "the bad revision cannot be judged" in done.stderr
    assert worktree.exists()


def test_a_step_never_means_to_git_that_a_commit_is_bad_by_mistake(cli: Cli) -> None:
    """Git takes 1 to 124 for bad: neither our errors nor argparse's may be one of them."""
    for args in (
        ("--typo",),
        ("--arch", "vax"),
        ("--bug", "oops"),
        ("--tree", str(cli.tree.parent)),
        ("--session", str(cli.tree.parent)),
    ):
        done = cli.step(*args)
        assert done.returncode == 130, (args, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_step_skips_what_does_not_build(cli: Cli) -> None:
    (cli.tree / "broken").touch()
    done = cli.step()
    assert done.returncode == 125
    assert "skip: it does not build" in done.stdout
