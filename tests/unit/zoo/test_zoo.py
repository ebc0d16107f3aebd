"""The zoo's table, its folders and the kernels' patches have the same bugs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.zoo.bugs import BUGS, HERE, Bug
from tests.zoo.page import page
from tests.zoo.results import Row, culprits, package_of
from vm.series import SERIES
from zaptrace.model.verdict import VerdictKind


def kernels_names(series: str, flavour: str | None) -> set[str]:
    text = "".join(patch.read_text() for patch in SERIES[series].patches(flavour))
    return set(re.findall(r'^\+\t\[ZOO_[^]]+\]\s*= "([^"]+)"', text, re.MULTILINE)) - {"none"}


def test_the_kernels_know_the_bugs_that_they_are_booted_with() -> None:
    booted: dict[tuple[str, str | None], set[str]] = {}
    for bug in BUGS.values():
        booted.setdefault((bug.series, bug.flavour), set())
        if bug.patched:
            booted[bug.series, bug.flavour].add(bug.name)
    for kernel, names in booted.items():
        assert kernels_names(*kernel) == names, kernel


def test_each_has_a_folder_and_each_folder_has_one() -> None:
    assert {path.parent.name for path in HERE.glob("*/trigger.c")} == set(BUGS)
    for bug in BUGS.values():
        told = (bug.folder / "README.md").read_text()
        assert bug.subject in told
        assert bug.fix in told
        assert f"`{bug.kind}`" in told
        assert (f"zoo={bug.name}" in told) == bug.patched


def test_each_verdict_is_a_kind() -> None:
    kinds = {kind.value for kind in VerdictKind}
    assert {bug.kind for bug in BUGS.values()} <= kinds


def test_the_line_at_fault_is_the_ledgers_or_a_site_of_the_verdict() -> None:
    sentence = "rmap added and not removed: __replace_page kernel/events/uprobes.c:185"
    lives = {"ledger": {"left_over": [{"sentence": sentence}]}}
    site = {"inline_chain": ["move_ptes mm/mremap.c:204"]}
    assert culprits(lives, {"sites": [site]}) == [sentence, "move_ptes mm/mremap.c:204"]
    assert culprits({}, {"sites": []}) == []
    assert culprits({"ledger": None}, {"sites": []}) == []
    chain = [("folio_put", "include/linux/mm.h:1182"), ("unpoison_memory", "mm/m.c:2447")]
    frames = [{"function": name, "source": source} for name, source in chain]
    freed = {"role": "freed", "inline_chain": frames}
    assert culprits({"writes": [{"role": None}, freed]}, {"sites": []})[0] == (
        "last reference dropped: unpoison_memory mm/m.c:2447"
    )


@pytest.mark.parametrize(
    ("banner", "package"),
    [
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)", " (6.1.176-1)"),
        ("#1 SMP Debian 6.12.117-1~bpo12+1 (2026-07-02)", " (6.12.117-1~bpo12+1)"),
        ("#1 SMP 1970-01-01", ""),
    ],
)
def test_a_distribution_s_kernel_has_its_package_s_version(
    banner: str, package: str, tmp_path: Path
) -> None:
    compiler = "(gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40)"
    line = f"[    0.000000] Linux version 6.1.0-50-s390x (a@b.org) {compiler} {banner}\n"
    (tmp_path / "console.log").write_text(line)
    assert package_of(tmp_path) == package


@pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.name)
def test_the_page_lists_each_bug_and_its_result(bug: Bug, tmp_path: Path) -> None:
    row: Row = {
        "bug": bug.name,
        "arch": "s390x",
        "kernel": "6.1.176",
        "splats": ["bad_rss_counter"],
        "audit": [],
        "life": 90,
        "culprits": [],
        "culprit": None,
        "got": bug.kind,
        "ok": True,
        "wrong": [],
        "seconds": 7.1,
    }
    missed = {**row, "arch": "x86_64", "ok": False, "wrong": ["got clean"], "life": None}
    written = page([row, missed])
    assert f"| {bug.name} | s390x | 6.1.176 | bad_rss_counter | clean | 90 stores |" in written
    assert "✗ got clean" in written
    assert "1 of 2 boots are explained right; 0 of 1 bugs in every boot, 0 of them" in written
    assert bug.does in written
