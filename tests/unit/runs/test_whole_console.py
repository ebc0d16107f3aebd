"""A console that ends before the kernel's log does.

An s390x guest oopsed with a lock held, and its CPU waited for that lock for ever: its console
driver did not get to print the oops, the time limit ended the run, and the verdict was `clean`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from zaptrace.runs.folder import RunFolder
from zaptrace.runs.whole_console import not_printed, whole_console

LOG = (
    "[    0.894845] Run /init as init process",
    "[    1.243997] Unable to handle kernel pointer dereference in virtual kernel address space",
    "[    1.244250] Failing address: 5a5a5a5a5a5a5000 TEID: 5a5a5a5a5a5a5403",
)


@pytest.mark.parametrize(
    ("console", "lacks"),
    [
        ("\r\n".join(LOG), 0),
        (LOG[0] + "\nstrange: marked\n", 2),
        ("[    0.894845][    T1] Run /init as init process\n" + LOG[1], 1),
        ("power off[    1.243997] " + LOG[1][15:], 1),
        ("nothing of the kernel's", 3),
        ("", 3),
        # Printed at another time: an earlier line of the same words.
        (LOG[1].replace("1.243997", "0.943997"), 3),
    ],
)
def test_what_the_console_lacks_is_the_end_of_the_log(console: str, lacks: int) -> None:
    assert not_printed(console.encode(), LOG) == LOG[len(LOG) - lacks :]


def test_a_run_s_console_has_the_end_of_the_log_after_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert whole_console(folder) == b""
    folder.console.write_bytes(b"first")
    assert whole_console(folder) == b"first"
    folder.kernel_log.write_bytes(b"last\n")
    assert whole_console(folder) == b"first\nlast\n"
