"""The guests' Python, run on the host: it compiles what guests import.

Unpacked packages bring no .pyc files, and an emulated CPU takes many seconds to
make them anew for each boot.  They are the same for all architectures, so the
host's own architecture makes them, with Debian 13's interpreter started through
its own dynamic loader.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from vm import debian
from vm.package_trees import CODENAME, unpack
from zaptrace.model.errors import CannotTell
from zaptrace.model.paths import cache_home, locked

PACKAGES = ("base-files", "libc-bin", "python3")


def compile_all(tree: Path, *folders: str, mounted: str = "/") -> None:
    """Make the .pyc files of some folders of a tree that a guest will have mounted somewhere.

    They hold no times and no path of the host, and are never checked again.

    Raises:
        Missing, CannotTell: the interpreter cannot be obtained.
    """
    root = _interpreter()
    loader = next(root.glob("usr/lib/*/ld-linux*.so*"))
    program = (str(loader), "--library-path", str(loader.parent), str(root / "usr/bin/python3"))
    options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree), "-p", mounted)
    done = subprocess.run(
        [*program, "-m", "compileall", *options, *(str(tree / folder) for folder in folders)],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONHOME": str(root / "usr"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    # Debian ships a few files that are not meant for this Python: status 1 for those.
    if done.returncode not in (0, 1):
        raise CannotTell(f"Python {CODENAME} does not run here: {done.stderr.decode()[-200:]}")


def _interpreter() -> Path:
    """Return the folder that holds Debian 13's Python for the host's architecture; made once."""
    folder = cache_home() / "guestpython" / CODENAME
    with locked(folder.parent / ".lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as work:
                unpack(debian.host_arch(), PACKAGES, Path(work)).rename(folder)
    return folder
