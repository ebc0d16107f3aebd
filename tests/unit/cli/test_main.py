"""The command line from the outside: help, errors, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zaptrace.cli.main import COMMANDS, main


def refused(*args: str) -> int:
    """The exit status of a command line that is not taken."""
    try:
        return main([*args])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_fits_the_screen(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 80


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused() == 2
    assert "usage: zaptrace" in capsys.readouterr().err


def test_an_error_is_one_clear_line_with_its_fix() -> None:
    argv = [sys.executable, "-m", "zaptrace", "repro", "vax"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "zaptrace does not know the architecture 'vax'" in done.stderr
    assert "use s390x or x86_64" in done.stderr


@pytest.mark.parametrize(
    "args",
    [("vm", "boot", "s390x", "--", "id\nls"), ("live", "--guest", "s390x", "--run", "id\nls")],
)
def test_a_command_for_a_guest_is_one_line(
    args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(*args) == 2
    assert "a command for a guest is one line" in capsys.readouterr().err


def test_a_kernel_of_your_own_needs_its_vmlinux(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused("repro", "s390x", "--kernel", "bzImage") == 2
    assert "vmlinux" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--kernel-tree", "/nowhere"), "/nowhere is not a folder"),
        (("--kernel-tree", "/", "--kernel", "bzImage"), "leave out --kernel"),
        (("--kernel-tree", "/", "--fault", "batch"), "--fault is for the lab kernel only"),
        (("--kernel-tree", "/"), "/ is not a kernel tree for s390x: it has no Kbuild"),
        (("--config", "/nowhere"), "--kernel-tree DIR"),
        (("--repeat", "-1"), "is not a whole number above 0"),
        (("--smp", "0"), "'0' is not a whole number above 0"),
        (("--memory", "lots"), "'lots' is not a size like 512M or 2G"),
        (("--memory", "0M"), "'0M' is not a size like 512M or 2G"),
        (("--timeout", "-3"), "'-3' is not a number of seconds above 0"),
        (("--timeout", "nan"), "'nan' is not a number of seconds above 0"),
    ],
)
def test_a_boot_that_cannot_be_made_is_refused(
    args: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("repro", "s390x", *args) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--no-tui", "--seconds", "-1"), "'-1' is not a number of seconds above 0"),
        (("--seconds", "5"), "--seconds is for printed lines"),
        (("--guest", "s390x", "--seconds", "5"), "--seconds is for printed lines"),
        (("--guest", "s390x", "--smp", "-2"), "'-2' is not a whole number above 0"),
    ],
)
def test_what_live_does_not_take(
    args: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zaptrace.cli.live.at_terminal", lambda: True)
    assert refused("live", *args) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_help_is_quick() -> None:
    """Nothing heavy is imported to print help or to refuse an argument."""
    script = (
        "import sys; from zaptrace.cli.main import build_parser; build_parser();"
        "heavy = ('numpy', 'drgn', 'rich', 'elftools', 'qemu');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_splat_is_quick() -> None:
    """A small log is read without numpy's start, and printed without rich's."""
    script = (
        "import sys; from zaptrace.cli.main import main; main(['splat', sys.argv[1]]);"
        "heavy = ('numpy', 'drgn', 'rich', 'asyncio', 'zaptrace.cli.repro');"
        "print([name for name in heavy if name in sys.modules])"
    )
    log = Path(__file__).parents[2] / "golden/splat/other_reports.log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(log)], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


BROKEN = """\
import sys, zaptrace.cli.main, zaptrace.cli.splat

def run(args):
    raise RuntimeError("a bug of ours")

zaptrace.cli.splat.run = run
sys.argv = ["zaptrace", "splat", "/dev/null"]
zaptrace.cli.main.entry()
"""


def test_a_bug_of_ours_is_no_bug_of_the_kernels() -> None:
    """Python's own exit status for an exception, 1, would make `git bisect run` blame a commit."""
    done = subprocess.run([sys.executable, "-c", BROKEN], check=False, capture_output=True)
    assert done.returncode == 125
    assert b"Traceback" in done.stderr
    assert b"RuntimeError: a bug of ours" in done.stderr


def without_reader(*args: str, errors_too: bool = False) -> tuple[int, bytes]:
    """Exit status and errors of a command whose reader has left before the first word."""
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-m", "zaptrace", *args]
    errors = writing if errors_too else subprocess.PIPE
    try:
        done = subprocess.run(argv, check=False, stdout=writing, stderr=errors, timeout=120)
    finally:
        os.close(writing)
    return done.returncode, done.stderr or b""


@pytest.mark.parametrize("args", [["--all"], ["--json"]])
def test_a_bug_is_a_bug_without_a_reader(args: list[str], tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("BUG: Bad page state in process init  pfn:00026\n" * 1000)
    assert without_reader("splat", str(log), *args) == (1, b"")
    log.write_text("all is well\n")
    assert without_reader("splat", str(log), *args) == (0, b"")


def test_a_recording_is_judged_whole_without_a_reader() -> None:
    assert without_reader("replay", "--no-tui") == (1, b"")


def test_help_and_errors_without_reader() -> None:
    assert without_reader("--help") == (0, b"")
    assert without_reader("repro", "vax", errors_too=True)[0] == 2
    assert without_reader("repro", errors_too=True)[0] == 2


LATE = """\
import os, signal, sys
import zaptrace.cli.main

class Late:
    kill, me, number = staticmethod(os.kill), os.getpid(), signal.SIG{name}
    def __del__(self):
        self.kill(self.me, self.number)

late = Late()  # goes when the interpreter goes
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["zaptrace", "splat", "/dev/null"]
zaptrace.cli.main.entry()
"""


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_a_signal_after_the_end_changes_nothing(name: str) -> None:
    argv = [sys.executable, "-c", LATE.replace("{name}", name)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
