"""What the tests expect to find in the pages of the lab kernel's victims."""

from __future__ import annotations

from tests.victims import FREE, MORE, REFS, left_in_page, victims

SAID = """\
zaptrace: victim stale pid 44 zapper 44 addr 0x3ff7fc78000 pfn 1589 freed
zaptrace: victim overput pid 46 zapper 46 addr 0x3ff8d4fa000 pfn 1589 quiet
zaptrace: victim stale pid 44 zapper 44 addr 0x3ff7fc79000 pfn 1600 freed
zaptrace: victim leak pid 47 zapper 47 addr 0x3ff8d4fb000 pfn 1700 loud
zaptrace: victim rss pid 48 zapper 48 addr 0x3ff8d4fb000 pfn 1700 quiet
"""


def test_a_freed_page_may_be_the_next_victims() -> None:
    """In CI the page that `stale` freed and still mapped was given to `overput`, and struck."""
    said = victims(SAID)
    reused, struck_again, freed, loud, _ = said
    assert left_in_page(reused, said) == left_in_page(struck_again, said) == {FREE, MORE, REFS}
    assert left_in_page(freed, said) == {FREE, MORE}
    assert left_in_page(loud, said) == set(), "what is wrong with an mm is not in a page"
