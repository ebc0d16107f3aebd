"""A kernel tree of the user's, built out of tree: the checkout is read, never written.

The objects lie in one folder of the cache for each tree and architecture, so
that the next build is an incremental one.  Kbuild refuses a source tree that
was once built in place (or has but a .config), hence a checkout is built
through a mirror of it: real folders, symbolic links to its files.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from vm import host, ownconfig
from vm.lab_kernel import BUILD_LINE, Kernel, small_config
from vm.mirror import mirror
from zaptrace.arch import Arch
from zaptrace.model.errors import BadInput, CannotTell, Missing, ZaptraceError
from zaptrace.model.paths import cache_home, locked, write_whole
from zaptrace.model.progress import Listener, Step, step

PARTS = ("Kbuild", "Kconfig", "Makefile", "mm", "scripts")
"""What every kernel tree has had at its top for twenty years."""
FULL = "No space left on device"
MAKE_SECONDS = 10.0
"""What an interrupted make is given to remove the objects that it has half written."""
ERROR_LINE = re.compile(r"\b(?:fatal )?error: |\*\*\* |undefined reference")


@dataclass(frozen=True, slots=True)
class TreeKernel(Kernel):
    """A kernel in the folder that it was built in."""

    arch: Arch

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.folder / self.arch.image

    @property
    def config(self) -> Path:
        """The configuration it was built with."""
        return self.folder / ".config"


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree, and where it is built.

    Attributes:
        source: what make reads; nothing was ever built in it.
        config: the user's configuration, None for the small one of the lab kernels.
        flavour: what the kernel is for: `repro` boots, or `live` guests that need more of it.
    """

    source: Path
    arch: Arch
    objects: Path
    config: Path | None = None
    flavour: str = "repro"

    @property
    def log(self) -> Path:
        """What the last build said."""
        return self.objects / "zaptrace" / "build.log"


def check(tree: Path, arch: Arch) -> None:
    """Refuse what no kernel for an architecture can be built from, before anything is done.

    Raises:
        BadInput: it is not a kernel tree, or not one for this architecture.
        Missing: no compiler.
    """
    if not tree.is_dir():
        raise BadInput(f"{tree} is not a folder")
    family = arch.kernel_folder.removeprefix("arch/")
    absent = [name for name in (*PARTS, f"arch/{family}") if not (tree / name).exists()]
    if absent:
        raise BadInput(f"{tree} is not a kernel tree for {arch.name}: it has no {absent[0]}")
    host.output(f"{arch.cross}gcc", "--version")


def config_of(tree: Path, config: Path | None) -> Path | None:
    """Return the user's configuration: the file that was named, or the tree's own .config.

    Raises:
        BadInput: the file that was named is not there.
    """
    if config is not None and not config.is_file():
        raise BadInput(f"{config} is not a file")
    own = tree / ".config"
    return config or (own if own.is_file() else None)


def checkout(
    tree: Path, arch: Arch, config: Path | None, listener: Listener, flavour: str = "repro"
) -> Tree:
    """Return a checkout that is being worked in, to be built through a mirror."""
    folder = objects_folder(tree, arch, flavour)
    with step("mirror", "Look what is new in the tree", listener) as current:
        current.note = f"{mirror(tree, folder / 'source')} files"
    return Tree(folder / "source", arch, folder / "objects", config, flavour)


def objects_folder(tree: Path, arch: Arch, flavour: str = "repro") -> Path:
    """Return the folder of the cache for one tree, architecture and flavour."""
    key = hashlib.sha256(os.fsencode(tree.resolve())).hexdigest()[:12]
    kind = arch.name if flavour == "repro" else f"{arch.name}-{flavour}"
    return cache_home() / "trees" / f"{tree.resolve().name}-{kind}-{key}"


def build(tree: Tree, listener: Listener, timing: dict[str, float] | None = None) -> TreeKernel:
    """Configure and compile; what is built already is not built again.

    Raises:
        CannotTell: it does not configure or compile.
        Missing: there is no compiler, or no space.
    """
    with locked(tree.objects.parent / ".lock"):
        with step("configure", "Configure", listener, timing) as current:
            current.note = _configure(tree)
        _remove_half_written(tree.objects)
        with step("compile", f"Compile for {tree.arch.name}", listener, timing) as current:
            _compile(tree, current)
    return TreeKernel(tree.objects, tree.arch)


def _remove_half_written(objects: Path) -> None:
    """Remove objects that a build was killed over.

    Kbuild writes .NAME.cmd after each object.  One that is newer than its
    .cmd may be cut short, and make would take it for finished: the command in
    there is the same.
    """
    for folder, _folders, files in os.walk(objects):
        names = set(files)
        for name in files:
            command = f".{name}.cmd"
            if name.endswith((".o", ".a")) and command in names:
                path = Path(folder, name)
                if path.stat().st_mtime_ns > Path(folder, command).stat().st_mtime_ns:
                    path.unlink()


def config_changes(tree: Tree) -> list[str]:
    """Return what zaptrace changes in the user's configuration, as lines of a diff.

    Raises:
        CannotTell: it does not configure.
    """
    if tree.config is None:
        return []
    theirs = tree.config.read_text(errors="replace")
    before = _settled(tree, theirs, "theirs.config")
    return ownconfig.difference(before, _settled(tree, _merged(tree, theirs), "ours.config"))


def _configure(tree: Tree) -> str:
    """Write .config, if it is another than before; what Kconfig would not give us."""
    if tree.config is None:
        wanted = _small(tree)
        missing = []
    else:
        theirs = tree.config.read_text(errors="replace")
        wanted = _settled(tree, _merged(tree, theirs), "ours.config")
        missing = ownconfig.refused(_needs(tree), wanted)
    current = tree.objects / ".config"
    if not current.exists() or current.read_text() != wanted:
        write_whole(current, wanted.encode())
    return f"without {' '.join(missing)}" if missing else ""


def _needs(tree: Tree) -> str:
    folder, arch = resources.files("vm") / "kconfig", tree.arch.name
    names = ["own", f"own-{arch}"]
    if tree.flavour != "repro":
        names += [f"own-{tree.flavour}", f"own-{arch}-{tree.flavour}"]
    paths = [folder / f"{name}.config" for name in names]
    return "".join(path.read_text() for path in paths if path.is_file())


def _merged(tree: Tree, theirs: str) -> str:
    return ownconfig.merged(theirs, _needs(tree), lambda name: (tree.source / name).is_file())


def _settled(tree: Tree, text: str, name: str) -> str:
    """Return a configuration as Kconfig completes it for this source."""
    path = _file(tree, name)
    path.write_text(text)
    host.output(*_make(tree, "olddefconfig"), f"KCONFIG_CONFIG={path}")
    return path.read_text()


def _small(tree: Tree) -> str:
    """Return the lab kernels' small configuration, as far as this source has it."""
    wanted, path = _file(tree, "wanted.config"), _file(tree, "ours.config")
    wanted.write_text(small_config(tree.arch, tree.flavour))
    path.unlink(missing_ok=True)
    argv = _make(tree, "allnoconfig")
    host.output(*argv, f"KCONFIG_CONFIG={path}", f"KCONFIG_ALLCONFIG={wanted}")
    return path.read_text()


def _file(tree: Tree, name: str) -> Path:
    folder = tree.objects / "zaptrace"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / name


def _make(tree: Tree, *targets: str) -> list[str]:
    jobs = f"-j{(os.cpu_count() or 1) + 1}"  # one waits for the disk
    maps = " ".join(f"-fdebug-prefix-map={path}=." for path in (tree.source, tree.objects))
    return [
        # A script of the kernel's must leave no __pycache__ where a link leads to.
        *("env", "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C"),
        *("make", "--no-print-directory", jobs, "-C", str(tree.source), f"O={tree.objects}"),
        *(f"ARCH={tree.arch.kernel_arch}", f"CROSS_COMPILE={tree.arch.cross}"),
        *(f"KCFLAGS={maps}", f"KAFLAGS={maps}"),
        # Equal sources are an equal kernel.
        *("KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_USER=zaptrace"),
        *("KBUILD_BUILD_HOST=lab", "KBUILD_BUILD_VERSION=1"),
        *targets,
    ]


def _compile(tree: Tree, current: Step) -> None:
    """Run make; one line of its output is one step of the progress."""
    done, argv = 0, _make(tree, tree.arch.make_target)
    with tree.log.open("w") as kept, host.lines_of(argv, MAKE_SECONDS) as child:
        for line in host.lines(child):
            kept.write(f"{line}\n")
            if BUILD_LINE.match(line):
                done += 1
                current.advance(done, note=line.split()[-1])
        status = child.wait()
    if status:
        raise _failure(tree, tree.log.read_text(errors="replace"))
    current.note = f"{done} steps"


def _failure(tree: Tree, log: str) -> ZaptraceError:
    """Return why make failed: the source's fault, or this machine's."""
    if FULL in log:
        return Missing(f"the disk with {tree.objects} is full", "zaptrace vm clean --cache")
    words = _first_error(log.replace(f"{tree.source}/", ""))
    return CannotTell(f"it does not build: {words}", f"less {tree.log}")


def _first_error(log: str) -> str:
    """Return the first line of a build's output that says what is wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    wrong = [line for line in lines if ERROR_LINE.search(line)]
    return (wrong or lines[-1:] or ["make said nothing"])[0][:200]


def forget(tree: Path, arch: Arch) -> None:
    """Remove a tree's objects."""
    remove_folder(objects_folder(tree, arch))


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
