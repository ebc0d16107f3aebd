"""The lines of a call trace, and the faulting function, as each architecture prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zaptrace.model.splats import Frame

_PLACE = r" ?\+ ?(?P<offset>0x[0-9a-f]{1,16})/(?P<size>0x[0-9a-fA-F]{1,16})"
# powerpc64's function descriptors begin with a dot; x86_64 named modules before until 2.6.25.
_NAME = (
    r"(?:\.|:(?P<of>\w{1,64}):)?"
    r"(?P<symbol>[A-Za-z_$][\w.$]{0,511}|[0-9][\w.$]{0,511}[A-Za-z_][\w.$]{0,511})"
)
_SYMBOL = _NAME + _PLACE
# What stands in an address's place when it is hashed: `(ptrval)`, `(____ptrval____)`.
_ADDRESS = r"(?:0x)?(?:[0-9a-f]{8,16}|\(_{0,4}ptrval_{0,4}\))"

# x86 (printk_stack_address(), arch/x86/kernel/dumpstack.c):  [? ]symbol+0x1/0x2 [module]
#   before 4.10, arm64, riscv, OpenRISC, LoongArch, MIPS:  [<ffffffff81012345>] [? ]symbol+0x1/0x2
# s390x (show_stack(), arch/s390/kernel/dumpstack.c):   [<0000000000123456>] symbol+0x1/0x2
#   a frame that the unwinder does not trust:           ([<0000000000123456>] symbol+0x1/0x2)
# powerpc (show_stack(), arch/powerpc/kernel/process.c):
#   [c000000001234567] [c000000000123456] symbol+0x1/0x2 (unreliable)
#   xmon:  [c000000001234567] c000000000123456 symbol+0x1/0x2
# sparc: [00000000004a5b6c] symbol+0x1/0x2, Caller[...]: symbol+0x1/0x2
#   32 bit:  [f0012345 : symbol+0x1/0x2 ]
# arm (dump_backtrace_entry()):  [<c0012345>] (callee) from [<c0012399>] (symbol+0x1/0x2)
#   since 5.13:                   callee from symbol+0x1/0x2
# UML before 3.12:  6fe3f9a8:  [<6002b6d4>] symbol+0x1/0x2
# tile:  frame 0: 0xfffffff700123456 symbol+0x1/0x2 (sp 0xfffffe0000000000)
# hexagon:  [c1001234] 0xc0101234: symbol + 0x1 [module]
_STACK_NAME = re.compile(r"(?:</?[A-Za-z_#0-9]{2,16}> *)+")
_CALLEE = re.compile(
    rf"(?:\[(?:<{_ADDRESS}>)?\] )?\(?[\w.$]{{1,128}}(?:\+0x[0-9a-f]{{1,16}}/0x[0-9a-f]{{1,16}})?"
    r"(?: \[\w{1,64}\])?\)? from (?=[\[(\w])",
    re.ASCII,
)
_LEAD = (
    r"(?P<paren>\()?(?P<clue0>\? )?(?:[0-9a-f]{8,16}: {1,4}(?=\[<))?"
    rf"(?:\[(?:<(?P<address>{_ADDRESS})>)?\] *"  # HTML takes <...> for a tag
    rf"|(?:\[{_ADDRESS}\] {{0,4}})?\[(?P<address2>{_ADDRESS})\]"
    rf" {{1,4}}|Caller\[(?P<address3>{_ADDRESS})\]: |\[(?P<address4>{_ADDRESS}) : "
    rf"|frame {{1,2}}[0-9]{{1,3}}: (?P<address5>{_ADDRESS}) "
    rf"|\[{_ADDRESS}\] (?P<address6>[0-9a-f]{{8,16}}) )?"
    r"(?P<clue>\? )?\(?"
)
_FRAME = re.compile(_LEAD + _SYMBOL, re.ASCII)
_BARE = re.compile(
    rf"(?P<paren>\()?(?P<clue0>\? )?(?:\[<(?P<address>{_ADDRESS})>\] *"
    rf"|(?:\[{_ADDRESS}\] {{0,4}})?\[{_ADDRESS}\] {{1,4}})?(?P<clue>\? )?"
    r"(?P<bare>0x[0-9a-f]{8,16}|(?<=\] )0x[1-9a-f][0-9a-f]{0,6})\)?(?: \(\w{1,12}\)"
    r"| \[(?P<module>[A-Za-z_]\w{0,63})(?:@[0-9a-f]{1,16}\+0x[0-9a-f]{1,16})?\])?$"
    r"|(?P<paren2>\()?\[<(?P<alone>[0-9a-f]{8,16})>\]\)?$",
    re.ASCII,
)
# "%pB" ends with the module, and its build ID where CONFIG_STACKTRACE_BUILD_ID is set.
_MODULE = re.compile(r"\)? \[(?P<module>[A-Za-z_]\w{0,63})(?: [0-9a-f]{8,40})?\]", re.ASCII)

# x86_64 before 2.6.16, some a line:
#   <ffffffff80123456>{symbol+80} <ffffffff80123467>{:module:symbol+9}
_OLD = re.compile(
    r"<(?P<address>[0-9a-f]{16})>\{(?::(?P<module>\w{1,64}):)?"
    r"(?P<symbol>[\w.$]{1,512})\+(?P<offset>[0-9]{1,9})\}",
    re.ASCII,
)

_HEXAGON = re.compile(
    rf"\[{_ADDRESS}\] (?P<address>0x[0-9a-f]{{8}}): {_NAME} \+ (?P<offset>0x[0-9a-f]{{1,8}})"
    r"(?: \(FP out of bounds!\))?(?: \[(?P<module>\w{1,64})\])? ?$",
    re.ASCII,
)

# Frames of which the lines' ends were lost.  A function's size ends with a digit: 0x2a0do_idle+0x1.
_GLUED = re.compile(
    r"(?:/0x[0-9a-f]{0,15}[0-9]|\[[A-Za-z_]\w{1,63}\])(?=[A-Za-z_][\w.]{1,128}\+0x)", re.ASCII
)
# Bare names, each another function's: of some symbolizers two of one name are one frame.
_IN_ONE_LINE = re.compile(
    r"(?:(?:\? )?(?P<one>[A-Za-z_][\w.]{0,511})\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}"
    r"(?: \[\w{1,64}\])?(?: {1,8}(?!(?:\? )?(?P=one)\+)|$)){2,64}",
    re.ASCII,
)
_BETWEEN = re.compile(r"(?<![? ]) {1,8}(?=(?:\? )?[A-Za-z_][\w.]{0,511}\+0x)")
_ANOTHER = re.compile(
    rf"(?<=[\w\]] )\[(?:<{_ADDRESS}>\]|{_ADDRESS} : )"
    rf"|(?<=[0-9a-f] )\[{_ADDRESS}\] (?=[A-Za-z_][\w.]{{1,128}}\+0x)",
    re.ASCII,
)

# What scripts/decode_stacktrace.sh and syzkaller make of a line.
_FILE = r"\(?(?P<source>[\w.+/-]{1,200}\.(?:[chS]|rs|inc):(?:-?[0-9]{1,7}\b|\?)|(?<=\()\?\?:[0?])"
_NO_LINE = re.compile(r"^\?|:(?:\?|-1)$")
_SOURCE = re.compile(rf"\(?(?:\([A-Z]{{1,3}}\) )?(?:\[\w{{1,64}}\] )?{_FILE}", re.ASCII)
# A name alone: what is left of a frame when its offsets are cut off.
_NAME_ALONE = re.compile(
    r"(?P<clue>\? )?(?P<symbol>[a-z_][\w.]{2,127})(?: \[(?P<module>\w{1,64})\])?$"
)
_WITHOUT_SIZE = re.compile(
    r"(?P<clue>\? )?(?P<symbol>[A-Za-z_][\w.]{2,127})\+(?P<offset>0x[0-9a-f]{1,16})$"
)
_FIRST_ALONE = re.compile(r"(?:unwind|dump)_backtrace$|show_stack$|(?:__)?dump_stack(?:_lvl)?$")
_BEGINS = re.compile(
    r"(?:(?:unwind|dump)_backtrace|show_stack|(?:__)?dump_stack(?:_lvl)?|bad_page"
    r"|print_bad_pte|print_bad_page_map)(?:\.[\w.]{1,64})?$"
)
_ANNOTATION = re.compile(r"(?:\(inlined by\) )?[\w.]{1,128} at \S{1,200}\.[chS]:(?:[0-9]{1,7}|\?)")
_DECODED = re.compile(_LEAD + _NAME + rf" (?:\[\w{{1,64}}\] )?{_FILE}", re.ASCII)

# syzkaller's symbolizer until 2016: [<     inline     >] symbol file:line
# ... and with the function that holds it: [<     inlined    >] holder+0x1/0x2 symbol file:line
_INLINED = re.compile(
    r"\[< {0,8}inlined? {0,8}>\] (?P<clue>\? )?"
    rf"(?:[\w.$]{{1,512}}\+0x[0-9a-f]{{1,16}}/0x[0-9a-f]{{1,16}} )?{_NAME} {_FILE}",
    re.ASCII,
)

# The faulting function:
#   x86:      RIP: 0010:symbol+0x1/0x2, RIP: 0010:[<...>]  [<...>] symbol+0x1/0x2,
#             RIP  [<...>] symbol+0x1/0x2, RIP: symbol (file:line), EIP: symbol+0x1/0x2,
#             EIP is at symbol+0x1/0x2
#   arm:      PC is at symbol+0x1/0x2        arm64: pc : symbol+0x1/0x2
#   riscv:    epc : symbol+0x1/0x2           MIPS:  epc   : 80123456 symbol+0x1/0x2
#   s390x:    Krnl PSW : 0704c00180000000 00000000001f3a52 (symbol+0x1/0x2)
#   powerpc:  NIP [c0123456] symbol+0x1/0x2  LoongArch: ERA: 9000000000223d5c symbol+0x1/0x2
#   sparc:    TPC: <symbol+0x1/0x2>          parisc: IAOQ[0]: symbol+0x1/0x2
_AT_FAULT = re.compile(
    r"(?:Krnl PSW : [0-9a-f]{8,16} |(?:[RE]?IP|ip(?= is at)|NIP|[Pp][Cc]|epc|ERA|TPC|IAOQ\[0\])"
    r"(?: is at | {0,8}: {0,8}| {1,4}))"
    r"(?:[0-9a-fA-F]{4}: ?)?"
    r"(?:\(?\[?<?(?P<address>(?:0x)?[0-9a-f]{8,16})>?\]?\)?:? {0,8})?"
    r"(?:\[?<?(?:0x)?[0-9a-f]{8,16}>?\]? {0,8})?[(<]?",
    re.ASCII,
)
_FAULT_SYMBOL = re.compile(_SYMBOL, re.ASCII)
_FAULT_DECODED = re.compile(_NAME + rf" {_FILE}", re.ASCII)


def fault(text: str) -> Frame | None:
    """Return the function that a line of registers says the CPU was in; None when it says none."""
    begins = _AT_FAULT.match(text)
    if not begins:
        return None
    address = _hex(begins["address"])
    if found := _FAULT_SYMBOL.match(text, begins.end()):
        offset, size = int(found["offset"], 16), int(found["size"], 16)
        source = _SOURCE.match(text, min(found.end() + 1, len(text)))
        return Frame(found["symbol"], offset, size, address, _source(source))
    if found := _FAULT_DECODED.match(text, begins.end()):
        return Frame(found["symbol"], address=address, source=_source(found))
    if found := _OLD.search(text, 0, 200):
        return Frame(found["symbol"], int(found["offset"]), None, int(found["address"], 16))
    return None


def frame(text: str) -> Frame | None:
    """Return the frame that a line of a trace shows; None when it shows none."""
    if text.startswith("<"):
        tag = _STACK_NAME.match(text)
        text = text[tag.end() :] if tag else text
    callee = _CALLEE.match(text) if " from " in text else None
    start = callee.end() if callee else 0
    inlined = _INLINED.match(text, start) if "inline" in text else None
    if not inlined and (found := _FRAME.match(text, start)):
        rest = text[found.end() : found.end() + 300]
        source = _SOURCE.search(rest) if "." in rest else None
        module = _MODULE.match(rest) if rest else None
        return Frame(
            found["symbol"],
            int(found["offset"], 16),
            int(found["size"], 16),
            _address(found),
            _source(source),
            _is_reliable(found, rest, callee=callee is not None),
            module["module"] if module else found["of"],
        )
    if found := _HEXAGON.match(text):
        offset, address = int(found["offset"], 16), int(found["address"], 16)
        return Frame(found["symbol"], offset, None, address, module=found["module"])
    if inlined:
        return Frame(inlined["symbol"], source=inlined["source"], reliable=not inlined["clue"])
    if found := _BARE.match(text, start):
        bare = found["bare"] or found["alone"]
        clue = found["clue"] or found["clue0"] or found["paren"] or found["paren2"]
        clue = clue or "(unreliable)" in text
        address = _hex(found["address"]) or int(bare, 16)
        return Frame(None, address=address, reliable=not clue, module=found["module"])
    return None


def frames(text: str) -> Iterator[Frame]:
    """Return all the frames of a line: old kernels print several on one line."""
    if "{" in text and _OLD.search(text):
        for found in _OLD.finditer(text):
            offset, address = int(found["offset"]), int(found["address"], 16)
            yield Frame(found["symbol"], offset, None, address, module=found["module"])
    elif text.count("+0x") > 1 and "from" not in text and (lines := _lines(text)):
        yield from filter(None, map(frame, lines))
    elif shown := frame(text):
        yield shown
        if "from" not in text:
            for another in _ANOTHER.finditer(text, 1):
                if shown := frame(text[another.start() :]):
                    yield shown


def _lines(text: str) -> list[str]:
    """Return the frames that one line holds without brackets, if it holds several."""
    if _GLUED.search(text):
        return _GLUED.sub(r"\g<0>\n", text).split("\n")
    return _BETWEEN.split(text) if _IN_ONE_LINE.fullmatch(text) else []


def decoded_frame(text: str) -> Frame | None:
    """Return a frame of which a script left the source line but no offset; inlined ones too."""
    tag = _STACK_NAME.match(text)
    callee = _CALLEE.match(text) if " from " in text else None
    begins = callee or tag
    found = _DECODED.match(text, begins.end() if begins else 0)
    if not found:
        return None
    reliable = _is_reliable(found, text[found.end() :], callee=callee is not None)
    return Frame(found["symbol"], None, None, _address(found), _source(found), reliable)


def frame_alone(text: str, *, goes_on: bool) -> Frame | None:
    """Return a frame of which only the name is left.

    Args:
        text: the line.
        goes_on: the line before it was in a stack, too; else only what prints stacks begins one.
    """
    if found := _WITHOUT_SIZE.match(text):
        offset = int(found["offset"], 16)
        return Frame(found["symbol"], offset, reliable=not found["clue"]) if goes_on else None
    found = (_NAME_ALONE if goes_on else _FIRST_ALONE).match(text)
    if not found:
        return None
    if not goes_on:
        return Frame(text)
    return Frame(found["symbol"], reliable=not found["clue"], module=found["module"])


def begins_stacks(frame: Frame) -> bool:
    """Return whether a frame's function prints stacks: nothing but its like stands above it."""
    return _BEGINS.match(frame.symbol or "") is not None


def is_annotation(text: str) -> bool:
    """Return whether a line says where a frame's code stands, as scripts/faddr2line prints it."""
    return _ANNOTATION.match(text) is not None


def _is_reliable(found: re.Match[str], rest: str, *, callee: bool) -> bool:
    clue = found["clue"] or found["clue0"] or (found["paren"] and not callee)
    return not clue and "(unreliable)" not in rest


def _source(found: re.Match[str] | None) -> str | None:
    """Return `file:line`; None where the script did not find the line."""
    source = found["source"] if found else None
    return None if source is None or _NO_LINE.search(source) else source


def _address(found: re.Match[str]) -> int | None:
    names = ("address", "address2", "address3", "address4", "address5", "address6")
    return next((_hex(found[name]) for name in names if found[name]), None)


def _hex(text: str | None) -> int | None:
    return int(text, 16) if text and "(" not in text else None
