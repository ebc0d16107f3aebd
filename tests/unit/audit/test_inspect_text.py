"""What `inspect --pfn`, `--pid` and `--address` print about views that the test made."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.audit.inspect_words import FREED, parse
from zaptrace.audit.inspect import AddressView, PageView, ProcessView
from zaptrace.audit.page_use import PageUse
from zaptrace.audit.pagetables.translate import EntryKind, Step
from zaptrace.audit.references import Account, Holder
from zaptrace.cli import inspect, inspect_text
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import Owner

OWNER = Owner(28, "init", 0x3FFFFFFB000, "3ffffffb000-3ffffffc000 rw-p [stack]", 0xF9C000)
FOLIO = {
    "pfn": 2688,
    "order": 4,
    "kind": "anon",
    "free": False,
    "mapping": 0xF00D1,
    "index": 16,
    "mappings": 3,
}
BESIDE = {"pfn": 2689, "kind": "not in the dump", "ptes": 0, "mapcount": None, "refcount": 0}
OWNED = {
    "allocated": True,
    "order": 0,
    "pid": 28,
    "comm": "init",
    "ts_ns": 1_234_567_890,
    "stack": ["__alloc_pages+0x120", "vma_alloc_folio+0x3c"],
    "free_pid": None,
    "free_ts_ns": 1_000_000_000,
    "free_stack": ["free_unref_page+0x40"],
}
PAGE = PageView(
    pfn=2688,
    page=0x37200017680,
    kind="anon",
    flags=("uptodate", "swapbacked"),
    ptes=0,
    raw_mapcount=0,
    mapcount=1,
    refcount=0,
    folio=FOLIO,
    mappings=(OWNER,),
    neighbours=(BESIDE,),
    finding=FREED,
    references=Account(3, (Holder("PTEs", 1, "init/28"), Holder("page cache", 1)), 1, ("pipes",)),
    use=PageUse(
        free_list=None,
        slab=None,
        file={"path": "/lib/libc.so.6", "filesystem": "tmpfs", "inode": 12, "index": 16},
        swap=None,
        cgroup="/user.slice",
        owner=OWNED,
        content=False,
        lost=("slab",),
    ),
)
big = st.integers(0, 2**64 - 1)
words = st.text("abc-/|", min_size=1, max_size=90)
counts = st.integers(-(2**31), 2**31)
holders = st.builds(Holder, st.sampled_from(["PTEs", "pipe", "pins"]), counts, st.none() | words)
accounts = st.builds(
    Account,
    st.integers(-(2**31), 2**31),
    st.lists(holders, max_size=4).map(tuple),
    st.integers(-(2**31), 2**31),
    st.lists(words, max_size=2).map(tuple),
)
uses = st.builds(
    PageUse,
    st.none() | words,
    st.none() | st.fixed_dictionaries({"cache": words, "in_use": big, "objects": big}),
    st.none()
    | st.fixed_dictionaries(
        {"path": st.none() | words, "filesystem": words, "inode": big, "index": big}
    ),
    st.none() | st.fixed_dictionaries({"type": big, "offset": big, "file": st.none() | words}),
    st.none() | words,
    st.none() | st.just(OWNED),
    st.booleans(),
    st.lists(words, max_size=3).map(tuple),
)
pages = st.builds(
    PageView,
    pfn=st.integers(0, 2**52),
    page=big,
    kind=st.sampled_from(["anon", "free", "not initialised"]),
    flags=st.lists(words, max_size=20).map(tuple),
    ptes=st.integers(0, 2**31),
    raw_mapcount=st.integers(-(2**31), 2**31),
    mapcount=st.none() | st.integers(-(2**31), 2**31),
    refcount=st.integers(-(2**31), 2**31),
    folio=st.fixed_dictionaries(dict.fromkeys(FOLIO, big)),
    mappings=st.lists(st.builds(Owner, st.none(), words, big, words), max_size=3).map(tuple),
    neighbours=st.just((BESIDE,)),
    finding=st.none() | st.just(FREED),
    references=accounts,
    use=uses,
)
steps = st.builds(
    Step,
    level=st.sampled_from(["region second", "pte"]),
    table=big,
    index=st.integers(0, 2047),
    entry=st.none() | big,
    kind=st.sampled_from([kind for kind in EntryKind if kind is not EntryKind.LEAF]),
    flags=st.lists(words, max_size=12).map(tuple),
    target=st.none(),
)


@settings(max_examples=60, deadline=None)
@given(pages, st.lists(steps.filter(lambda step: step.kind is not EntryKind.TABLE), max_size=5))
def test_every_view_fits_80_columns_and_json(page: PageView, way: list[Step]) -> None:
    address = AddressView(OWNER, tuple(way), page.pfn, page)
    for line in (*inspect_text.page_lines(page), *inspect_text.address_lines(address)):
        assert len(line) <= 80
    assert json.loads(json.dumps(address.to_json()))["page"]["pfn"] == page.pfn


def test_a_page_shows_its_counters_its_folio_its_owner_and_what_is_wrong() -> None:
    text = "\n".join(inspect_text.page_lines(PAGE))
    assert "0 PTEs, mapcount 1 (stored as 0), refcount 0" in text
    assert "order 4, 3 mappings, mapping 0xf00d1" in text
    assert "init/28 at 0x3ffffffb000" in text
    assert "refcount_below_mapcount" in text
    held = Account(1, (Holder("PTEs", 1, "init/28"),), 0, ())
    use = dataclasses.replace(PAGE.use, lost=())
    well = dataclasses.replace(PAGE, finding=None, mapcount=0, references=held, use=use)
    assert "\n".join(inspect_text.page_lines(well)).endswith("nothing is wrong with this page")


def test_a_page_shows_who_holds_its_references_and_what_it_is_in_use_for() -> None:
    text = "\n".join(inspect_text.page_lines(PAGE))
    assert "references  3 of the folio" in text
    assert "1  PTEs  init/28" in text
    assert "1  unexplained: leaked, or held by" in text
    assert "not looked at: pipes" in text
    assert "/lib/libc.so.6 (tmpfs), page 0x10 of it" in text
    assert "/user.slice" in text
    assert "allocated by init/28, order 0, at 1.234568 s" in text
    assert "content     not in the dump" in text
    assert "lost        slab" in text


def test_a_page_with_references_that_nothing_explains_is_not_called_well() -> None:
    leaky = dataclasses.replace(PAGE, finding=None, mapcount=0)
    assert "1 reference is not explained" in "\n".join(inspect_text.page_lines(leaky))


def test_a_page_that_was_not_judged_is_not_called_well() -> None:
    hidden = "\n".join(inspect_text.page_lines(dataclasses.replace(PAGE, finding=None)))
    assert "nothing is wrong with" not in hidden
    assert "does not prove anything wrong" in hidden


def test_of_a_page_whose_struct_page_is_missing_no_counter_is_printed() -> None:
    gone = dataclasses.replace(
        PAGE, kind="not in the dump", flags=(), references=None, finding=None, folio=None
    )
    gone = dataclasses.replace(gone, raw_mapcount=None, mapcount=None, refcount=None)
    text = "\n".join(inspect_text.page_lines(gone))
    assert "counters    0 PTEs; nothing else is known of its struct page" in text
    assert "refcount 0" not in text
    assert "references" not in text
    assert text.endswith("whether anything is wrong with this page cannot be told")
    assert gone.to_json()["references"] is None


def test_a_page_of_which_not_all_could_be_read_is_called_well_as_far_as_that_goes() -> None:
    held = Account(1, (Holder("PTEs", 1, "init/28"),), 0, ("some page tables",))
    text = "\n".join(
        inspect_text.page_lines(
            dataclasses.replace(PAGE, finding=None, mapcount=0, references=held)
        )
    )
    assert text.endswith("nothing is wrong with this page, as far as it could be read")


def test_a_process_shows_where_its_counters_differ() -> None:
    rss = {"MM_FILEPAGES": (3, 3), "MM_ANONPAGES": (9, 8)}
    view = ProcessView(
        OWNER, (28, 29), rss, {"swap": 2}, (("1000-2000 rw-p [heap]", 1),), None, (FREED,)
    )
    text = "\n".join(inspect_text.process_lines(view))
    assert "3 recorded, 3 mapped\n" in text
    assert "9 recorded, 8 mapped  <- differs" in text
    assert "      1  1000-2000 rw-p [heap]" in text
    assert json.loads(json.dumps(view.to_json()))["rss"]["MM_ANONPAGES"]["mapped"] == 8


def test_numbers_are_taken_as_people_write_them_and_a_pfn_is_asked_for_alone() -> None:
    assert parse("core", "--pfn", "0x5da").pfn == parse("core", "--pfn", "1498").pfn == 0x5DA
    args: argparse.Namespace = parse("core", "--pfn", "1", "--pid", "2")
    with pytest.raises(BadInput, match="--pfn"):
        inspect.run(args)
    assert args.vmcore == Path("core")
