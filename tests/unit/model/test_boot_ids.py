"""The word that distinguishes boots: written, printed, read again."""

from __future__ import annotations

import pytest

from zaptrace.model import boot_ids

ID = "0a77d9c2-1111-4222-8333-444455556666"


def test_it_comes_back_from_a_command_line() -> None:
    one, other = boot_ids.new(), boot_ids.new()
    assert one != other
    line = f"console=ttyS0 nokaslr {boot_ids.argument(one)} bootconfig"
    assert boot_ids.of_command_line(line) == one
    assert boot_ids.of_command_line(boot_ids.argument(one)) == one


@pytest.mark.parametrize(
    "line",
    ["", "console=ttyS0", "zaptrace.boot=", "zaptrace.boot=GUESS", f"xzaptrace.boot={ID}"],
)
def test_a_command_line_without_it_has_none(line: str) -> None:
    assert boot_ids.of_command_line(line) is None


def test_a_console_names_its_boots() -> None:
    line = b"[    0.230502] Kernel command line: a=1 zaptrace.boot=%s bootconfig\r\n"
    log = b"[    0.1] Linux version 6.1\r\n" + line % ID.encode()
    assert boot_ids.on_console(log) == (ID,)
    assert boot_ids.on_console(log + log) == (ID,)
    assert boot_ids.on_console(log + line % b"deadbeef-22") == (ID, "deadbeef-22")
    assert boot_ids.on_console(b"\xff zaptrace.boot=%s\n" % ID.encode()) == ()
    wrapped = b"[    0.2] Kernel command line: a=1 \\\n[    0.2] Kernel command line: "
    assert boot_ids.on_console(wrapped + b"zaptrace.boot=%s\n" % ID.encode()) == (ID,)


SECOND, THIRD = "11112222-aaaa", "33334444-bbbb"
COMMAND_LINE = f"[    0.2] Kernel command line: a=1 zaptrace.boot={ID}\r\n".encode()


def noted(second: str) -> bytes:
    return f"[    9.1] zaptrace: {boot_ids.note(ID, second)}\r\n".encode()


def test_a_restored_guest_has_a_second_id() -> None:
    assert boot_ids.on_console(COMMAND_LINE + noted(SECOND)) == (f"{ID}/{SECOND}",)
    assert boot_ids.joined(ID, SECOND) == f"{ID}/{SECOND}"
    assert boot_ids.joined(ID, None) == ID
    both = boot_ids.on_console(COMMAND_LINE + noted(SECOND) + noted(THIRD))
    assert both == (f"{ID}/{SECOND}", f"{ID}/{THIRD}")
    other = noted(SECOND).replace(ID.encode(), b"deadbeef-22")
    assert boot_ids.on_console(COMMAND_LINE + other) == (ID,)
    assert boot_ids.of_log([ID], b"\0\xff" + noted(SECOND)) == (f"{ID}/{SECOND}",)


def test_two_tries_of_one_snapshot_are_two_guests() -> None:
    one, other = f"{ID}/{SECOND}", f"{ID}/{THIRD}"
    assert boot_ids.same(one, one) and not boot_ids.same(one, other)
    assert boot_ids.same(one, ID) and boot_ids.same(ID, other)
    assert not boot_ids.same(one, "deadbeef-22") and not boot_ids.same(ID, f"{ID}0")
    assert not boot_ids.same(one, f"deadbeef-22/{SECOND}")
