"""The README's pictures are there, and small enough to be loaded on the way."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_pictures_of_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert "docs/report.png" in pictures
    for name in pictures:
        assert (ROOT / name).stat().st_size <= 300_000, name
