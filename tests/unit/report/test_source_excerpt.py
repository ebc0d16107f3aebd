"""Source lines: those of the file that was compiled, from the tree and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaptrace.model.verdict import CodeSite
from zaptrace.report.source_excerpt import CONTEXT, read_sources

MEMORY = """\
// SPDX-License-Identifier: GPL-2.0-only

static bool
remove_page(struct page *page)
{
	return __tlb_remove_page(tlb, page);
}

static unsigned long try_zap_range(struct mmu_gather *tlb,
		unsigned long addr)
{
	while (addr) {
		pte_t pte = ptep_get_and_clear_full(mm, addr);

		/* goes first */
		full = remove_page(page);
		HIDDEN(page);
	}
out:
	folio_remove_rmap_range(page);
	return addr;
}

unsigned long zap_pte_range(struct mmu_gather *tlb)
{
	/* remove_page() is not called here */
	return try_zap_range(tlb, 1);
}
"""


def at(text: str) -> int:
    return next(n for n, line in enumerate(MEMORY.split("\n"), 1) if text in line)


def chain(shift: int = 0) -> tuple[str, ...]:
    return (
        "folio_put at include/linux/mm.h:1182",
        f"remove_page at mm/memory.c:{at('__tlb_remove') + shift}",
        f"try_zap_range at mm/memory.c:{at('full =') + shift}",
        f"zap_pte_range at mm/memory.c:{at('return try_zap') + shift}",
    )


def freed(shift: int = 0) -> CodeSite:
    return CodeSite("unmap_page_range", 4, "include/linux/mm.h:1182", chain(shift), "freed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "secret.c").write_text("int f() { secret; }\n")
    mm = tmp_path / "linux" / "mm"
    mm.mkdir(parents=True)
    (mm / "memory.c").write_text(MEMORY)
    (mm / "link.c").symlink_to(tmp_path / "secret.c")
    return tmp_path / "linux"


def alone(source: str, function: str = "zap_pte_range") -> CodeSite:
    return CodeSite(function, 0, source)


def test_lines_that_are_near_are_shown_as_one(tree: Path) -> None:
    # try_zap_range() is a zap as well as its caller is: the innermost is wanted.
    line = at("folio_remove")
    late = f"try_zap_range at mm/memory.c:{line}"
    removed = CodeSite("unmap_page_range", 9, None, (late,), "rmap_removed")
    told = read_sources(tree, [freed(), removed])
    (shown,) = told.excerpts
    assert not told.left_out
    assert shown.marks == {at("full ="): "the page is freed", line: "its rmap is removed"}
    assert shown.first == at("full =") - CONTEXT
    assert shown.lines[line - shown.first] == "        folio_remove_rmap_range(page);"
    assert shown.first + len(shown.lines) - 1 == line + CONTEXT


def test_two_deeds_at_one_line_are_both_reported(tree: Path) -> None:
    other = CodeSite("unmap_page_range", 4, None, chain(), "reported")
    (shown,) = read_sources(tree, [freed(), other]).excerpts
    assert shown.marks == {at("full ="): "the page is freed; the page is refused"}


@pytest.mark.parametrize("shift", [-3, -2, -1, 1, 2, 5, 100])
def test_a_tree_of_another_version_is_not_shown(tree: Path, shift: int) -> None:
    told = read_sources(tree, [freed(shift)])
    assert told.excerpts == ()
    (why,) = told.left_out
    assert why.startswith("mm/memory.c is not shown: ") and why.endswith(".")


@pytest.mark.parametrize(
    ("source", "function"),
    [
        (f"mm/memory.c:{at('return try_zap')}", "try_zap_range"),  # another function's line
        (f"mm/memory.c:{at('goes first')}", "try_zap_range"),  # a remark
        (f"mm/memory.c:{at('return addr') + 2}", "try_zap_range"),  # empty, and outside
        ("mm/memory.c:99", "zap_pte_range"),
        ("mm/memory.c:0", "zap_pte_range"),
        ("mm/page_alloc.c:5", "f"),
    ],
)
def test_a_line_that_cannot_be_is_left_out_with_a_word(
    tree: Path, source: str, function: str
) -> None:
    told = read_sources(tree, [alone(source, function)])
    assert told.excerpts == () and len(told.left_out) == 1


@pytest.mark.parametrize("source", ["../secret.c:1", "mm/link.c:1", "/etc/passwd:1", "mm:1"])
def test_nothing_outside_of_the_tree_is_shown(tree: Path, source: str) -> None:
    told = read_sources(tree, [alone(source, "f")])
    assert told.excerpts == ()
    assert "secret;" not in repr(told)


@pytest.mark.parametrize("source", ["?", "x", "mm/memory.c"])
def test_what_is_no_line_is_not_looked_for(tree: Path, source: str) -> None:
    assert read_sources(tree, [alone(source)]).excerpts == ()


def test_the_first_and_the_last_line_have_fewer_neighbours(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n\n\n\n\n\n\n\n\nint g(void) { x(); }")
    told = read_sources(tmp_path, [alone("a.c:1", "f"), alone("a.c:10", "g")])
    assert [(one.first, len(one.lines)) for one in told.excerpts] == [(1, 10)]
