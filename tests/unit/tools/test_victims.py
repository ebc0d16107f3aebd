"""What the tests expect to find in the pages of the lab kernel's victims."""

from __future__ import annotations

from tests.victims import FREE, MORE, REFS, left_in_page, victims, was_struck_again

SAID = victims("""\
zaptrace: victim stale pid 44 zapper 44 addr 0x3ff7fc78000 pfn 1589 freed
zaptrace: victim overput pid 46 zapper 46 addr 0x3ff8d4fa000 pfn 1589 quiet
zaptrace: victim stale pid 44 zapper 44 addr 0x3ff7fc79000 pfn 1600 freed
zaptrace: victim leak pid 47 zapper 47 addr 0x3ff8d4fb000 pfn 1700 loud
zaptrace: victim rss pid 48 zapper 48 addr 0x3ff8d4fb000 pfn 1700 quiet
zaptrace: victim stale-large pid 49 zapper 49 addr 0x3ff8d500000 pfn 1760 freed
zaptrace: victim cow pid 50 zapper 50 addr 0x3ff8d5fb000 pfn 1765 loud
""")


def test_a_freed_page_may_be_the_next_victims() -> None:
    """In CI the page that `stale` freed and still mapped was given to `overput`, and struck."""
    assert left_in_page(1589, SAID) == {FREE, MORE, REFS}
    assert left_in_page(1600, SAID) == {FREE, MORE}
    assert left_in_page(1700, SAID) == set(), "what is wrong with an mm is not in a page"
    assert [was_struck_again(pfn, SAID) for pfn in (1589, 1600, 1700)] == [True, False, False]


def test_so_may_each_page_of_a_large_folio_that_was_freed() -> None:
    assert left_in_page(1765, SAID) == left_in_page(1760, SAID) == {FREE, MORE, REFS}
    assert was_struck_again(1765, SAID) and not was_struck_again(1760, SAID)
    assert left_in_page(1759, SAID) == left_in_page(1776, SAID) == set()
