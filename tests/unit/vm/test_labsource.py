"""The lab kernels' source: of a lab kernel only, out of the cache only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vm.labsource import lab_source
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


def test_somebody_s_own_kernel_has_no_lab_source(tmp_path: Path) -> None:
    name = "linux-source-6.1_6.1.1-1_all.deb"
    deb = cache_home() / "debs" / "bookworm-amd64" / name
    deb.parent.mkdir(parents=True)
    deb.write_bytes(b"not unpacked")
    assert lab_source(kernel(tmp_path / "linux", {"source": name}), ignore) is None
