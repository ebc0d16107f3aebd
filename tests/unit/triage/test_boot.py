"""What a boot's own lines say, however the log is cut into blocks."""

from __future__ import annotations

import pytest

from zaptrace.triage import BootFacts
from zaptrace.triage.boot import BootReader

LOG = (
    b"[    0.000000] Linux version 6.8.0-test (a@b)\n"
    b"[    0.000000] Kernel command line: quiet init_on_free=1\r\n"
    b"[    0.100000] mem auto-init: stack:off, heap alloc:off, heap free:on\n"
)


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_blocks_may_be_cut_anywhere(size: int) -> None:
    reader = BootReader()
    blocks = [LOG[at : at + size] for at in range(0, len(LOG), size)]
    assert b"".join(reader.through(blocks)) == LOG
    auto = "stack:off, heap alloc:off, heap free:on"
    assert reader.facts() == BootFacts("6.8.0-test", "quiet init_on_free=1", auto, True)


def test_boots_that_disagree_say_nothing() -> None:
    reader = BootReader()
    list(reader.through([LOG, LOG.replace(b"6.8.0", b"6.9.0")]))
    assert reader.facts().release is None
    assert reader.facts().command_line == "quiet init_on_free=1"


def test_what_is_no_kernel_s() -> None:
    reader = BootReader()
    list(reader.through([b"hello\n", b"x" * 100_000, b"\nworld"]))
    assert reader.facts() == BootFacts()
