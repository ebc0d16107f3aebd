"""`make lives`: which boots are left, and what is wrong of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests import lives
from tests.lives import HEALTHY, STOPPED, Boot, kept, kept_of_before, left, table, wrong
from zaptrace.life.record_layout import RECORD


def boot(**changed: object) -> Boot:
    one: Boot = {"qemu": "host", "version": "7.2.22", "arch": "s390x", "what": STOPPED, "number": 0}
    one |= {"kind": "freed_before_rmap_removed", "why": "", "stores": 9, "words": 8, "differ": 0}
    one |= {"commit": "aaa", "named": [], "unseen": [], "pages": 0, "strays": [], "left": []}
    return {**one, **changed}


def test_a_boot_is_fine_or_says_what_is_wrong() -> None:
    assert wrong(boot()) == [] == wrong(boot(what=HEALTHY, kind="clean"))
    assert wrong(boot(kind="clean", why="quiet")) == ["verdict clean: quiet"]
    assert wrong(boot(kind=None, why="no QEMU")) == ["verdict None: no QEMU"]
    assert wrong(boot(differ=1, named=[(5, 8, 1, 2)])) == ["1 words differ: [(5, 8, 1, 2)]"]
    assert wrong(boot(differ=None)) == ["None words differ: []"]
    over = boot(unseen=["full"], strays=["a"], left=["b", "c"])
    assert wrong(over) == ["not recorded: full", "stray store: a", "left over: b", "left over: c"]


def test_boots_that_were_made_are_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "lives.json"
    assert kept(path) == []
    path.write_text(json.dumps([boot(), boot(number=1, kind=None)]))
    found = kept(path)
    assert found == [boot()]
    counts = {STOPPED: 2, HEALTHY: 1}
    assert list(left(found, counts, ["host"], ["s390x"])) == [
        ("host", "s390x", HEALTHY, 0),
        ("host", "s390x", STOPPED, 1),
    ]


def test_it_says_what_stands_already(tmp_path: Path) -> None:
    path = tmp_path / "lives.json"
    assert kept_of_before([], path, 240) == "240 boots to make"
    made = [boot(), boot(number=1), boot(number=2, commit="bbb")]
    said = kept_of_before(made, path, 237)
    assert said.startswith(f"237 boots to make; 3 stand in {path} (")
    assert said.endswith(", bbb): remove it to begin anew")


def test_its_table_has_a_line_for_each_kind() -> None:
    lines = list(table([boot(), boot(number=1, differ=3), boot(arch="x86_64", strays=["a"])]))
    assert lines[1].split() == ["7.2.22", "s390x", "stopped", "1/2", "3", "0", "0"]
    assert lines[2].split() == ["7.2.22", "x86_64", "stopped", "0/1", "0", "1", "0"]


def test_an_instruction_is_looked_at_with_each_of_its_callers() -> None:
    records = np.zeros(3, RECORD)
    records["pc"], records["stack"] = (7, 7, 9), (1, 1, 2)
    keys = lives._callers_of_instructions(records)
    assert np.unique(keys, axis=1).tolist() == [[7, 9], [1, 2]]
