"""Modules of the product: none too long, and a base name stands for one noun."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
LONGEST = 500
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
SHARED = dict(re.findall(r"^- `(\w+)`: (.+)$", CONTRIBUTING, re.MULTILINE))
"""Base name -> the one noun that it stands for in each of its layers."""


def modules() -> list[Path]:
    return [
        path
        for folder in ("zaptrace", "probes", "vm", "tui")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_no_module_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


def test_a_base_name_repeats_only_where_both_mean_the_same_noun() -> None:
    by_name = defaultdict(list)
    for path in modules():
        if not path.stem.startswith("__"):
            by_name[path.stem].append(str(path.relative_to(ROOT)))
    repeated = {name: paths for name, paths in by_name.items() if len(paths) > 1}
    assert repeated.keys() == SHARED.keys(), {
        name: repeated.get(name) for name in repeated.keys() ^ SHARED.keys()
    }
    assert all(len(paths) == 2 for paths in repeated.values()), repeated
