"""BPF programs that guests of a kernel have compiled: given to the next ones, and to no host.

What comes out of a guest is hostile.  It is kept apart from what this machine itself would load,
and given to guests of the same kernel image alone, whose zaptrace sees by itself whether it is
what it wants.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from pathlib import Path

from vm.lab_kernel import Kernel
from zaptrace.model.paths import cache_home, write_whole

COMMAND = "programs"
"""Has the agent (vm/guest/agent.py) print those that a guest has."""
MOST = 16
MOST_BYTES = 256 << 10
"""Bytes of one; ours have some 20 KB."""
_NAME = re.compile(r"[0-9a-f]{64}")


def known(kernel: Kernel) -> dict[str, str]:
    """Name -> base64, the newest ones."""
    newest = sorted(_folder(kernel).glob("*"), key=lambda one: one.stat().st_mtime)[-MOST:]
    return {one.name: base64.b64encode(one.read_bytes()).decode() for one in newest}


def learn(kernel: Kernel, printed: str) -> None:
    """Keep what a guest has printed for COMMAND; what is no such thing is left out."""
    try:
        found = json.loads(printed)
        pairs = [(str(name), base64.b64decode(text)) for name, text in found.items()]
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        return
    folder = _folder(kernel)
    for name, data in pairs[: 4 * MOST]:
        path = folder / name
        if _NAME.fullmatch(name) and len(data) <= MOST_BYTES and not path.exists():
            write_whole(path, data)
    for old in sorted(folder.glob("*"), key=lambda one: one.stat().st_mtime)[: -2 * MOST]:
        old.unlink(missing_ok=True)


def _folder(kernel: Kernel) -> Path:
    with kernel.image.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    return cache_home() / "guest-programs" / key
