"""The README is short, its pictures are small, and every page of the docs leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zaptrace.model.verdict import VerdictKind

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES = 200


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MOST_LINES


def test_the_pictures_of_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert "docs/report.png" in pictures
    for name in pictures:
        assert (ROOT / name).stat().st_size <= 300_000, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files_and_folders(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_the_readme_or_a_page_that_it_links_to_leads_to_each_page(page: Path) -> None:
    linking = [one.read_text("utf-8") for one in PAGES if one != page]
    assert any(f"{page.name})" in text for text in linking)


@pytest.mark.parametrize("kind", VerdictKind)
def test_every_verdict_is_documented(kind: VerdictKind) -> None:
    text = (ROOT / "docs" / "verdicts.md").read_text("utf-8")
    assert re.search(rf"^\| `{kind.value}` \| \w", text, re.MULTILINE)
