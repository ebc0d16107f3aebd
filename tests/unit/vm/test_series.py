"""The series of lab kernels: each has its patches, and a kernel option is what was said last."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm import lab_kernel
from vm.series import DEFAULT, SERIES, series_named, series_of
from zaptrace.arch import ARCHES
from zaptrace.model.errors import BadInput
from zaptrace.model.progress import ignore


def test_each_has_patches_of_its_own_that_make_the_same_files() -> None:
    for series in SERIES.values():
        text = "".join(patch.read_text() for patch in series.patches())
        assert {"+++ b/mm/zapfault.c", "+++ b/mm/zapfault.h"} <= set(text.splitlines())
        assert text.count("SPDX-License-Identifier: GPL-2.0-only") >= len(series.patches())
    assert DEFAULT in SERIES


def test_a_flavours_own_patches_come_after_those_of_its_series() -> None:
    series = series_named("6.12")
    shared, zoo = series.patches(), series.patches("zoo")
    assert zoo[: len(shared)] == shared
    own = zoo[len(shared) :]
    assert own
    assert {path.parent.name for path in own} == {"zoo"}
    assert series.patches(series.flavour) == shared
    for patch in own:
        assert "SPDX-License-Identifier: GPL-2.0-only" in patch.read_text()


def test_a_flavour_of_one_series_may_have_options_of_its_own() -> None:
    for arch in ARCHES.values():
        deb = Path("linux-source-6.1_6.1.1-1_all.deb")
        names = [
            [one.name for one in lab_kernel._Recipe(arch, flavour, row, deb).fragments()]
            for flavour, row in (
                ("live", SERIES["6.1"]),
                ("repro", SERIES["6.1"]),
                ("live", SERIES["6.12"]),
            )
        ]
        assert "6.1-live.config" in names[0]
        assert not any(name.startswith("6.1-") for name in (*names[1], *names[2]))


def test_one_is_known_by_its_source_package() -> None:
    for series in SERIES.values():
        assert series_of(f"{series.package}_{series.name}.176-1~bpo13+1_all.deb") is series
    for other in ("linux-source-5.10_5.10.1-1_all.deb", "linux-image-6.1_6.1.1-1_amd64.deb", ""):
        assert series_of(other) is None


def test_what_is_not_there_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(BadInput, match=r"series '6\.2'"):
        series_named("6.2")
    with pytest.raises(BadInput, match=r"series '6\.2'"):
        lab_kernel.build(ARCHES["s390x"], ignore, series="6.2")


def test_of_one_option_the_last_word_counts(tmp_path: Path) -> None:
    base, own = tmp_path / "base", tmp_path / "own"
    base.write_text("# words\nCONFIG_A=y\nCONFIG_PROC_SYSCTL=y\n")
    own.write_text("# CONFIG_PROC_SYSCTL is not set\nCONFIG_SYSCTL=y\n")
    assert lab_kernel._settings_in([base, own]) == [
        "CONFIG_A=y",
        "# CONFIG_PROC_SYSCTL is not set",
        "CONFIG_SYSCTL=y",
    ]
