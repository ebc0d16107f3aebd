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
        # With what Python compiled of them: it knows by a file's time and size what has changed.
        for package in ("zaptrace", "probes", "tui", "vm"):
            shutil.copytree(ROOT / package, folder / package)

    def insert(self, file: str, before: str, text: str) -> None:
        """Put some lines in front of the one place that reads `before`."""
        path = self._folder / file
        source = path.read_text()
        assert source.count(before) == 1, f"{before!r} is in {file} {source.count(before)} times"
        path.write_text(source.replace(before, text + before))
        self.touched.add(file)

    def replace(self, file: str, old: str, new: str) -> None:
        """Change the one place that reads `old`."""
        path = self._folder / file
        source = path.read_text()
        assert source.count(old) == 1, f"{old!r} is in {file} {source.count(old)} times"
        path.write_text(source.replace(old, new))
        self.touched.add(file)

    def add(self, file: str, text: str) -> None:
        """Add a file."""
        (self._folder / file).write_text(text)
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


ARCHITECTURE = """
import json
import numpy as np
from zaptrace.arch import ARCHES, NAMES, arch_of_elf
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.audit.pagetables.table_format import any_of
from zaptrace.kernel.machinecode import decoder_of
from zaptrace.cli.main import build_parser
from vm import packages
from vm.qemu import GuestConfig, command_line
from pathlib import Path

arm64 = ARCHES["arm64"]
fmt = FORMATS["arm64"]
guest = GuestConfig(arm64, Path("Image"), None, "quiet", Path("console"))
print(json.dumps({
    "elf": arch_of_elf("vmlinux", 183, "little").name,
    "help": NAMES,
    "packages": "qemu-system-arm" in packages.needed(tests=False),
    "qemu": command_line(guest)[0],
    "page": 1 << fmt.page_shift,
    "huge": fmt.leaf_pages,
    "leaf": any_of(fmt.levels[-1].leaf, np.array([0x3, 0x0], np.uint64)).tolist(),
    "branch": decoder_of(arm64)(bytes.fromhex("00000014"), 0).kind,
}))
"""
ARM64 = '''
"""arm64 (AArch64): invented as far as this test needs it."""
import dataclasses

from zaptrace.arch.arch import VectorTable
from zaptrace.arch.page_tables import EntryFlags, Level, Match, PageTables, SwapEncoding
from zaptrace.arch.x86_64 import X86_64

_X = tuple(f"x{number}" for number in range(31))
_ORIGIN = 0x0000FFFFFFFFF000


def _level(name, shift):
    return Level(name, shift, 512, leaf=(Match(3, 1),), leaf_origin=_ORIGIN, table=(Match(3, 3),),
                 table_origin=_ORIGIN, empty=(Match(2**64 - 1, 0),))


ROW = dataclasses.replace(
    X86_64, name="arm64", debian="arm64", stock_flavour="arm64", kernel_arch="arm64",
    kernel_folder="arch/arm64", cross="aarch64-linux-gnu-",
    packages=(("gcc-aarch64-linux-gnu",), ("qemu-system-arm",)), make_target="Image",
    image="arch/arm64/boot/Image", build_steps={"repro": 1000, "live": 1000},
    qemu="qemu-system-aarch64", machine=("-M", "virt"), virtio="pci",
    console=("-serial", "chardev:console"), append="console=ttyAMA0", gdb_instruction=4,
    patches_running_code=True, elf_machine=183, byteorder="little", dwarf_registers=_X,
    argument_registers=_X[:8], return_address="%x30",
    pt_regs_words={name: number for number, name in enumerate(_X)},
    pt_regs_members={name: f"regs[{number}]" for number, name in enumerate(_X)},
    prstatus=(*_X, "sp", "pc", "pstate"), program_counter="pc", stack_pointer="sp",
    user_mode=("pstate", 15, 0),
    bpf_syscall=280, perf_event_open_syscall=241, command_line_size=2048,
    vector_table=VectorTable(lowcore=None, gate=0), vector_handlers=("vectors",), pmd_size=1 << 21,
    vmemmap=(("vmemmap", 0),), vmemmap_size=(1 << 38,), direct_map=(0xFFFF000000000000,),
    kernel_code=None, vmcoreinfo_pointer=None, identity_base=None, lock_holder_mask=0,
    page_tables=PageTables(
        levels=(_level("pgd", 39), _level("pud", 30), _level("pmd", 21),
                Level("pte", 12, 512, leaf=(Match(3, 3),), leaf_origin=_ORIGIN,
                      empty=(Match(2**64 - 1, 0),), swap=(Match(3, 0),))),
        special=1 << 56, large_special=0, large_devmaps=(), user_end=1 << 48,
        readable=1 << 6, writable=1 << 51,  # PTE_USER, PTE_DBM
        noexec=1 << 54, large_rights=True,
        flags=EntryFlags((), (), ()),
        swap=SwapEncoding(pte_type=(3, 31), large_type=(3, 31), inverted=False, left=0, right=8),
    ),
)
'''
DECODER = '''
"""arm64 machine code: B alone."""
from zaptrace.kernel.machinecode.instruction import JUMP, Instruction


def instruction_at(code, at):
    """Return the instruction at an index of some code."""
    word = int.from_bytes(code[at : at + 4], "little")
    return Instruction(4, JUMP, (word & 0x3FFFFFF) * 4) if word >> 26 == 5 else Instruction(4)
'''


def test_an_architecture_is_its_row_a_decoder_and_two_functions(tree: Tree) -> None:
    tree.add("zaptrace/arch/arm64.py", ARM64)
    rows = "zaptrace/arch/__init__.py"
    tree.insert(rows, "from zaptrace.arch.s390x import", "from zaptrace.arch import arm64\n")
    tree.replace(rows, "(S390X, X86_64)", "(S390X, X86_64, arm64.ROW)")
    tree.add("zaptrace/kernel/machinecode/arm64.py", DECODER)
    decoders = "zaptrace/kernel/machinecode/__init__.py"
    tree.insert(decoders, '    "s390x": s390x.', '    "arm64": arm64.instruction_at,\n')
    tree.replace(decoders, "import s390x, x86_64", "import arm64, s390x, x86_64")
    arches = "zaptrace/audit/pagetables/arches.py"
    tree.replace(arches, '"s390x": _s390x,', '"arm64": _x86_64, "s390x": _s390x,')
    found = tree.run(ARCHITECTURE)
    assert found == {
        "elf": "arm64",
        "help": "s390x or x86_64 or arm64",
        "packages": True,
        "qemu": "qemu-system-aarch64",
        "page": 4096,
        "huge": [1 << 27, 1 << 18, 512, 1],
        "leaf": [True, False],
        "branch": "jump",
    }
    # And vm/kconfig/arm64.config, for a lab kernel of it.
    assert tree.touched == {
        "zaptrace/arch/arm64.py",
        rows,
        "zaptrace/kernel/machinecode/arm64.py",
        decoders,
        arches,
    }
