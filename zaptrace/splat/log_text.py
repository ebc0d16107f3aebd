"""A log's bytes -> lines of text: undoes what happened to them on their way to a file.

Terminal escapes, CRLF, NULs, UTF-16, HTML, JSON lines, and lines that share one: the kernel's
words can follow user-space output that did not end its line.
"""

from __future__ import annotations

import codecs
import html
import json
import re
from collections.abc import Iterable, Iterator

from zaptrace.splat.prefixes import STAMP, ending, is_prefix, strip_known

LONGEST = 4096
"""Characters of a line that are looked at; printk's own limit is below 2048."""
_LONGEST_JSON = 1 << 16

# ECMA-48 control sequences, operating-system commands, and two-character escapes.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}+[ -/]{0,8}+[@-~]|\][^\x07\x1b\n]{0,256}+(?:\x07|\x1b\\)|[@-_])?"
)
_NO_BREAK = "\xa0".encode()
_CONTROLS = dict.fromkeys(
    [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"]
)
_STAMP = re.compile(STAMP)
_QUOTES = re.compile(r"(?:> ?){1,16}")
_STAMP_AND_CPU = re.compile(r"(\[ {0,11}[0-9]{1,12}\.[0-9]{6})@[0-9]{1,4}\][a-z]? ?")  # Amlogic's
# The first character was not copied.
_HALF_STAMP = re.compile(r"(?P<quotes>(?:[>|]{1,16} ?)?)(?= {0,11}[0-9]{1,12}\.[0-9]{6}\])")
_HALF_BEGINS = frozenset("0123456789>| ")
# rsyslog writes control characters as `#012`, others as `\\x0a`.
_BREAK = re.compile(r"\r+|<br ?/?>|\\r?\\n(?=[\[<0-9 ])|#012|\\x0a", re.IGNORECASE)
_REPORT_LINE = re.compile(
    r"(?<=[^\s>|])(?=addr:[0-9a-f]{8,16} vm_flags:|Pid: [0-9]{1,10}, comm: |Call [Tt]race:"
    r"|CPU: [0-9]{1,5} (?:UID: [0-9]{1,10} )?PID: [0-9]{1,10} Comm: |page dumped because: "
    r"|page:[0-9a-f]{8,16} (?:ref)?count:|Disabling lock debugging due to|Hardware name: )"
    r"| {1,8}(?=page dumped because: |raw: [0-9a-f]{8}|Modules linked in:|Hardware name: "
    r"|-{12}\[ cut|CPU: [0-9]{1,5} (?:UID: [0-9]{1,10} )?PID: [0-9]{1,10} Comm: |Call [Tt]race: "
    r"|page:(?:\(ptrval\)|[0-9a-f]{8,16})? (?:ref)?count:|(?<![a-z]{3} )flags: 0x[0-9a-f]{1,16}\("
    r"|pc : [A-Za-z_][\w.]{1,128}\+0x|RIP: 0010:)"
)
# Its words that could be a prefix: a page's, the kernel's release, the BIOS's date.
_OF_REPORT = re.compile(
    r"(?:[0-9a-f]{8,16}(?: |$)){1,8}$|pfn:|linked in:|[2-7]\.[0-9]{1,2}\.[0-9]|#[0-9]"
    r"|(?:mapping|index|refcount|mapcount):|.{0,100}\b[0-9]{2}/[0-9]{2}/[0-9]{4}$"
)
_TAG = re.compile(
    r"</?(?:p|pre|span|div|code|tt|td|tr|font|b|i|em|strong|blockquote|body)(?: [^<>]{0,200})?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#[0-9]{1,5}|#x[0-9a-fA-F]{1,4});")

# journalctl -o export, json-pretty: one field a line.
_MESSAGE = re.compile(r'\s*(?:MESSAGE=|"MESSAGE" ?: ?")')
_FIELD = re.compile(
    r"\s*(?:[{}\[\],]{1,3}$|(?!COMM=.{1,64} PID=[0-9])_{0,2}[A-Z][A-Z0-9_]{1,63}="
    r'|"[A-Z_][A-Z0-9_]{1,63}" ?: )'
)
_TEXT_KEYS = ("MESSAGE", "message", "msg", "log", "text", "line", "_raw", "textPayload")


def pieces(whole: str) -> Iterator[str]:
    """Yield the lines that one line of a file holds, none of them empty. Never raises."""
    if "\x1b" in whole:
        whole = _ESCAPE.sub("", whole)
    if not whole.isprintable():
        whole = whole.translate(_CONTROLS)
    if "0\u00d7" in whole or "@" in whole:  # typographic: of web pages
        whole = _STAMP_AND_CPU.sub(r"\1] ", whole.replace("0\u00d7", "0x"))
    if '"' in whole or "MESSAGE=" in whole:
        whole = _unquoted(whole)
    is_broken = "\r" in whole or "<" in whole or "\\" in whole or "#012" in whole
    for part in _BREAK.split(whole) if is_broken else [whole]:
        text = _without_html(part) if "&" in part or "<" in part else part
        if text[:1] in _HALF_BEGINS and (half := _HALF_STAMP.match(text)):
            text = f"{half['quotes']}[{text[half.end() :]}"
        for piece in _at_stamps(text) if "[" in text else [text]:
            if piece := piece[:LONGEST].rstrip().removesuffix("^M").rstrip():
                yield from _at_words(piece) if _REPORT_LINE.search(piece) else [piece]


def _without_html(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\xa0", " "), text)
    return _TAG.sub("", text) if "<" in text and "/" in text else text


def _at_stamps(text: str) -> Iterator[str]:
    """Break a line before each stamp that follows another's words; a mail's quotes stand before
    each piece."""
    start = end = 0  # of the piece, of its last stamp
    if not _STAMP.search(text, 1):  # of a line, but at its start
        yield text
        return
    quotes = _QUOTES.match(text)
    lead = quotes[0] if quotes else ""
    outer: re.Pattern[str] | None = None  # what stands before each stamp
    for stamp in _STAMP.finditer(text):
        between = text[end : stamp.start()]
        said = between[strip_known(between).end :].strip()
        if said and (end > start or not is_prefix(between)):
            again = outer.search(text, end, stamp.start()) if outer else None
            begins = again.start() if again else stamp.start()
            yield (lead if start else "") + text[start:begins]
            start = begins
        elif not end:
            outer = ending(text[len(lead) : stamp.start()])
        end = stamp.end()
    yield (lead if start else "") + text[start:]


def _at_words(text: str) -> Iterator[str]:
    """Break a line without a stamp before the words that begin lines of reports: a mailer, or a
    web page, made paragraphs of them."""
    if _STAMP.search(text):
        yield text
        return
    quotes = _QUOTES.match(text)
    lead = start = quotes.end() if quotes else 0
    for number, found in enumerate(_REPORT_LINE.finditer(text, lead)):
        before = text[: found.start()]
        if number or _OF_REPORT.match(before, lead) or not is_prefix(before):
            yield text[:lead] + text[start : found.start()]
            start = found.end()
    yield text[:lead] + text[start:]


def _unquoted(text: str) -> str:
    """Return the message of a line in JSON, or of a journal's export."""
    start = text.lstrip()
    if start.startswith('"') and '","' in start and start.endswith('"'):  # CSV: the last column
        return start[:-1].replace('""', '"')
    if start.startswith(("{", "data: {", "- {")) and len(text) <= _LONGEST_JSON:
        try:  # LAVA's lines are a list of YAML
            record = json.loads(start.removeprefix("data: ").removeprefix("- "))
        except (ValueError, RecursionError):
            return text
        return _of_record(record) if isinstance(record, dict) else text
    if found := _MESSAGE.match(text):
        said = text[found.end() :].rstrip().removesuffix(",")
        if not found[0].endswith('"'):
            return f"kernel: {said}"
        try:
            return f"kernel: {json.loads(chr(34) + said)}"
        except (ValueError, RecursionError):
            return text
    return text


def _of_record(record: dict[object, object]) -> str:
    said = next((record[key] for key in _TEXT_KEYS if record.get(key)), None)
    if isinstance(said, list) and all(isinstance(one, int) and 0 <= one < 256 for one in said):
        said = bytes(said).decode("utf-8", "replace")  # journald's way with odd characters
    if not isinstance(said, str):
        return ""
    said = said.rstrip("\n").replace("\n", "\r")
    if "MESSAGE" not in record:
        return said
    host = str(record.get("_HOSTNAME") or "host")[:64]
    name = str(record.get("SYSLOG_IDENTIFIER") or record.get("_TRANSPORT") or "kernel")[:64]
    if name != "kernel":
        return f"{host} {name}[{str(record.get('_PID') or 0)[:10]}]: {said}"
    time = str(record.get("_SOURCE_MONOTONIC_TIMESTAMP") or "")
    is_time = time.isascii() and time.isdigit() and len(time) < 17
    stamp = f"[{int(time) / 1e6:12.6f}] " if is_time else ""
    return f"{host} kernel: {stamp}{said}"


def is_journal_field(text: str) -> bool:
    """Return whether a line is a journal entry's field other than its message."""
    return _FIELD.match(text) is not None and _MESSAGE.match(text) is None


def utf8(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks of a file as UTF-8 without NULs and no-break spaces.

    UTF-16 is known by its mark or by its NULs.  Mailers and web pages put no-break spaces where
    blanks follow each other.
    """
    decoder: codecs.IncrementalDecoder | None = None
    first = True
    for block in blocks:
        if first and block:
            first = False
            block = block.removeprefix(codecs.BOM_UTF8)
            if name := _utf16(block):
                decoder = codecs.getincrementaldecoder(name)("replace")
        if decoder:
            block = decoder.decode(block).encode("utf-8", "replace")
        elif b"\0" in block:
            block = block.translate(None, b"\0")
        yield block.replace(_NO_BREAK, b" ") if _NO_BREAK in block else block


def _utf16(block: bytes) -> str | None:
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = block[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) >= 16 and max(even, odd) * 10 > len(head) * 4:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None
