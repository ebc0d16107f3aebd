"""Source lines: those around the site, from the tree and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaptrace.model.verdict import CodeSite
from zaptrace.report.sourcelines import CONTEXT, excerpts


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret\n")
    mm = tmp_path / "linux" / "mm"
    mm.mkdir(parents=True)
    (mm / "memory.c").write_text("".join(f"line {at}\n" for at in range(1, 31)))
    (mm / "link.c").symlink_to(tmp_path / "secret")
    return tmp_path / "linux"


def test_the_line_inside_the_zap_is_shown(tree: Path) -> None:
    chain = ("folio_put at include/linux/mm.h:1182", "zap_pte_range at mm/memory.c:20")
    site = CodeSite("unmap_page_range", 4, "include/linux/mm.h:1182", chain)
    ((place, shown),) = excerpts(tree, [site]).items()
    assert (place, shown.first, shown.line) == ("mm/memory.c:20", 20 - CONTEXT, 20)
    assert shown.lines[20 - shown.first] == "line 20"
    assert len(shown.lines) == 2 * CONTEXT + 1


@pytest.mark.parametrize(
    "source",
    [
        "../secret:1",
        "mm/link.c:1",
        "/etc/passwd:1",
        "mm/memory.c:99",
        "mm/memory.c:0",
        "mm:1",
        "?",
        "x",
    ],
)
def test_what_the_tree_does_not_have_is_not_shown(tree: Path, source: str) -> None:
    assert excerpts(tree, [CodeSite("f", 0, source)]) == {}


def test_the_first_and_the_last_line_have_fewer_neighbours(tree: Path) -> None:
    found = excerpts(tree, [CodeSite("f", 0, "mm/memory.c:1"), CodeSite("f", 0, "mm/memory.c:30")])
    assert found["mm/memory.c:1"].lines[0] == "line 1"
    assert "line 30" in found["mm/memory.c:30"].lines
