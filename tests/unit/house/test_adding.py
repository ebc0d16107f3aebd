"""What it takes to add a thing: a copy of the sources, in which exactly so many files change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.kernel.conftest import compile_mimic, compiler

ROOT = Path(__file__).parents[3]


class Tree:
    """A copy of the sources.

    Attributes:
        touched: the files that were changed, by their paths in the tree.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.touched: set[str] = set()
        for package in ("zaptrace", "probes", "tui"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)

    def insert(self, file: str, before: str, text: str) -> None:
        """Put some lines in front of the one place that reads `before`."""
        path = self._folder / file
        source = path.read_text()
        assert source.count(before) == 1, f"{before!r} is in {file} {source.count(before)} times"
        path.write_text(source.replace(before, text + before))
        self.touched.add(file)

    def run(self, script: str, *args: object) -> Any:
        """What a program that sees the copy, and not us, prints as JSON."""
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, args)],
            cwd=self._folder,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree")


EVENT = """
import json, sys
from pathlib import Path
import zaptrace
from probes import boot_kprobes, bpfprogram
from probes.filters import Filters
from tui.format import detail, page
from tui.feed.symbols import Names
from zaptrace.kernel.plan import make_plan
from zaptrace.model.event_filter import compile
from zaptrace.model.events import Events, Kind, blank
from zaptrace.report.event_lines import JsonLines, Plain

plan = make_plan(Path(sys.argv[1]))
record = blank(1)
record["kind"], record["pfn"] = Kind.RMAP_ADD, 0xA80
events = Events(record)
print(json.dumps({
    "source": zaptrace.__file__,
    "sites": [(one.symbol, sorted(one.args)) for one in plan.sites if one.event == "rmap_add"],
    "missing": [one.why for one in plan.missing if one.event == "rmap_add"],
    "bpf": bpfprogram.render(plan, Filters()).text.count("int site_") - len(plan.sites),
    "boot": boot_kprobes.render(plan).bootconfig,
    "plain": list(Plain()(events)),
    "json": [json.loads(line)["kind"] for line in JsonLines()(events)],
    "tui": page(record) + detail(record, Names()),
    "kept": compile("kind=rmap_add")(record).tolist(),
}))
"""


def test_an_event_is_two_files(tree: Tree, tmp_path: Path) -> None:
    tree.insert("zaptrace/model/events.py", "    ZAP_ENTER = 7\n", "    RMAP_ADD = 8\n")
    tree.insert(
        "zaptrace/model/events.py",
        "    Kind.LOST: EventKind(",
        """    Kind.RMAP_ADD: EventKind(
        help="a page's mapcount goes up",
        mark="+",
        style="rmap",
        frequent=True,
        with_stack=False,
        spans_pages=True,
        about_page=True,
        charted=False,
    ),
""",
    )
    tree.insert(
        "zaptrace/kernel/targets.py",
        """    Target(
        event="bad_page",""",
        """    Target(
        event="rmap_add",
        functions=(("folio_add_anon_rmap_ptes",),),
        wanted=("page", "raw_mapcount", "refcount", "caller"),
    ),
""",
    )
    flags = "-O1 -gdwarf-5 -Dreport=folio_add_anon_rmap_ptes"
    mimic = compile_mimic(tmp_path, compiler("gcc"), flags, driver=False)
    seen = tree.run(EVENT, mimic)
    assert str(tmp_path) in seen["source"]
    wanted = ["caller", "page", "raw_mapcount", "refcount"]
    assert seen["sites"] == [["folio_add_anon_rmap_ptes", wanted]]
    assert seen["missing"] == []
    assert seen["bpf"] == 0
    assert "folio_add_anon_rmap_ptes" in seen["boot"]
    assert "rmap_add" in seen["plain"][-1] and "0xa80" in seen["plain"][-1]
    assert seen["json"] == ["rmap_add"]
    assert seen["tui"].startswith("0xa80")
    assert seen["kept"] == [True]
    assert tree.touched == {"zaptrace/model/events.py", "zaptrace/kernel/targets.py"}


VERDICT = """
import json
from tui.screens.verdict_screen import headline
from zaptrace.explain import Evidence, explain
from zaptrace.report.document import summary
from zaptrace.report.run_info import RunInfo
from zaptrace.report.text import render
from zaptrace.splat import parse_console

log = (
    b"[    1.0] BUG: Bad page state in process init  pfn:005ea\\n"
    b"[    1.0] page:0000000012345678 refcount:0 mapcount:1 index:0x1 pfn:0x5ea\\n"
)
verdict = explain(Evidence(None, tuple(parse_console(log))))
info = RunInfo(run="run")
print(json.dumps({
    "kind": summary(verdict, info)["verdict"]["kind"],
    "summary": verdict.summary,
    "mail": render(verdict, info),
    "title": headline(verdict),
}))
"""


def test_a_verdict_is_two_files(tree: Tree) -> None:
    tree.insert("zaptrace/model/verdict.py", "    CLEAN = ", '    DOUBLE_FREE = "double_free"\n')
    tree.insert(
        "zaptrace/explain/verdict_table.py",
        """    Rule(
        name="overput",""",
        """    Rule(
        name="double_free",
        kind=VerdictKind.DOUBLE_FREE,
        applies=lambda case: case.story.state is not None,
        summary=lambda case: iter([Sentence(f"pfn {case.story.pfn:#x} was freed twice.")]),
        subject="page freed twice",
        headline="freed twice",
        cleared_in_zap=False,
    ),
""",
    )
    seen = tree.run(VERDICT)
    assert seen["kind"] == "double_free"
    assert seen["summary"].startswith("pfn 0x5ea was freed twice.")
    assert "page freed twice" in seen["mail"]
    assert seen["title"].startswith("✖ freed twice · pfn 0x5ea")
    assert tree.touched == {"zaptrace/model/verdict.py", "zaptrace/explain/verdict_table.py"}


MEMBER = """
import json, sys
from pathlib import Path
from zaptrace.kernel.plan import make_plan

plan = make_plan(Path(sys.argv[1]))
print(json.dumps({
    "offset": plan.offsets.get("page._refcount"),
    "fetched": sorted({
        one.event for one in plan.sites
        if "refcount" in one.args and one.args["refcount"].location is not None
    }),
}))
"""


def test_a_renamed_member_is_one_row(tree: Tree, tmp_path: Path) -> None:
    """A kernel whose struct page has `_refs` for `_refcount`: unknown without the row."""
    flags = "-O1 -gdwarf-5 -D_refcount=_refs"
    mimic = compile_mimic(tmp_path, compiler("gcc"), flags, driver=False)
    assert tree.run(MEMBER, mimic) == {"offset": None, "fetched": []}
    tree.insert("zaptrace/kernel/targets.py", '"_refcount",)),', '"_refs", ')
    seen = tree.run(MEMBER, mimic)
    assert seen["offset"] == 52
    assert "rmap_remove" in seen["fetched"]
    assert tree.touched == {"zaptrace/kernel/targets.py"}
