"""bcc, the only module that knows it: it compiles a program, which is then loaded without it.

Importing bcc loads clang: a second natively, several in an emulated guest.  So nothing here is
needed for a program that is in the cache already.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from probes import bpfheaders
from probes.bpfobject import Compiled, Damaged, Function, MapDefinition, without_descriptors
from probes.bpfprogram import Program
from probes.bpfstore import compiled_once, key_of
from zaptrace.model.errors import Missing
from zaptrace.model.paths import scratch_folder

INSTALL = "apt-get install python3-bpfcc"
MAPS = ("events", "spare", "counts", "gate", "stacks", "reasons", "cgroup")
"""Those of zap.bpf.c; the last one is there with a filter alone."""
_FDINFO = Path("/proc/self/fdinfo")
_MOST_WORDS = 300
"""Characters of what the kernel and bcc say of a failure."""


def available() -> bool:
    """Return whether bcc is installed where this Python finds it."""
    return importlib.util.find_spec("bcc") is not None


def compiled(program: Program) -> Compiled:
    """Return the program's instructions and maps, from the cache or compiled now.

    Raises:
        Missing: bcc is not installed, or clang or the kernel refuses the program.
    """
    headers = repr(sorted(bpfheaders.files().items()))
    return compiled_once(key_of(_version(), headers, program.text), lambda: _compile(program))


def _version() -> str:
    """Return bcc's version, without importing it.

    Raises:
        Missing: it is not installed.
    """
    spec = importlib.util.find_spec("bcc")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        with contextlib.suppress(OSError):
            return (Path(folder) / "version.py").read_text(errors="replace")
    raise Missing("bcc is not installed", INSTALL)


def _compile(program: Program) -> Compiled:
    try:
        bcc = importlib.import_module("bcc")
    except ImportError as error:
        raise Missing(f"bcc cannot be imported: {error}", INSTALL) from None
    with scratch_folder() as folder, _environment(str(folder)):
        bpfheaders.write(folder)
        with quiet() as words:
            try:
                made = bcc.BPF(text=program.text)
                with contextlib.closing(_Closing(made)):
                    return _taken_out(made, bcc.lib, len(program.sites))
            except Exception as error:  # noqa: BLE001  bcc raises nothing more special
                said = " ".join(words().split())[:_MOST_WORDS]
                raise Missing(f"the kernel does not take the program: {error} {said}") from None


class _Closing:
    """A bcc.BPF that `contextlib.closing` can end."""

    def __init__(self, bpf: Any) -> None:
        self._bpf = bpf

    def close(self) -> None:
        """Close its maps and free its memory."""
        self._bpf.cleanup()


def _taken_out(made: Any, lib: Any, count: int) -> Compiled:
    """Return what bcc has made, as plain data; its maps' attributes come from the kernel."""
    descriptors = {name: lib.bpf_table_fd(made.module, name.encode()) for name in MAPS}
    used = {name: fd for name, fd in descriptors.items() if fd >= 0}
    names = {fd: name for name, fd in used.items()}
    functions: dict[str, Function] = {}
    for number in range(count):
        name = f"site_{number}"
        functions[name] = without_descriptors(made.dump_func(name.encode()), names)
    return Compiled(
        license=lib.bpf_module_license(made.module).decode(),
        kernel_version=lib.bpf_module_kern_version(made.module),
        maps=tuple(definition(name, (_FDINFO / str(fd)).read_text()) for name, fd in used.items()),
        functions=functions,
    )


def definition(name: str, fdinfo: str) -> MapDefinition:
    """Return a map by what its descriptor's fdinfo says.

    Raises:
        Damaged: it does not say how it was made.
    """
    said = dict(re.findall(r"^(\w+):\s*(0x[0-9a-f]+|\d+)$", fdinfo, re.MULTILINE))
    try:
        kind, key, value, entries = (
            int(said[word]) for word in ("map_type", "key_size", "value_size", "max_entries")
        )
        return MapDefinition(name, kind, key, value, entries, int(said["map_flags"], 16))
    except KeyError as error:
        raise Damaged(f"the kernel does not show the {error} of a map") from None


@contextlib.contextmanager
def _environment(headers: str) -> Iterator[None]:
    before = os.environ.get("BCC_KERNEL_SOURCE")
    os.environ["BCC_KERNEL_SOURCE"] = headers
    try:
        yield
    finally:
        os.environ.pop("BCC_KERNEL_SOURCE")
        if before is not None:
            os.environ["BCC_KERNEL_SOURCE"] = before


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Keep what C libraries write to stderr; yield a function that returns it."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def words() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        os.dup2(file.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(kept, 2)
            os.close(kept)
