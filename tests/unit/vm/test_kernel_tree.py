"""A user's tree: mirrored and built by a real make, and never written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.bisect.toy import git, history, state
from vm import kernel_tree as trees
from vm.mirror import mirror
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput, CannotTell
from zaptrace.model.progress import Update, ignore

S390X, X86_64 = arch_named("s390x"), arch_named("x86_64")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return history(tmp_path / "linux")


def test_a_mirror_has_what_git_has_and_what_is_new(tree: Path, tmp_path: Path) -> None:
    (tree / "mm" / "memory.o").touch()
    (tree / "mm" / "new.c").touch()
    (tree / "mm" / "link.c").symlink_to("memory.c")
    git(tree, "rm", "--quiet", "Kbuild")
    into = tmp_path / "mirror"
    count = mirror(tree, into)
    assert (into / "mm" / "memory.c").resolve() == tree / "mm" / "memory.c"
    assert (into / "mm" / "new.c").exists()
    assert (into / "mm" / "link.c").readlink() == Path("memory.c")
    assert not (into / "mm" / "memory.o").exists()
    assert not (into / "Kbuild").exists()
    assert count == sum(path.is_symlink() for path in into.rglob("*"))


def test_a_mirror_is_renewed(tree: Path, tmp_path: Path) -> None:
    into = tmp_path / "mirror"
    mirror(tree, into)
    (tree / "mm" / "memory.c").rename(tree / "mm" / "other.c")
    mirror(tree, into)
    assert not (into / "mm" / "memory.c").is_symlink()
    assert (into / "mm" / "other.c").exists()


def test_a_tree_without_git_has_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a git checkout"):
        mirror(tmp_path, tmp_path / "mirror")


def test_a_tree_of_another_user_has_no_mirror(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(BadInput, match="belongs to another user") as caught:
        mirror(tree, tmp_path / "mirror")
    assert caught.value.hint == f"git config --global --add safe.directory {tree}"


def test_a_tree_that_git_ignores_has_no_mirror(tmp_path: Path) -> None:
    """Debian's linux-source packages come with a .gitignore of everything."""
    (tmp_path / "Makefile").touch()
    (tmp_path / ".gitignore").write_text("/*\n")
    git(tmp_path, "init", "--quiet")
    with pytest.raises(BadInput, match="ignores all of") as caught:
        mirror(tmp_path, tmp_path / "mirror")
    assert caught.value.hint == f"git -C {tmp_path} add --force ."
    git(tmp_path, "add", "--force", ".")
    assert mirror(tmp_path, tmp_path / "mirror") == 2


def test_it_is_built_and_the_checkout_is_as_it_was(tree: Path) -> None:
    (tree / ".config").write_text("# CONFIG_KPROBES is not set\n")
    before, config = state(tree), trees.config_of(tree, None)
    source = trees.checkout(tree, S390X, config, ignore)
    assert "+CONFIG_KPROBES=y" in trees.config_changes(source)
    built = trees.build(source, ignore)
    assert built.image.read_text() == "7\n"
    assert built.vmlinux.exists()
    assert "CONFIG_KPROBES=y" in built.config.read_text()
    assert state(tree) == before


def test_a_configuration_that_stays_is_not_written_again(tree: Path) -> None:
    source = trees.checkout(tree, S390X, None, ignore)
    config = trees.build(source, ignore).config
    before = config.stat().st_mtime_ns
    trees.build(source, ignore)
    assert config.stat().st_mtime_ns == before


def test_a_tree_that_does_not_build_says_where(tree: Path) -> None:
    (tree / "broken").touch()
    heard: list[Update] = []
    source = trees.checkout(tree, S390X, None, ignore)
    with pytest.raises(CannotTell, match=r"does not build: mm/memory\.c:7:1: error") as error:
        trees.build(source, heard.append)
    assert str(source.log) in (error.value.hint or "")
    assert any(update.note == "mm/memory.o" for update in heard)


def test_an_object_that_a_build_was_killed_over_is_not_taken_for_finished(tree: Path) -> None:
    source = trees.checkout(tree, S390X, None, ignore)
    folder = source.objects / "mm"
    folder.mkdir(parents=True)
    for number, name in enumerate((".half.o.cmd", "half.o", "whole.o", ".whole.o.cmd", "no.o")):
        (folder / name).touch()
        os.utime(folder / name, (number, number))
    trees.build(source, ignore)
    assert sorted(path.name for path in folder.glob("*.o")) == ["no.o", "whole.o"]


def test_what_is_no_kernel_tree_is_refused(tree: Path, tmp_path: Path) -> None:
    trees.check(tree, S390X)
    with pytest.raises(BadInput, match="has no Kbuild"):
        trees.check(tmp_path, S390X)
    with pytest.raises(BadInput, match="is not a folder"):
        trees.check(tmp_path / "nowhere", S390X)
    (tree / "arch" / "s390" / "Makefile").unlink()
    (tree / "arch" / "s390").rmdir()
    with pytest.raises(BadInput, match="no arch/s390"):
        trees.check(tree, S390X)


def test_a_live_guests_kernel_has_more_and_objects_of_its_own(tree: Path) -> None:
    (tree / ".config").write_text("CONFIG_VIRTIO_BLK=m\n")
    config = trees.config_of(tree, None)
    repro = trees.checkout(tree, X86_64, config, ignore)
    live = trees.checkout(tree, X86_64, config, ignore, "live")
    assert repro.objects != live.objects
    assert "+CONFIG_VIRTIO_BLK=y" not in trees.config_changes(repro)
    assert {"+CONFIG_VIRTIO_BLK=y", "+CONFIG_VIRTIO_PCI=y"} <= set(trees.config_changes(live))


def test_a_small_live_kernel_has_a_disk(tree: Path) -> None:
    for flavour, has in (("repro", False), ("live", True)):
        source = trees.checkout(tree, S390X, None, ignore, flavour)
        text = trees.build(source, ignore).config.read_text()
        assert ("CONFIG_VIRTIO_BLK=y" in text) is has
