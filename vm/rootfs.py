"""A live guest's root: Debian 13 with bcc and numpy as an ext2 image.

Made without root, chroot or binfmt: the packages are only unpacked, none of
their maintainer scripts runs.  What one would have done and we need is done here.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from vm import guestpython
from vm.package_trees import CODENAME, make_image, unpack
from zaptrace.arch import Arch
from zaptrace.model.paths import cache_home, locked
from zaptrace.model.progress import Listener, step

PACKAGES = (
    # --variant=extract brings nothing by itself, not even Essential packages.
    *("base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "mount", "ncurses-base"),
    *("procps", "sed", "util-linux"),
    *("python3", "python3-bpfcc", "python3-numpy", "libblas3", "liblapack3"),
    "bpftrace",  # the peer whose overhead ours is measured against
)
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt")
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "zaptrace")
PYTHON_FOLDERS = ("usr/lib/python3", "usr/lib/python3.13")
IMAGE_SIZE = "1G"


def build(arch: Arch, listener: Listener, timing: dict[str, float] | None = None) -> Path:
    """Return the image for one architecture, from the cache or made now (half a minute).

    Raises:
        Missing: mmdebstrap or mke2fs is not installed, or apt knows no mirror.
        CannotTell: a package cannot be fetched.
    """
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    image = cache_home() / "rootfs" / f"{arch.name}-{CODENAME}-{key}.img"
    if image.exists():
        return image
    with locked(image.parent / ".lock"):
        if not image.exists():
            title = f"Make a Debian for {arch.name} guests"
            with step("rootfs", title, listener, timing) as current:
                _build_into(image, arch)
                current.note = f"{image.stat().st_blocks // 2048} MiB"
    return image


def _build_into(image: Path, arch: Arch) -> None:
    for stale in image.parent.glob(".building-*"):
        shutil.rmtree(stale)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=image.parent))
    try:
        tree = unpack(arch.debian, PACKAGES, work)
        guestpython.compile_all(tree, *PYTHON_FOLDERS)
        _finish(tree)
        whole = work / "image"
        make_image(tree, whole, IMAGE_SIZE)
        whole.rename(image)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _finish(tree: Path) -> None:
    """Do what maintainer scripts would do, and make the mount points."""
    for name in UNUSED:
        shutil.rmtree(tree / name, ignore_errors=True)
    for library in sorted(tree.glob("usr/lib/*/*/lib[bl]*a[sc]*.so.3")):  # update-alternatives
        link = library.parents[1] / library.name
        link.symlink_to(library.relative_to(link.parent))
    for name in FOLDERS:
        (tree / name).mkdir(exist_ok=True)
    (tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (tree / "etc" / "group").write_text("root:x:0:\n")
