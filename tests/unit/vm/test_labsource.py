"""The lab kernels' source: of a lab kernel only, out of the cache only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vm.lab_kernel import keep_source
from vm.labsource import kept_source, lab_source
from zaptrace.model.paths import cache_home
from zaptrace.model.progress import ignore


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def kernel(folder: Path, facts: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(facts))
    return folder / "vmlinux"


@pytest.mark.parametrize(
    "facts",
    [
        {"source": "linux-source-6.1_6.1.1-1_all.deb"},  # not in the cache
        {"source": "linux-image-6.1_6.1.1-1_amd64.deb"},  # a stock kernel's
        {"source": "../../linux-source-6.1_6.1.1-1_all.deb"},
        {"source": 7},
        {},
        [],
    ],
)
def test_what_is_not_there_has_no_tree(facts: object) -> None:
    assert lab_source(kernel(cache_home() / "kernels" / "k", facts), ignore) is None
    assert not (cache_home() / "source").exists()


def test_a_users_own_kernel_has_no_lab_source(tmp_path: Path) -> None:
    name = "linux-source-6.1_6.1.1-1_all.deb"
    deb = cache_home() / "debs" / "bookworm-amd64" / name
    deb.parent.mkdir(parents=True)
    deb.write_bytes(b"not unpacked")
    assert lab_source(kernel(tmp_path / "linux", {"source": name}), ignore) is None


OTHERS = ("arch/s390/kernel/entry.S", "tools/include/linux/math.h")


def test_what_was_compiled_is_kept_beside_the_kernel(tmp_path: Path) -> None:
    """Out of kbuild's own lists, as 6.1 and 6.12 write them; nothing from outside of the tree."""
    tree = tmp_path / "linux"
    for name in ("mm/memory.c", "mm/unused.c", "include/linux/mm.h", *OTHERS):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{name}\n")
    (tmp_path / "secret.h").write_text("not ours")
    (tree / "mm/.memory.o.cmd").write_text(
        "savedcmd_mm/memory.o := gcc -c -o mm/memory.o mm/memory.c\n\n"
        "source_mm/memory.o := mm/memory.c\n\n"
        "deps_mm/memory.o := \\\n"
        "    $(wildcard include/config/SMP) \\\n"
        "  include/linux/mm.h \\\n"
        "  include/generated/autoconf.h \\\n"
        "  ../secret.h \\\n"
        "  /usr/lib/gcc/include/stdarg.h \\\n"
        f"  {tree}/tools/include/linux/math.h \\\n"  # as x86_64's host tools name theirs
    )
    (tree / "arch/s390/kernel/.entry.o.cmd").write_text(
        "source_arch/s390/kernel/entry.o := arch/s390/kernel/entry.S\n"
    )
    kernel_folder = cache_home() / "kernels" / "k"
    keep_source(tree, kernel_folder / "source")
    kept = sorted(
        str(path.relative_to(kernel_folder / "source"))
        for path in (kernel_folder / "source").rglob("*")
        if path.is_file()
    )
    assert kept == sorted(["include/linux/mm.h", "mm/memory.c", *OTHERS])
    vmlinux = kernel_folder / "vmlinux"
    assert lab_source(vmlinux, ignore) == kept_source(vmlinux) == kernel_folder / "source"


def test_the_source_of_a_kernel_that_an_older_zaptrace_built_is_not_unpacked_unasked() -> None:
    name = "linux-source-6.1_6.1.1-1_all.deb"
    deb = cache_home() / "debs" / "bookworm-amd64" / name
    deb.parent.mkdir(parents=True)
    deb.write_bytes(b"not unpacked")
    vmlinux = kernel(cache_home() / "kernels" / "k", {"source": name})
    assert kept_source(vmlinux) is None
