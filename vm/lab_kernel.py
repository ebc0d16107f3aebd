"""Lab kernels: Debian's kernel source with our patches and config, built once and kept.

There are some flavours of each: `live` has BPF, disks and every kind of mapping, and is what
the tests and all commands take; `repro` is as small as the founding bug allows, for series and
trees that are built to be booted only; `zoo` has what bugs of tests/zoo need that those do not
have; `virtme` (x86_64) boots on the host's own root file system.

A kernel is cached by all that went into it: source package, patches, config
fragments, compiler.  It is built in a folder beside its final place and
renamed when whole, so that an interrupted build leaves nothing that looks
like a kernel.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from vm import debian, host
from vm.series import DEFAULT, Series, series_named
from zaptrace.arch import Arch
from zaptrace.model.errors import BadInput, CannotTell
from zaptrace.model.paths import cache_home, locked
from zaptrace.model.progress import Listener, Step, step

_COMMON = ("base", "mm", "trace", "debuginfo", "dump")
FLAVOURS = {
    "repro": _COMMON,
    "live": (*_COMMON, "bpf", "rootfs", "mappings"),
    "zoo": (*_COMMON, "zoo"),
    "virtme": (*_COMMON, "bpf", "rootfs"),
}
"""Flavour -> kconfig fragments; an architecture's own follow (ARCH.config, ARCH-FLAVOUR.config),
and a series' own (SERIES.config)."""
UNUSED = ("drivers/gpu/drm/*/*.[ch]", "sound/*/*.[ch]", "Documentation/*/*")
"""Parts of the source that no lab kernel compiles, not worth unpacking."""
CONFIG_LINE = re.compile(r"^(?:CONFIG_\w+=.*|# CONFIG_\w+ is not set)$")
SYMBOL = re.compile(r"CONFIG_\w+")
_DEPENDENCY = re.compile(r"^(?:source_\S+ := |  )([\w./+-]{1,200}\.[chS])(?: \\)?$", re.MULTILINE)
"""A line of kbuild's .FILE.o.cmd that names a file of the source."""
BUILD_LINE = re.compile(r"^  [A-Z0-9]+ +\S")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A built kernel's files."""

    folder: Path

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.folder / "image"

    @property
    def vmlinux(self) -> Path:
        """The ELF file with symbols and DWARF."""
        return self.folder / "vmlinux"

    @property
    def config(self) -> Path:
        """The configuration it was built with."""
        return self.folder / "config"

    @property
    def source(self) -> Path:
        """The source files that were compiled; kernels of older zaptraces have none."""
        return self.folder / "source"


def build(
    arch: Arch,
    listener: Listener,
    timing: dict[str, float] | None = None,
    flavour: str | None = None,
    series: str = DEFAULT,
) -> Kernel:
    """Return a lab kernel of one architecture, from the cache or built now (minutes).

    Args:
        flavour: one of FLAVOURS; None for the series' own.

    Raises:
        BadInput: there is no such flavour or series.
        Missing: no source package, no compiler.
        CannotTell: a patch does not apply, or the build fails.
    """
    row = series_named(series)
    flavour = row.flavour if flavour is None else flavour
    if flavour not in FLAVOURS:
        raise BadInput(f"no kernel flavour is called {flavour!r}", f"use {' or '.join(FLAVOURS)}")
    with step("source", "Get the kernel source", listener, timing) as current:
        deb = debian.fetch(row.package, row.suite, debian.host_arch())
        current.note = deb.name.split("_")[1]
    recipe = _Recipe(arch, flavour, row, deb)
    name = f"{arch.name}-{flavour}-{deb.name.split('_')[1]}-{recipe.key()}"
    kernel = Kernel(cache_home() / "kernels" / name)
    if kernel.vmlinux.exists():  # whole, or not there: no one's build is waited for
        return kernel
    # By architecture: what only one processor works at (unpack, link) goes on beside compilers.
    with locked(cache_home() / "kernels" / f".lock-{arch.name}"):
        if not kernel.vmlinux.exists():
            _build_into(kernel, recipe, listener, timing)
    return kernel


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that goes into one kernel."""

    arch: Arch
    flavour: str
    series: Series
    deb: Path

    def key(self) -> str:
        """Return a hash of it."""
        parts = [self.deb.name.encode(), _compiler(self.arch).encode()]
        parts += [" ".join(_settings(self.arch, Path("linux"))).encode()]
        parts += [path.read_bytes() for path in (*self.patches(), *self.fragments())]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def fragments(self) -> list[Path]:
        """Return the kconfig fragments, in order."""
        flavoured = f"{self.series.name}-{self.flavour}"
        own = (self.series.name, flavoured, f"{flavoured}-{self.arch.name}")
        return [*_fragments(self.arch, self.flavour), *_existing(own)]

    def patches(self) -> list[Path]:
        """Return the patches, in order."""
        return self.series.patches(self.flavour)

    def facts(self) -> dict[str, str]:
        """Return what a person may want to know of it later."""
        return {
            "source": self.deb.name,
            "compiler": _compiler(self.arch),
            "arch": self.arch.name,
            "flavour": self.flavour,
        }


def _compiler(arch: Arch) -> str:
    return host.output(f"{arch.cross}gcc", "--version").splitlines()[0]


def _resource(name: str) -> Path:
    return Path(str(resources.files("vm"))) / name


def _build_into(
    kernel: Kernel, recipe: _Recipe, listener: Listener, timing: dict[str, float] | None
) -> None:
    """Unpack, patch, configure, compile; the lock is held."""
    parent, arch = kernel.folder.parent, recipe.arch
    for stale in parent.glob(f".building-{arch.name}-*"):
        shutil.rmtree(stale)
    work = parent / f".building-{kernel.folder.name}"
    tree = work / "linux"
    tree.mkdir(parents=True)
    try:
        with step("unpack", "Unpack and patch the source", listener, timing) as current:
            _unpack(recipe.deb, tree)
            for patch in recipe.patches():
                current.advance(note=patch.name)
                _apply(patch, tree)
        title = f"Compile the {arch.name} {recipe.flavour} kernel"
        with step("compile", title, listener, timing) as current:
            _configure(recipe, tree, work)
            _compile(recipe, tree, work / "build.log", current)
            _keep(recipe, tree, work / "kept")
        (work / "kept").rename(kernel.folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def unpack_source(tree: Path) -> None:
    """Unpack the lab kernels' source, without our patches and what no lab kernel compiles.

    Raises:
        Missing: no source package is available.
    """
    row = series_named(DEFAULT)
    _unpack(debian.fetch(row.package, row.suite, debian.host_arch()), tree)


def _unpack(deb: Path, tree: Path) -> None:
    """Unpack the source: a tar archive inside the package."""
    package = tree.parent / f"{tree.name}.package"
    host.output("dpkg-deb", "--extract", str(deb), str(package))
    (source,) = package.glob("usr/src/linux-source-*.tar.xz")
    excluded = [f"--exclude=*/{pattern}" for pattern in UNUSED]
    host.output("tar", "-xf", str(source), "--strip-components=1", *excluded, "-C", str(tree))
    shutil.rmtree(package)


def _apply(patch: Path, tree: Path) -> None:
    host.output("patch", "-p1", "--batch", "--directory", str(tree), "--input", str(patch))


def _make(arch: Arch, tree: Path, *targets: str) -> list[str]:
    jobs = f"-j{(os.cpu_count() or 1) + 1}"  # one waits for the disk
    return ["make", "--no-print-directory", jobs, "-C", str(tree), *_settings(arch, tree), *targets]


def _settings(arch: Arch, tree: Path) -> list[str]:
    # The paths in the debug information are the source tree's own, and nothing of
    # the host gets in, so that equal inputs give an equal build ID.
    return [
        f"ARCH={arch.kernel_arch}",
        f"CROSS_COMPILE={arch.cross}",
        f"KCFLAGS=-fdebug-prefix-map={tree}=.",
        f"KAFLAGS=-fdebug-prefix-map={tree}=.",
        *("KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_USER=zaptrace"),
        *("KBUILD_BUILD_HOST=lab", "KBUILD_BUILD_VERSION=1"),
    ]


def small_config(arch: Arch, flavour: str = "repro") -> str:
    """Return what a flavour asks of allnoconfig."""
    return "\n".join(_settings_in(_fragments(arch, flavour))) + "\n"


def _fragments(arch: Arch, flavour: str) -> list[Path]:
    """Return a flavour's, in order; an architecture need not have one of its own."""
    return _existing((*FLAVOURS[flavour], arch.name, f"{arch.name}-{flavour}"))


def _existing(names: Iterable[str]) -> list[Path]:
    """Return the fragments of these names that there are."""
    paths = [_resource("kconfig") / f"{name}.config" for name in names]
    return [path for path in paths if path.exists()]


def _settings_in(fragments: Iterable[Path]) -> list[str]:
    """Return the settings of all fragments; of one symbol's the last."""
    found = {}
    for line in "".join(path.read_text() for path in fragments).splitlines():
        if CONFIG_LINE.match(line):
            found[SYMBOL.findall(line)[0]] = line
    return list(found.values())


def _configure(recipe: _Recipe, tree: Path, work: Path) -> None:
    lines = _settings_in(recipe.fragments())
    everything = work / "wanted.config"
    everything.write_text("\n".join(lines) + "\n")
    host.output(*_make(recipe.arch, tree, "allnoconfig"), f"KCONFIG_ALLCONFIG={everything}")
    got = set((tree / ".config").read_text().splitlines())
    refused = [line for line in lines if not line.startswith("#") and line not in got]
    if refused:
        raise CannotTell(f"Kconfig refuses {' '.join(refused)}")


def _compile(recipe: _Recipe, tree: Path, log: Path, current: Step) -> None:
    """Run make; one line of its output is one step of the progress."""
    arch, steps = recipe.arch, recipe.arch.build_steps.get(recipe.flavour, 1)
    argv = _make(arch, tree, arch.make_target)
    done = 0
    with log.open("w") as kept, host.lines_of(argv) as child:
        for line in host.lines(child):
            kept.write(f"{line}\n")
            if BUILD_LINE.match(line):
                done += 1
                current.advance(done, max(done, steps), line.split()[-1])
        status = child.wait()
    if status:
        saved = cache_home() / "kernels" / f"failed-{arch.name}-{recipe.flavour}.log"
        shutil.copy(log, saved)
        raise CannotTell(
            f"the {arch.name} {recipe.flavour} kernel does not build; the log is {saved}"
        )
    current.note = f"{done} steps"


def _keep(recipe: _Recipe, tree: Path, kept: Path) -> None:
    kept.mkdir()
    shutil.copy(tree / recipe.arch.image, kept / "image")
    shutil.move(tree / "vmlinux", kept / "vmlinux")
    shutil.copy(tree / ".config", kept / "config")
    (kept / "kernel.json").write_text(json.dumps(recipe.facts(), indent=1) + "\n")
    keep_source(tree, kept / "source")


def keep_source(tree: Path, kept: Path) -> None:
    """Copy the files that were compiled, and what they include, out of a built tree.

    A report then shows the lines of its verdict without unpacking the source again.
    """
    names: set[str] = set()
    for made in tree.rglob(".*.o.cmd"):
        names.update(_DEPENDENCY.findall(made.read_text("utf-8", "replace")))
    top = tree.resolve()
    for name in names:
        file = (top / name).resolve()  # the host's tools name theirs by their whole path
        if file.is_relative_to(top) and file.is_file():
            copy = kept / file.relative_to(top)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
