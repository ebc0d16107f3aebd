"""QEMU's plugin: built once, and refused by QEMU with one line where it cannot work."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.unit.life.builders import page_fields
from vm import plugin
from vm.plugin import Plugin
from vm.qemu import GuestConfig, command_line
from zaptrace.arch import ARCHES
from zaptrace.life.record_layout import ALIAS, MORE, NODE, SHARED, STORAGE, VALID, VALUE
from zaptrace.life.recording import Recording
from zaptrace.life.records import Facts, recorded
from zaptrace.model.errors import CannotTell, Missing

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-s390x") is None, reason="QEMU is not installed: make setup"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own, with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "zaptrace/plugins"


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the plugin has been built: half a second."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert plugin.build().parent == folder / "zaptrace/plugins"
    return folder / "zaptrace/plugins"


@pytest.fixture
def full_cache(cache: Path, built_once: Path) -> Path:
    """A cache of one's own, with the plugin in it."""
    return Path(shutil.copytree(built_once, cache, dirs_exist_ok=True))


@needs_gcc
def test_it_is_built_once_and_kept(full_cache: Path) -> None:
    (first,) = full_cache.glob("*.so")
    before = first.stat().st_mtime_ns
    built = plugin.build()
    assert built == first and built.stat().st_mtime_ns == before


@needs_gcc
@pytest.mark.usefixtures("full_cache")
def test_another_source_is_another_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    built = plugin.build()
    monkeypatch.setattr(plugin, "FLAGS", (*plugin.FLAGS, "-DOTHER", "-O0"))
    assert plugin.build() != built


@pytest.mark.usefixtures("cache")
def test_no_compiler_is_said_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "COMPILER", "no-such-gcc")
    with pytest.raises(Missing, match="no-such-gcc is not installed") as caught:
        plugin.build()
    assert caught.value.hint == "apt-get install no-such-gcc"


@needs_gcc
def test_what_does_not_compile_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "FLAGS", (*plugin.FLAGS, "-DEXPORT=broken(", "-Wfatal-errors"))
    with pytest.raises(CannotTell, match=r"cannot build QEMU's plugin: .*error"):
        plugin.build()
    assert not list(cache.glob("*.so"))


@pytest.mark.parametrize(
    ("memory", "number"), [("512M", 512 << 20), ("64", 64 << 20), ("2g", 2 << 30), ("8K", 8192)]
)
def test_its_arguments_are_qemus(memory: str, number: int, tmp_path: Path) -> None:
    some = Plugin(tmp_path / "a,b.so", 7, ((0x1000, 0x2000), (0x3000, 0x4000)), 16)
    assert some.argument(memory) == (
        f"file={tmp_path}/a,,b.so,out=/proc/self/fd/7,ram={number},"
        "text=1000-2000,text=3000-4000,stack=16"
    )


def test_who_boots_by_hand_does_without(tmp_path: Path) -> None:
    some = Plugin(tmp_path / "life.so", 7, ((0x1000, 0x2000),))
    arch = ARCHES["s390x"]
    config = GuestConfig(arch, tmp_path / "image", None, "", tmp_path / "log", plugin=some)
    assert "-plugin" in command_line(config, tmp_path)
    assert "-plugin" not in command_line(config)


def _refused(library: Path, fd: int, *arguments: str) -> str:
    """What QEMU says of it."""
    words = ",".join((f"file={library}", *arguments))
    argv = ["qemu-system-s390x", "-M", "none", "-display", "none", "-nodefaults", "-plugin", words]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=60, pass_fds=(fd,)
    )
    assert done.returncode > 0
    return done.stderr.splitlines()[0]


@needs_gcc
@needs_qemu
@pytest.mark.usefixtures("full_cache")
def test_what_it_cannot_use_it_refuses_in_one_line(tmp_path: Path) -> None:
    library = plugin.build()
    nothing = tmp_path / "nothing"
    nothing.write_bytes(bytes(4096))
    with Recording(records=10, nodes=10) as some:
        fd, out = some.fd, f"out=/proc/self/fd/{some.fd}"
        said = _refused(library, fd, out)
        assert said == "zaptrace's plugin: out= and text= are needed"
        assert "bad text=5-5" in _refused(library, fd, out, "text=5-5")
        assert "bad stack=99" in _refused(library, fd, out, "text=1-2", "stack=99")
        assert "no such argument: x=1" in _refused(library, fd, out, "x=1")
        assert "cannot map /none" in _refused(library, fd, "out=/none", "text=1-2")
        said = _refused(library, fd, f"out={nothing}", "text=1-2")
        assert said == f"zaptrace's plugin: not laid out by this zaptrace: {nothing}"
        _spoil(fd, "max_records", 2**61)
        assert "not laid out" in _refused(library, fd, out, "text=1-2")
        _spoil(fd, "max_records", 10)
        _spoil(fd, "nodes_at", 4)
        assert "not laid out" in _refused(library, fd, out, "text=1-2")


def _spoil(fd: int, field: str, value: int) -> None:
    shared = np.zeros(1, SHARED)
    shared[field] = value
    offset = dict(SHARED.fields or {})[field][1]
    os.pwrite(fd, shared[field].tobytes(), offset)


class _Machine(ctypes.Structure):
    """struct machine of plugin.h."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char_p),
        ("hook", ctypes.c_void_p),
        ("quiet", ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_char_p, ctypes.c_size_t)),
    ]


STORES = {
    # What no struct page can be hit by: all of it is in the stack.
    "stmg %r6,%r15,48(%r15)": ("eb6ff0300024", True),
    "stg %r1,160(%r15)": ("e310f0a00024", True),
    "st %r1,160(%r15)": ("5010f0a0", True),
    "mvi 163(%r15),1": ("9201f0a3", True),
    "mvghi 160(%r15),0": ("e548f0a00000", True),
    "mvc 160(8,%r15),0(%r2)": ("d207f0a02000", True),
    "xc 160(8,%r15),160(%r15)": ("d707f0a0f0a0", True),
    "stosm 160(%r15),3": ("ad03f0a0", True),
    "lg %r1,0(%r2)": ("e31020000004", True),
    "clc 0(8,%r2),0(%r3)": ("d50720003000", True),
    "rll %r1,%r2,8": ("eb120008001d", True),
    "locgr %r1,%r2": ("b9e28012", True),
    "strl %r1,.": ("c41f00000000", True),
    # And what may be anywhere.
    "stg %r1,0(%r3)": ("e31030000024", False),
    "stg %r1,0(%r3,%r15)": ("e313f0000024", False),
    "st %r1,0(%r3,%r15)": ("5013f000", False),
    "stmg %r6,%r15,48(%r5)": ("eb6f50300024", False),
    "mvc 0(8,%r2),160(%r15)": ("d2072000f0a0", False),
    "mvi 0(%r2),1": ("92012000", False),
    "asi 52(%r1),1": ("eb011034006a", False),
    "cs %r1,%r2,0(%r15)": ("ba12f000", False),
    "stocg %r1,0(%r2)": ("eb18200000e3", False),
    "laa %r1,%r2,0(%r3)": ("eb12300000f8", False),
    "exrl %r1,.": ("c61000000000", False),
    "trot %r2,%r4": ("b9920024", False),
}
STORES_OF_X86 = {
    "push %rbx": ("53", True),
    "push %r12": ("4154", True),
    "call .": ("e800000000", True),
    "call *(%rax)": ("ff10", True),
    "pop %rbx": ("5b", True),
    "mov %rax,8(%rsp)": ("4889442408", True),
    "mov %r9,0x100(%rsp)": ("4c898c2400010000", True),
    "movq $1,(%rsp)": ("48c7042401000000", True),
    "add %rax,8(%rsp)": ("4801442408", True),
    "incl 8(%rsp)": ("ff442408", True),
    "mov 8(%rax),%rbx": ("488b5808", True),
    # And what may be anywhere.
    "mov %rax,8(%r12)": ("4989442408", False),
    "mov %rax,8(%rsp,%rbx)": ("4889441c08", False),
    "mov %rax,8(%rsp,%r12)": ("4a89442408", False),
    "mov %rax,8(%rax)": ("48894008", False),
    "mov %rax,%gs:8(%rsp)": ("654889442408", False),
    "incl 8(%rax)": ("ff4008", False),
    "lock incl 8(%rsp)": ("f0ff442408", False),
    "rep stosq": ("f348ab", False),
    "fxsave (%rsp)": ("0fae0424", False),
}


RAM, RANGE, RANGE_AT = 1 << 20, 0x37200000000, 0x80000
"""Bytes of the guest; where its struct pages are, and from where on in its memory."""
OF_QEMU = f"""
#include "{Path(plugin.__file__).parent}/plugin.h"
struct qemu_plugin_hwaddr {{ bool is_io, is_store; const uint8_t *host; }};
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info) {{ return info < 16; }}
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info) {{ return info & 15; }}
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info, uint64_t va)
{{
	static struct qemu_plugin_hwaddr found;

	(void)info;
	found.host = ram + (va < {RAM} ? va : va - {RANGE} + {RANGE_AT});
	return &found;
}}
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *at) {{ return at->is_io; }}
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *at)
{{
	return at->host - ram;
}}
"""
"""What stands in for QEMU 7.2: a store's size is 1 << info; from 16 on it is a load."""


@pytest.fixture(scope="module")
def visible(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin with its functions visible and QEMU's stood in for: half a second."""
    folder = tmp_path_factory.mktemp("plugin")
    library, of_qemu = folder / "life.so", folder / "qemu.c"
    of_qemu.write_text(OF_QEMU)
    flags = [
        "-fvisibility=default" if one == "-fvisibility=hidden" else one for one in plugin.FLAGS
    ]
    sources = map(str, (*plugin.sources(), of_qemu))
    subprocess.run(["gcc", *flags, "-o", library, *sources, *plugin.LIBRARIES], check=True)
    return library


@pytest.fixture(scope="module")
def loaded(visible: Path) -> ctypes.CDLL:
    """The plugin in this process, for tests that change none of its variables."""
    return ctypes.CDLL(str(visible), os.RTLD_LAZY)


@pytest.fixture
def fresh(visible: Path, tmp_path: Path) -> ctypes.CDLL:
    """The plugin once more in this process: another file has variables of its own."""
    return ctypes.CDLL(str(shutil.copy(visible, tmp_path)), os.RTLD_LAZY)


@needs_gcc
@pytest.mark.parametrize(("name", "stores"), [("s390x", STORES), ("x86_64", STORES_OF_X86)])
def test_stores_to_the_stack_are_quiet_and_no_others(
    loaded: ctypes.CDLL, name: str, stores: dict[str, tuple[str, bool]]
) -> None:
    """Every second store of the kernel is to its stack, and costs nothing then."""
    quiet = _Machine.in_dll(loaded, name).quiet
    padded = {text: bytes.fromhex(code).ljust(16, b"\0") for text, (code, _) in stores.items()}
    found = {text: quiet(padded[text], len(code) // 2) for text, (code, _) in stores.items()}
    assert found == {text: wanted for text, (_, wanted) in stores.items()}


class _Stacks:
    """The call stacks of an s390x CPU, as the plugin follows them; each test has a CPU, and kernel
    stacks, of its own."""

    def __init__(self, loaded: ctypes.CDLL, cpu: int) -> None:
        self._plugin, self._cpu, self._stacks = loaded, cpu, cpu << 20
        shared = np.zeros(1, SHARED)
        shared["nodes_at"], shared["max_nodes"] = SHARED.itemsize, 1000
        self._memory = np.zeros(SHARED.itemsize + 1000 * NODE.itemsize, np.uint8)
        self._memory[: SHARED.itemsize] = shared.view(np.uint8)
        pointer = ctypes.c_void_p.in_dll(self._plugin, "shared")
        pointer.value = self._memory.ctypes.data
        assert self._plugin.setup_stacks(14) == 0

    def call(self, back: int, sp: int | None) -> None:
        """A call that returns to `back`; the callee saves its registers at `sp`, or not yet."""
        self._plugin.on_call(self._cpu, ctypes.c_void_p(back))
        if sp is not None:
            self._plugin.on_saved(self._cpu, 0, ctypes.c_uint64(self._stacks + sp), None)

    def reach(self, back: int) -> None:
        """The instruction after a call, by its return or by a jump."""
        self._plugin.on_return_site(self._cpu, ctypes.c_void_p(back))

    def now(self) -> list[int]:
        """The return addresses, outermost first."""
        same = ctypes.c_bool()
        code = ctypes.c_uint64(0xC0DE)
        leaf = self._plugin.node_of_store(self._cpu, code, ctypes.byref(same))
        nodes = self._memory[SHARED.itemsize :].view(NODE)
        assert nodes["address"][leaf] == code.value
        at, found = int(nodes["parent"][leaf]), []
        while at and nodes["parent"][at]:
            found.append(int(nodes["address"][at]))
            at = int(nodes["parent"][at])
        return found[::-1]


ENTRY, FAULT, COPY, STEP, OTHER = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000


@needs_gcc
def test_a_kprobe_in_a_page_fault_keeps_the_faults_stack(loaded: ctypes.CDLL) -> None:
    """6.12, s390x: __do_pgm_check() handles both; its second call of a handler ends where its first
    one returns to, which is no return from the fault's."""
    stacks = _Stacks(loaded, 0)
    stacks.call(OTHER, 0x7E98)  # another task's, interrupted by nothing
    stacks.call(ENTRY, 0xBE98)
    stacks.call(FAULT, 0xBE48)
    stacks.call(COPY, None)  # the probe stands at the callee's first instruction
    stacks.call(ENTRY, 0xBB40)
    stacks.call(STEP, 0xBAF0)
    assert stacks.now() == [ENTRY, FAULT, COPY, ENTRY, STEP]
    stacks.reach(STEP)
    stacks.reach(FAULT)
    assert stacks.now() == [ENTRY, FAULT, COPY, ENTRY]
    stacks.reach(ENTRY)
    assert stacks.now() == [ENTRY, FAULT, COPY]
    stacks.reach(COPY)
    stacks.reach(FAULT)
    assert stacks.now() == [ENTRY]
    stacks.reach(ENTRY)
    assert stacks.now() == [OTHER]


@needs_gcc
def test_a_return_that_was_not_seen_is_made_up_for(loaded: ctypes.CDLL) -> None:
    stacks = _Stacks(loaded, 1)
    for back, sp in ((ENTRY, 0xBE98), (FAULT, 0xBE48), (COPY, 0xBD00)):
        stacks.call(back, sp)
    stacks.reach(FAULT)
    assert stacks.now() == [ENTRY]


TYPE, TABLE_TYPE = 48, 0xFFFFFBFF
"""`page_type` of an s390x page table, and where it is in a struct page of 64 bytes."""


@needs_gcc
def test_stores_become_records(fresh: ctypes.CDLL) -> None:
    """Each word of a store, its aliases with the place in the range, page tables while they are."""
    memory = np.zeros(RAM, np.uint8)
    with Recording(records=1000, nodes=1000) as some:
        some.follow_tables(64, TYPE, 0xFFFFFFFF, TABLE_TYPE)
        view = mmap.mmap(some.fd, 0)
        shared = np.frombuffer(view, np.uint8)
        ctypes.c_void_p.in_dll(fresh, "shared").value = shared.ctypes.data
        ctypes.c_void_p.in_dll(fresh, "ram").value = memory.ctypes.data
        ctypes.c_uint64.in_dll(fresh, "ram_size").value = RAM
        fresh.setup_clock()
        assert fresh.setup_stacks(14) == 0 and fresh.setup_stores(False, True) == 0
        began = time.monotonic_ns()

        def store(va: int, shift: int, pc: int = 0x1000, *, value: int | None = None) -> None:
            if value is not None:
                at = va if va < RAM else va - RANGE + RANGE_AT
                memory[at : at + 4] = list(value.to_bytes(4, "big"))
            fresh.on_store(3, shift, ctypes.c_uint64(va), ctypes.c_void_p(pc))

        store(RANGE, 3)  # before the range is known
        some.arm(RANGE, 0x4000, 0)
        store(RANGE + 8, 19)  # a load
        store(RANGE_AT + 0x40, 3)  # not known to be struct pages yet
        store(RANGE - 8, 3)
        for _ in range(300):  # often enough for what is taken out of QEMU's structure
            store(RANGE + 0x40, 3)
        store(RANGE + 0x46, 2, value=7)  # over two words
        store(RANGE_AT + 0x1C2, 1)  # through the direct map
        store(RANGE_AT + 0x1000, 3)  # another page, never stored to through the range
        store(0x5008, 3)
        store(RANGE + 5 * 64 + TYPE, 2, value=TABLE_TYPE)
        store(0x5008, 3, 0x2000, value=0x1234)
        fresh.record_bytes(*map(ctypes.c_uint64, (3, 0x5010, 16, 0x3000)))
        memory[RANGE_AT + 5 * 64 + TYPE] = 0  # cleared with all of the struct page
        fresh.record_bytes(*map(ctypes.c_uint64, (3, RANGE + 5 * 64, 64, 0x3000)))
        store(0x5008, 3)
        fresh.record_bytes(*map(ctypes.c_uint64, (3, RANGE + 0x3C, 8, 0x3000)))
        facts = Facts(RANGE, 1, 1, some.fact("count"), 0, 0, 0, None, some.fact("start_ns"), 1)
        life = recorded(some.stored(), some.nodes(), page_fields(), facts, 0)
    records = life.records
    assert (records["pc"][:300] == 0x1000).all() and (records["va"][:300] == RANGE + 0x40).all()
    after = [
        (int(one["va"]) - RANGE, int(one["bytes"]), int(one["flags"])) for one in records[300:]
    ]
    known, alias, storage = VALID | VALUE, ALIAS, STORAGE
    assert after == [
        *((0x46, 2, known), (0x48, 2, known | MORE), (0x1C2, 2, known | alias)),
        (5 * 64 + TYPE, 4, known),
        *((5 * 64 + 8 * at, 8, known | storage | (MORE if at else 0)) for at in range(8)),
        *((0x3C, 4, known | storage), (0x40, 4, known | storage | MORE)),
    ]
    assert [one.tobytes()[6:] for one in records["value"][300:301]] == [b"\0\0"]
    assert records["value"][301].tobytes() == b"\0\7" + bytes(6)
    entries = [(one["slot"], one["after"], one["pc"], one["cpu"]) for one in life.ptes]
    assert entries == [
        (0x5008, 0x1234 << 32, 0x2000, 3),
        (0x5010, 0, 0x3000, 3),
        (0x5018, 0, 0x3000, 3),
    ]
    assert life.facts.torn == 0 and some.fact("tables") == 1
    assert began - 10**6 <= int(records["ns"][0]) <= int(records["ns"][-1])
    assert int(records["ns"][-1]) <= time.monotonic_ns() + 10**6


@needs_gcc
def test_the_clock_is_the_hosts(fresh: ctypes.CDLL) -> None:
    fresh.now_ns.restype = ctypes.c_uint64
    fresh.setup_clock()
    time.sleep(0.03)  # its rate is measured over that long
    fresh.measure_clock()
    for same in (False, True, False):
        before = time.monotonic_ns()
        now = fresh.now_ns(0, same)
        assert same or before - 10**6 <= now <= time.monotonic_ns() + 10**6
    first = fresh.now_ns(1, False)
    reused = [fresh.now_ns(1, True) for _ in range(40)]
    assert reused[:15] == [first] * 15 and reused[15] > first
    assert len(set(reused)) == 3
