"""The audit of a running kernel by itself, through /proc/kcore, while page tables change.

The guest is given the host's own Python, drgn and numpy: Debian 13's python3-drgn is older than
what the audit needs, and there are no wheels for s390x.  So this is x86_64 only.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import py_compile
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import drgn
import jsonschema
import pytest

from tests.guest import lab
from vm import host, initramfs, lab_kernel
from vm.cpio import Archive
from vm.qemu import GuestConfig, command_line
from zaptrace.arch import arch_named
from zaptrace.audit.running import CHANGED
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.progress import ignore

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/inspect.schema.json").read_text())
pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the guest runs the host's Python"),
]

SECONDS = 1350.0
"""For a boot and three audits, on a busy machine."""
VICTIM = re.compile(r"zaptrace: victim leak pid (\d+) zapper \d+ addr 0x[0-9a-f]+ pfn (\d+) quiet")
LEFT_OUT = {
    *("test", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "tests"),
    "__pycache__",
}
PACKAGES = (
    *("drgn", "drgn.libs", "_drgn*", "numpy", "numpy.libs"),
    *("elftools", "rich", "pygments", "markdown_it", "mdurl"),
)
ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).resolve()


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("running")
    archive = Archive()
    archive.character_device("/dev/console", 5, 1)
    archive.character_device("/dev/null", 1, 3)
    archive.character_device("/dev/urandom", 1, 9)
    init = lab.compiled("x86_64", lab.PROGRAMS / "running.c", folder)
    archive.file("/init", init.read_bytes(), 0o755)
    archive.file("/victim", initramfs.program(arch_named("x86_64"), "victim"), 0o755)
    archive.file("/vmlinux", built().vmlinux.read_bytes())
    archive.file(str(PYTHON), PYTHON.read_bytes(), 0o755)
    standard = Path(sysconfig.get_path("stdlib"))
    add(archive, standard, str(standard))
    site = Path(drgn.__file__).parent.parent
    for pattern in PACKAGES:
        for part in sorted(site.glob(pattern)):
            add(archive, part, f"/site/{part.name}")
    add(archive, ROOT / "zaptrace", "/zaptrace")
    extensions = [*standard.glob("lib-dynload/*.so"), *site.glob("_drgn*.so")]
    extensions += [*site.glob("*.libs/*"), *site.glob("numpy/**/*.so")]
    for library in libraries([PYTHON, *extensions]):
        archive.file(str(library), library.read_bytes(), 0o755)
    path = folder / "initrd"
    path.write_bytes(archive.finish())
    return path


def built() -> lab_kernel.Kernel:
    return lab_kernel.build(arch_named("x86_64"), ignore)


def add(archive: Archive, path: Path, name: str) -> None:
    """Add a file, or a folder whose Python modules are compiled here: in the guest that is slow."""
    if path.is_file():
        archive.file(name, path.read_bytes(), 0o755)
        return
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.is_file() and not LEFT_OUT & set(inside.parts):
            archive.file(f"{name}/{inside}", file.read_bytes())
            if file.suffix == ".py":
                cached = importlib.util.cache_from_source(f"{name}/{inside}")
                archive.file(cached, compiled(file, f"{name}/{inside}"))


def compiled(file: Path, name: str) -> bytes:
    """A module's code, which counts without a look at the source: the archive keeps no times."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    with tempfile.NamedTemporaryFile(suffix=".pyc") as code:
        py_compile.compile(str(file), code.name, name, doraise=True, invalidation_mode=mode)
        return Path(code.name).read_bytes()


def libraries(files: list[Path]) -> set[Path]:
    """The system's libraries that some programs and libraries need."""
    found: set[Path] = set()
    for line in host.output("ldd", *map(str, files)).splitlines():
        words = line.split()
        for word in words:
            if word.startswith("/") and not word.endswith(":") and "site-packages" not in word:
                found.add(Path(word))
    return found


@pytest.fixture(scope="module")
def console(initrd: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a guest said that audited itself twice, and then looked at one page."""
    row, folder = arch_named("x86_64"), tmp_path_factory.mktemp("looks")
    command = f"{PYTHON} -m zaptrace inspect --live --vmlinux /vmlinux --json"
    config = GuestConfig(
        arch=row,
        kernel=built().image,
        initrd=initrd,
        append=f"{row.append} nokaslr zapfault=none -- run {command}",
        console=folder / "console.log",
        cpu="max",  # numpy's wheels want x86-64-v2, which QEMU's plain CPU is not
        memory="3G",
    )
    return ended(config, folder)


def told(console: str, fault: str) -> AuditResult:
    """What the audit found with that fault."""
    document = printed(console, fault)
    jsonschema.validate(document, SCHEMA)
    return AuditResult.from_json(document)


def printed(console: str, run: str) -> Any:
    """What a run of the command printed."""
    begin = console.index("\n", console.index(f"BEGIN {run} "))
    return json.loads(console[begin : console.index(f"END {run}")])


def bugs(result: AuditResult) -> list[Finding]:
    return [found for found in result.findings if found.cls is not FindingClass.IN_FLIGHT]


def ended(config: GuestConfig, folder: Path) -> str:
    """The console of a guest when its command has ended."""
    argv = [word for word in command_line(config, folder) if word != "-S"]
    text, deadline = "", time.monotonic() + SECONDS
    with subprocess.Popen(argv) as machine:
        try:
            while "ENDED" not in text:
                assert time.monotonic() < deadline, text[-2000:]
                assert machine.poll() is None, text[-2000:]
                time.sleep(0.5)
                if config.console.exists():
                    text = config.console.read_text(errors="replace")
        finally:
            machine.kill()
    return text


def test_a_clean_kernel_that_is_busy_has_no_finding(console: str) -> None:
    result = told(console, "none")
    assert bugs(result) == []
    assert result.ptes > 1000
    assert CHANGED in [one.what for one in result.unseen], "no task was busy"


def test_a_leaked_page_is_found_while_the_kernel_runs_and_nothing_else(console: str) -> None:
    victim = VICTIM.search(console)
    assert victim is not None, console[-2000:]
    (found,) = bugs(told(console, "leak"))
    assert found.cls is FindingClass.MORE_MAPCOUNT_THAN_PTES
    assert found.pfn == int(victim[2])
    assert (found.ptes, found.mapcount) == (0, 1)
    assert int(victim[1]) in [owner.pid for owner in found.mappings]


def test_a_page_of_the_running_kernel_has_its_account(console: str) -> None:
    victim = VICTIM.search(console)
    assert victim is not None, console[-2000:]
    (page,) = printed(console, "page")["pages"]
    assert (page["pfn"], page["kind"]) == (int(victim[2]), "anon")
    assert (page["ptes"], page["mapcount"], page["finding"]["class"]) == (
        *(0, 1),
        FindingClass.MORE_MAPCOUNT_THAN_PTES.value,
    )
    held = sum(one["references"] for one in page["references"]["holders"])
    assert held + page["references"]["unexplained"] == page["refcount"]
    assert page["use"]["lost"] == [] and page["use"]["content"]
