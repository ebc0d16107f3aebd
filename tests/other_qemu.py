"""Another QEMU than the host's: 10.0 out of Debian's backports, unpacked beside."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from vm import debian
from zaptrace.model.paths import cache_home, locked

SUITE = "bookworm-backports"
_PACKAGES = ("qemu-system-s390x", "qemu-system-x86", "qemu-system-common", "qemu-system-data")
_PACKAGES_OF_OTHERS = ("seabios",)
"""Of bookworm itself: firmware that Debian keeps apart."""


@functools.cache
def qemu_10() -> Path:
    """The folder of its programs, which find their own files beside it.

    Raises:
        ZaptraceError: apt does not have it.
    """
    debs = [debian.fetch(name, SUITE, debian.host_arch()) for name in _PACKAGES]
    debs += [debian.fetch(name, "bookworm", debian.host_arch()) for name in _PACKAGES_OF_OTHERS]
    names = "-".join(deb.stem for deb in debs[:1]).replace("%3a", "-")
    place = cache_home() / "qemu" / names
    with locked(place.with_suffix(".lock")):
        if not (place / "whole").exists():
            for deb in debs:
                subprocess.run(["dpkg-deb", "-x", str(deb), str(place)], check=True)
            (place / "whole").touch()
    return place / "usr/bin"
