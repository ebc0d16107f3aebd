"""QEMU's plugin: built once, and refused by QEMU with one line where it cannot work."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from vm import plugin
from vm.plugin import Plugin
from vm.qemu import GuestConfig, command_line
from zaptrace.arch import ARCHES
from zaptrace.life.record_layout import NODE, SHARED
from zaptrace.life.recording import Recording
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
        ("calls", ctypes.c_void_p),
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
    "lg %r1,0(%r2)": ("e31020000004", True),
    # And what may be anywhere.
    "stg %r1,0(%r3)": ("e31030000024", False),
    "stg %r1,0(%r3,%r15)": ("e313f0000024", False),
    "st %r1,0(%r3,%r15)": ("5013f000", False),
    "stmg %r6,%r15,48(%r5)": ("eb6f50300024", False),
    "mvc 0(8,%r2),160(%r15)": ("d2072000f0a0", False),
    "mvi 0(%r2),1": ("92012000", False),
    "asi 52(%r1),1": ("eb011034006a", False),
    "cs %r1,%r2,0(%r15)": ("ba12f000", False),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The plugin in this process, its functions visible and QEMU's one stood in for."""
    folder = tmp_path_factory.mktemp("plugin")
    library, of_qemu = folder / "life.so", folder / "qemu.c"
    of_qemu.write_text(
        "#include <stdbool.h>\nbool qemu_plugin_mem_is_store(unsigned int info);\n"
        "bool qemu_plugin_mem_is_store(unsigned int info) { return info == 0; }\n"
    )
    flags = [
        "-fvisibility=default" if one == "-fvisibility=hidden" else one for one in plugin.FLAGS
    ]
    sources = map(str, (*plugin.sources(), of_qemu))
    subprocess.run(["gcc", *flags, "-o", library, *sources, *plugin.LIBRARIES], check=True)
    return ctypes.CDLL(str(library), os.RTLD_LAZY)


@needs_gcc
def test_stores_to_the_stack_are_quiet_and_no_others(loaded: ctypes.CDLL) -> None:
    """s390x: every second store of the kernel is to its stack, and costs nothing then."""
    quiet = _Machine.in_dll(loaded, "s390x").quiet
    found = {text: quiet(bytes.fromhex(code), len(code) // 2) for text, (code, _) in STORES.items()}
    assert found == {text: wanted for text, (_, wanted) in STORES.items()}


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
        at, found = self._plugin.stack_now(self._cpu), []
        nodes = self._memory[SHARED.itemsize :].view(NODE)
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
