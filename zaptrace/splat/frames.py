"""The lines of a call trace, as each architecture prints them."""

from __future__ import annotations

import re

from zaptrace.model.splats import Frame

_SYMBOL = r"(?P<symbol>[\w.$]{1,512})"
_BRACKETED = r"\[<(?:0x)?(?P<address>[0-9a-f]{8,16})>\] *"

# x86 (printk_stack_address(), arch/x86/kernel/dumpstack.c):  [? ]symbol+0x1/0x2 [module]
#   before 4.10:                                 [<ffffffff81012345>] [? ]symbol+0x1/0x2
# s390x (show_stack(), arch/s390/kernel/dumpstack.c):   [<0000000000123456>] symbol+0x1/0x2
#   a frame that the unwinder does not trust:           ([<0000000000123456>] symbol+0x1/0x2)
# arm (dump_backtrace_entry()):  [<c0012345>] (callee) from [<c0012399>] (symbol+0x1/0x2)
_STACK_NAME = re.compile(r"(?:</?[A-Za-z_#0-9]{2,16}> *)+")
_CALLEE = re.compile(r"(?:\[<[0-9a-f]{8,16}>\] )?\(?[\w.]{1,128}\)? from (?=[\[(\w])", re.ASCII)
_FRAME = re.compile(
    r"(?P<paren>\()?(?:\? )?(?:" + _BRACKETED + r")?(?P<clue>\? )?\(?"
    r"(?:" + _SYMBOL + r"\+(?P<offset>0x[0-9a-f]{1,16})/(?P<size>0x[0-9a-f]{1,16})"
    r"|(?P<bare>0x[0-9a-f]{8,16}))",
    re.ASCII,
)
_RIP = re.compile(
    r"RIP: [0-9a-f]{4}:(?:\[<(?P<address>[0-9a-f]{8,16})>\] *(?:\[<[0-9a-f]{8,16}>\] *)?)?"
    + _SYMBOL
    + r"\+(?P<offset>0x[0-9a-f]{1,16})/(?P<size>0x[0-9a-f]{1,16})",
    re.ASCII,
)

# "%pB" ends with the module, and its build ID where CONFIG_STACKTRACE_BUILD_ID is set.
_MODULE = re.compile(r"\)? \[(?P<module>[A-Za-z_]\w{0,63})(?: [0-9a-f]{8,40})?\]", re.ASCII)

# What scripts/decode_stacktrace.sh and syzkaller make of a line.
_SOURCE = re.compile(r"\(?([\w./-]{1,200}\.[chS]:[0-9]{1,7})\b", re.ASCII)
_DECODED = re.compile(
    r"(?:\? )?" + _SYMBOL + r" \(?(?P<source>[\w./-]{1,200}\.[chS]:[0-9]{1,7})\b", re.ASCII
)


def frame(text: str) -> Frame | None:
    """The frame that a line of a trace shows; None when it shows none."""
    tag = _STACK_NAME.match(text)
    text = text[tag.end() :] if tag else text
    if rip := _RIP.match(text):
        return Frame(rip["symbol"], int(rip["offset"], 16), int(rip["size"], 16), _hex(rip))
    callee = _CALLEE.match(text)
    start = callee.end() if callee else 0
    found = _FRAME.match(text, start)
    if not found:
        return None
    source = _SOURCE.search(text[found.end() : found.end() + 300])
    reliable = not (found["clue"] or (found["paren"] and not callee) or text.startswith("? "))
    if found["bare"]:
        address = _hex(found) or int(found["bare"], 16)
        return Frame(None, address=address, reliable=reliable)
    return Frame(
        found["symbol"],
        int(found["offset"], 16),
        int(found["size"], 16),
        _hex(found),
        source[1] if source else None,
        reliable,
        module["module"] if (module := _MODULE.match(text, found.end())) else None,
    )


def decoded_frame(text: str) -> Frame | None:
    """A frame of which a script left the source line but no offset; inlined ones too."""
    found = _DECODED.match(text)
    return Frame(found["symbol"], source=found["source"]) if found else None


def _hex(found: re.Match[str]) -> int | None:
    return int(found["address"], 16) if found["address"] else None
