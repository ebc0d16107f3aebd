"""The founding report's page: the change of the configuration, every step, no home folder."""

from __future__ import annotations

import datetime
from pathlib import Path

from tests.founding.page import page
from zaptrace.model.progress import State, Update


def test_the_page_holds_what_was_changed_done_and_said() -> None:
    done = [
        Update("compile", "Compile for s390x", State.DONE, note="7 steps", seconds=61.25),
        Update("boot", "Boot under tcg", State.DONE, seconds=5.0),
    ]
    text = page(
        datetime.date(2023, 7, 20),
        "QEMU 7.2, TCG",
        "linux-source-6.1_6.1.1-1",
        "6.1.0-1-s390x",
        ["-# CONFIG_DEBUG_VM is not set", "+CONFIG_DEBUG_VM=y"],
        done,
        f"mm: page freed\n\n  run  {Path.home()}/run\n",
    )
    assert "on 2023-07-20: QEMU 7.2, TCG." in text
    assert "```diff\n-# CONFIG_DEBUG_VM is not set\n+CONFIG_DEBUG_VM=y\n```\n" in text
    assert "   61.25 s  Compile for s390x  (7 steps)\n    5.00 s  Boot under tcg\n" in text
    assert text.endswith("mm: page freed\n\n  run  ~/run\n```\n")
