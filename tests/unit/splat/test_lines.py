"""Prefixes come off, messages stay."""

from __future__ import annotations

import pytest

from zaptrace.splat.lines import read_lines

SAID = "page dumped because: nonzero mapcount"


@pytest.mark.parametrize(
    ("prefix", "time", "caller"),
    [
        ("", None, None),
        ("[    1.234567] ", 1.234567, None),
        ("[123456.000001] ", 123456.000001, None),
        ("123456.000001] ", 123456.000001, None),
        ("[    1.234567][    T1] ", 1.234567, "T1"),
        ("[    1.234567] [   C12] ", 1.234567, "C12"),
        ("[T12345] ", None, "T12345"),
        ("<4>", None, None),
        ("<4>[    1.234567] ", 1.234567, None),
        ("kern  :warn  : [    1.234567] ", 1.234567, None),
        ("kern  :alert : [Tue Dec  3 10:00:00 2024] ", None, None),
        ("[Dec 3 10:00] ", None, None),
        ("[Dec03 10:00] ", None, None),
        ("[  +0.000012] ", None, None),
        ("2024-12-03T10:00:00,123456+01:00 ", None, None),
        ("2024-12-03T10:00:00+0100 my-host kernel: ", None, None),
        ("Dec  3 10:00:00 my-host kernel: ", None, None),
        ("Dec  3 10:00:00 my-host kernel: [    1.234567] ", 1.234567, None),
        ("[    1.234567] my-host kernel: ", 1.234567, None),
        ("\x1b[33m[    1.234567] \x1b[0m\x1b[1m", 1.234567, None),
        ("login: \x1b]0;title\x07[    1.234567] ", 1.234567, None),
    ],
)
def test_prefixes_come_off(prefix: str, time: float | None, caller: str | None) -> None:
    *_, line = read_lines(f"{prefix}{SAID}\n".encode())
    assert (line.text, line.time, line.caller) == (SAID, time, caller)
    assert line.kernel == bool(prefix)


def test_lines_count_as_an_editor_counts() -> None:
    lines = list(read_lines(b"one\r\n\r\nthree\rstill three\n\x00fo\x00ur\n"))
    assert [(line.number, line.text) for line in lines] == [
        (1, "one"),
        (3, "three"),
        (3, "still three"),
        (4, "four"),
    ]


def test_an_escape_without_end_hides_nothing() -> None:
    (line,) = read_lines(b"\x1b]0;BUG: Bad page state in process a  pfn:1\n")
    assert "BUG: Bad page state" in line.text


def test_user_space_may_speak_before_the_kernel() -> None:
    first, second = read_lines(b"~ # ls[    1.000000] BUG: x\n")
    assert (first.text, first.kernel) == ("~ # ls", False)
    assert (second.text, second.kernel) == ("BUG: x", True)
