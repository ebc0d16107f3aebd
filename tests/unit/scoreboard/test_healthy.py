"""Healthy boots: which are left, and what of them stands in the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.scoreboard.board import ONE_CPU
from tests.scoreboard.healthy import LOST, VARIANTS, kept, left, variant_of
from tests.scoreboard.table import HEALTHY, healthy_page


def boot(number: int, kind: str = "clean", arch: str = "s390x") -> dict[str, Any]:
    return {
        "series": "7.3",
        "arch": arch,
        "number": number,
        "variant": variant_of("7.3", arch, number).name,
        "kind": kind,
    }


def test_boots_are_made_in_turn_but_those_that_are_there() -> None:
    made = [boot(0), boot(1, "unexplained")]
    assert list(left(made, 2, ("7.3",), ("s390x", "x86_64"))) == [
        ("7.3", "x86_64", 0),
        ("7.3", "x86_64", 1),
    ]


def test_a_boot_without_a_verdict_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "healthy.json"
    assert kept(path) == []
    path.write_text(json.dumps([boot(0), boot(1, LOST), boot(2, "rss_mismatch")]))
    assert [one["number"] for one in kept(path)] == [0, 2]


def test_every_way_of_booting_comes_to_every_kernel_that_can() -> None:
    ways = {variant_of("6.12", "s390x", number).name for number in range(50)}
    assert ways == {one.name for one in VARIANTS}
    for pair in ONE_CPU:
        alone = {variant_of(*pair, number) for number in range(50)}
        assert alone == {one for one in VARIANTS if one.one_cpu}


def test_the_page_has_their_table_once() -> None:
    page = "# Scoreboard\n\n## 6.1\n\na table\n"
    boots = [boot(0), boot(1, "rss_mismatch"), boot(0, arch="x86_64")]
    once = healthy_page(page, boots)
    assert once.startswith(page)
    assert "| 7.3 | s390x | 2 | 1 | 1 (crowd): `rss_mismatch` |" in once
    assert "| 7.3 | x86_64 | 1 | 1 |  |" in once
    followed = once + "\n## Later\n\nmore\n"
    assert healthy_page(followed, boots) == followed
    assert followed.count(HEALTHY) == 1
