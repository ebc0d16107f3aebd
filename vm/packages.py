"""The Debian packages that we need; `python3 -m vm.packages [tests]` prints them.

One line each; `a|b` where distributions differ: the first that there is.
Imported by bare Python before anything is installed: standard library only.
"""

from __future__ import annotations

import sys

from zaptrace.arch import ARCHES

KERNEL_BUILD = ("make", "gcc", "libc6-dev", "bison", "flex", "bc", "patch", "xz-utils")
TREES = ("git", "libssl-dev", "zstd")  # of the user's, whose configuration wants more
DEBIAN = ("debian-archive-keyring",)  # verifies Debian's packages on other distributions
LIVE = ("dwarves", "mmdebstrap", "e2fsprogs")  # BTF; a Debian tree; a disk with it
GUEST = ("util-linux",)  # setpriv: the guest dies with us
PYTHON = ("python3-venv", "ca-certificates")
BCC = ("python3-bpfcc",)  # live events of this machine; PyPI's "bcc" is something else
TESTS = (
    *("cpio", "shellcheck"),
    "linux-perf",  # the peer of the probe plan
    *("chromium", "fonts-dejavu-core"),  # looks at the reports
    *("libssl-dev", "openssl"),  # a kernel that signs its modules, as Debian's does
    "makedumpfile",  # writes dumps as a crashed machine does
    "sudo",  # as a user types it, in virtme-ng's guest
)


def needed(*, tests: bool) -> list[str]:
    """Return what zaptrace needs, and what its tests need besides, in the form that is printed."""
    lines = [*KERNEL_BUILD, *TREES, *DEBIAN, *LIVE, *GUEST, *PYTHON, *BCC]
    lines += TESTS if tests else ()
    for arch in ARCHES.values():
        lines += ["|".join(choice) for choice in arch.packages]
    return lines


if __name__ == "__main__":
    print("\n".join(needed(tests="tests" in sys.argv[1:])))
