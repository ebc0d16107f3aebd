"""What `zaptrace live` says to arguments that do not fit, before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm.kernel_tree import Tree
from zaptrace.arch import arch_named
from zaptrace.cli.main import main
from zaptrace.model.errors import BadInput
from zaptrace.model.progress import ignore
from zaptrace.runs.watched_guest import wanted_guest


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--kernel-tree", "linux"], "--kernel-tree is for a guest"),
        (["--guest", "x86_64", "--config", "dot"], "--config is for a tree"),
        (["--guest", "x86_64", "--kernel-tree", "/nowhere"], "/nowhere is not a folder"),
        (["--guest", "vax", "--kernel-tree", "linux"], "zaptrace does not know the architecture"),
        (["--filter", "pid=1"], None),
    ],
)
def test_what_it_cannot_do(
    args: list[str],
    says: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Here is no terminal: lines are printed, and said so; a filter fits them."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["live", *args]) == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert (says or "watching the kernel is for root alone") in errors
    assert ("no terminal here" in errors) is (args[0] != "--kernel-tree")


def test_one_kernel_at_a_time(tmp_path: Path) -> None:
    own = Tree(tmp_path, arch_named("x86_64"), tmp_path / "objects", flavour="live")
    with pytest.raises(BadInput, match="builds its own kernel"):
        wanted_guest("x86_64", ignore, kernel_name="6.12", own=own)
    with pytest.raises(BadInput, match="only the lab's kernel has the lab's faults"):
        wanted_guest("x86_64", ignore, fault="batch", own=own)
