"""Pages' lives on another QEMU, and on one that does not export what MVC and its like need."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.guest.conftest import boot
from tests.other_qemu import qemu_10
from vm import plugin
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.repro import Request
from zaptrace.runs.run_life import open_life

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("arch", ["s390x", "x86_64"])
def test_on_qemu_10_no_word_differs_and_the_line_is_named(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{qemu_10()}:{os.environ['PATH']}")
    found = boot(Request(arch, fault="cow", folder=tmp_path / "run"))
    lives = open_life(RunFolder(found.path))
    assert lives.complete is not None and lives.complete.words == 131072 * 8
    assert (lives.complete.differ, lives.unseen) == (0, ())
    assert lives.life.facts.api == 4
    verdict = found.result.verdict
    assert verdict.kind.value == "mapping_leaked" and "wp_page_copy() at mm/" in verdict.facts


def test_where_storage_to_storage_cannot_be_followed_nothing_is_concluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A QEMU before 8.1 whose symbols were stripped: the recording says that it lacks them."""
    library, sources = tmp_path / "life.so", tmp_path / "source"
    sources.mkdir()
    for one in plugin.sources():
        text = one.read_text().replace('"s390_cpu_gdb_read_register"', '"no_such_symbol"')
        (sources / one.name).write_text(text)
    (sources / "plugin.h").write_text((plugin.sources()[0].parent / "plugin.h").read_text())
    files = [str(one) for one in sorted(sources.glob("*.c"))]
    subprocess.run(
        ["gcc", *plugin.FLAGS, "-o", str(library), *files, *plugin.LIBRARIES], check=True
    )
    monkeypatch.setattr(plugin, "build", lambda: library)
    found = boot(Request("s390x", fault="none", stop_at="exit", folder=tmp_path / "run"))
    lives = open_life(RunFolder(found.path))
    assert lives.unseen == (
        "Pages' lives lack what MVC, NC, OC and XC stored: this QEMU does not report it.",
    )
    assert lives.complete is not None and lives.complete.differ > 0
    assert found.result.verdict.kind.value == "clean"
    assert "this QEMU does not report it" in " ".join(found.result.report.split())
