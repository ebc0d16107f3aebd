"""Bugs that upstream shipped and fixed, given back to the lab kernel: found and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.boot import boot
from tests.zoo.bugs import BUGS
from tests.zoo.results import row
from vm import lab_kernel
from zaptrace.arch import arch_named
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.guest


@pytest.mark.parametrize(
    ("arch", "name"),
    [("s390x", "uprobe-zeropage"), ("x86_64", "uprobe-mremap"), ("x86_64", "unpoison-hugezero")],
)
def test_a_bug_that_shipped_is_explained_with_its_line(
    arch: str, name: str, tmp_path: Path
) -> None:
    bug = BUGS[name]
    kernel = lab_kernel.build(arch_named(arch), ignore, flavour=bug.flavour, series=bug.series)
    status, document = boot(bug, arch, kernel, tmp_path / "run")
    assert status == 1
    found = row(bug, arch, kernel.folder.name, tmp_path / "run", document)
    assert found["wrong"] == []
    assert found["life_complete"]


@pytest.mark.parametrize("arch", ["s390x", "x86_64"])
def test_its_trigger_does_no_harm_to_a_kernel_with_the_fix(arch: str, tmp_path: Path) -> None:
    """KSM's zero pages: the same program, the same kernel, without zoo=."""
    bug = BUGS["ksm-zeropage"]
    kernel = lab_kernel.build(arch_named(arch), ignore, flavour=bug.flavour, series=bug.series)
    status, document = boot(bug, arch, kernel, tmp_path / "run", healthy=True)
    assert "zoo trigger ended with 0" in (tmp_path / "run/console.log").read_text(errors="replace")
    assert (status, document["verdict"]["kind"], document["findings"]) == (0, "clean", 0)
