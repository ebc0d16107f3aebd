"""What web pages, mailers and people leave of a report's lines."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed

BUG = "kernel BUG at mm/foo.c:12!\nCPU: 1 PID: 7 Comm: sh Not tainted 6.1.0 #1\n"


@pytest.mark.parametrize(
    ("line", "name", "offset", "size"),
    [
        ("[] foo+0x1/0x2", "foo", 1, 2),  # <...> is a tag
        ("[] ? foo+0x1/0x2", "foo?", 1, 2),
        ("[] (foo+0x1/0x2) from [] (bar+0x3/0x4)", "bar", 3, 4),
        ("foo+0×1/0×2", "foo", 1, 2),
        ("foo + 0x1/0x2", "foo", 1, 2),
        ("[ef12f700] [c00081e0] foo + 0x1/0x2 (unreliable)", "foo?", 1, 2),
        ("foo.constprop.0+0x46a", "foo.constprop.0", 0x46A, None),
        ("? foo+0x46a", "foo?", 0x46A, None),
        ("[<860546a4>] 0x860546a4 [mt7603e@8ad96439+0x96c0]", None, None, None),
    ],
)
def test_a_frame(line: str, name: str | None, offset: int | None, size: int | None) -> None:
    (splat,) = parsed(f"{BUG}Call Trace:\n {line}\n")
    (frame,) = splat.trace
    assert (frame.offset, frame.size) == (offset, size)
    assert frame.symbol == (name.rstrip("?") if name else None)
    assert frame.reliable != (name or "").endswith("?")


def test_the_module_of_a_frame_without_a_name() -> None:
    (splat,) = parsed(f"{BUG}Call Trace:\n [<860546a4>] 0x860546a4 [foo@8ad96439+0x96c0]\n")
    (frame,) = splat.trace
    assert (frame.address, frame.module) == (0x860546A4, "foo")


@pytest.mark.parametrize("gap", ["...", "(...)", "[snip]"])
def test_what_was_left_out_is_no_other_line(gap: str) -> None:
    (splat,) = parsed(f"{BUG}Call Trace:\n {gap}\n foo+0x1/0x2\n {gap}\n")
    assert (names(splat), splat.unread_count) == (["foo"], 0)


def test_a_stack_that_words_announce() -> None:
    log = """\
> BUG: Bad page state in process swapper  pfn:ab0803c
>
> Here is the call trace
>
> [    0.262826]  dump_stack+0x57/0x6a
> [    0.262827]  bad_page.cold.119+0x63/0x93
"""
    (splat,) = parsed(log)
    assert names(splat) == ["dump_stack", "bad_page.cold.119"]


def test_a_list_of_modules_longer_than_a_line() -> None:
    modules = "Modules linked in: foo bar(OE)\n baz_qux snd-pcm(E) [last unloaded: x]\n"
    (splat,) = parsed(f"{BUG}{modules}Call Trace:\n foo+0x1/0x2\n")
    assert (names(splat), splat.unread_count) == (["foo"], 0)


def test_an_oops_with_more_registers_than_patience() -> None:
    stack = "".join(f"{at:04x}: 00000000 c01498cc c1494140 a8bfa8e4\n" for at in range(0, 2048, 32))
    (splat,) = parsed(f"{BUG}{stack}Call trace:\n foo from bar+0x1/0x2\n")
    assert names(splat) == ["bar"]


def test_a_bug_without_file_and_line() -> None:
    log = """\
[    2.052163] Kernel BUG at c04289dc [verbose debug info unavailable]
[    2.052204] CPU: 2 PID: 1 Comm: swapper/0 Not tainted 3.18.35 #3
"""
    (splat,) = parsed(log)
    assert (splat.kind, splat.comm) == ("other", "swapper/0")
    assert parsed("Kernel BUG at mm/foo.c:12! on x86_64, while testing something\n") == []


def test_the_next_line_is_no_part_of_the_reason() -> None:
    oops = "Unable to handle kernel paging request at virtual address f899b670"
    for rest in (" Mem abort info:", "\nprinting eip:\nc01de48c"):
        (splat,) = parsed(f"{oops}{rest}\nCPU: 0 PID: 7 Comm: sh Not tainted 6.1.0 #1\n")
        assert splat.reason == oops
