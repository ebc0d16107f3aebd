"""What stands before the kernel's words on a line, learnt from a report's first line.

A log's transport (journald, syslog, a terminal program's stamps, a mail's quotes) puts the same
things before every line: what stands before a headline stands before its lines.  Numbers and
levels differ from line to line; words (a host, a container, a task) do not: a line with another
host's name is another host's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

LONGEST = 256
"""Characters; nothing longer is a prefix."""

STAMP = r"\[ {0,11}[0-9]{1,12}\.[0-9]{6}\]"  # print_time() in kernel/printk/printk.c
_STAMP = re.compile(STAMP)
_CALLER = r"\[ {0,11}[TC][0-9]{1,10}\]"  # CONFIG_PRINTK_CALLER: thread or CPU

_KNOWN = re.compile(
    rf"(?P<time>{STAMP}) ?"
    rf"|(?P<caller>{_CALLER}) ?"
    r"|<[0-9]{1,4}>"  # dmesg --raw, /dev/kmsg: facility and level
    r"|[a-z0-9]{2,8} *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: ?"  # dmesg --decode
    r"|\[[A-Z][a-z]{2} [A-Za-z0-9: ]{6,24}\] ?"  # dmesg --ctime, --reltime
    r"|\[[A-Z][a-z]{2}[0-9]{1,2} [0-9:]{5}\] ?"
    r"|\[ *\+[0-9.]{1,18}\] ?"  # dmesg --show-delta
    r"|(?:stdout|stderr) [FP] "  # containerd, CRI-O: after their stamp
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,+Z-]{8,35} "  # ISO 8601: dmesg, rsyslog, journalctl
    r"|(?P<daemon>(?:[^\s\d<>\[]{2,9}\.? [ 0-9]?[0-9] [0-9:.]{8,15} )?(?:[\w.-]{1,64} )?kernel: )",
    re.ASCII,
)

_LEVELS = frozenset(
    [
        "emerg",
        "emergency",
        "alert",
        "crit",
        "critical",
        "err",
        "error",
        "warn",
        "warning",
        "notice",
        "info",
        "debug",
        "panic",
    ]
)
_DAEMONS = frozenset({"kernel", "kern", "kmsg", "klogd", "dmesg", "vmunix", "printk"})

_TOKEN = re.compile(
    rf"(?P<stamp>{STAMP})"
    rf"|(?P<caller>{_CALLER})"
    r"|(?P<level><[0-9]{1,4}>)"
    r"|(?P<space>\s+)"
    r"|(?P<word>\w+(?:[.@/-]\w+)*)"
    r"|(?P<mark>.)",
    re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]+(?:[.T/-]?[0-9]+)*Z?", re.ASCII)
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
# What grep -n puts before a line, and with -A before those that follow: `file:12:`, `file-13-`.
_GREP = re.compile(
    r"(?:(?P<file>[\w./-]{1,128}):(?=[0-9]{1,12}:)|(?P<of>[\w./-]{0,64}[./][\w./-]{1,64}?)-"
    r"(?=[0-9]{1,12}-))?[0-9]{1,12}[:-](?![0-9])"
)
_QUOTES = re.compile(r"[>|: \t]*")


@dataclass(frozen=True, slots=True)
class Stripped:
    """A line without what is known to stand before the kernel's words.

    Attributes:
        end: where the rest begins.
        time: seconds since boot as printed, or None.
        caller: printk's caller id (`T123` thread, `C0` CPU), or None.
        daemon: a logging daemon's own words were among it.
    """

    end: int
    time: float | None
    caller: str | None
    daemon: bool


def strip_known(text: str, start: int = 0) -> Stripped:
    """Take off the prefixes of printk, dmesg, syslog and journald, in any order."""
    time: float | None = None
    caller: str | None = None
    daemon = False
    while found := _KNOWN.match(text, start):
        start = found.end()
        if found["time"]:
            time = float(found["time"].strip("[] "))
        if found["caller"]:
            caller = found["caller"].strip("[] ")
        daemon = daemon or found["daemon"] is not None
    return Stripped(start, time, caller, daemon)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands before the lines of one source.

    Attributes:
        key: the same for prefixes of the same source.
        own: matches it.
        alike: matches another source's in the same form; None when it has no words.
        inner: matches it from printk's stamp on; None when it has no stamp.
        outer: matches what stands before that stamp, which also stands before the rest of a
            line that was broken; None when nothing does.
        caller: printk's caller id, or None.
        bare: it is empty: any line can be this source's.
        thin: quotes and blanks: what a mailer puts before each line that it breaks, too.
        known: nothing but what printk and dmesg put there.
        quotes: how many answers quote it before its stamp; None where something else stands there.
    """

    key: str
    own: re.Pattern[str]
    alike: re.Pattern[str] | None
    inner: re.Pattern[str] | None
    outer: re.Pattern[str] | None
    caller: str | None
    bare: bool
    thin: bool
    known: bool
    quotes: int | None

    def covers(self, other: Prefix, before: str, text: str) -> bool:
        """Return whether another line's prefix comes from this source, too.

        Args:
            other: what was learnt from it.
            before: it.
            text: the whole line.
        """
        if self.own.fullmatch(before):
            return True
        same = self.known and other.known and self.caller == other.caller
        return same and self.body(text) is not None

    def is_anothers(self, text: str, last: str) -> bool:
        """Return whether a line without a stamp is no rest of the last one.

        z/VM's console breaks lines, and puts the CPU's number before each piece: the same number.
        """
        outer = self.outer.match(text) if self.outer else None
        return outer is not None and not last.startswith(outer[0].rstrip())

    def is_of(self, text: str) -> bool:
        """Return whether a line begins with this prefix, to the letter."""
        return not self.bare and self.own.match(text) is not None

    def body(self, text: str) -> tuple[str, bool] | None:
        """Return a line's words, and whether the whole prefix stands before them; None: not this
        one's."""
        if found := self.own.match(text):
            start = strip_known(text, found.end()).end
            is_stamped = self.thin and start > found.end()  # this source's lines have no stamps
            return text[start:].strip(), self.bare or not is_stamped
        if self.alike and self.alike.match(text):
            return None
        if self.inner:
            stamp = _STAMP.search(text, 0, LONGEST)
            if stamp:  # after user-space output that did not end its line
                if self.quotes not in (None, quotes_of(text[: stamp.start()], self.quotes)):
                    return None  # another mail's
                found = self.inner.match(text, stamp.start())
                return (text[found.end() :].strip(), True) if found else None
        known = strip_known(text)
        if known.daemon or known.caller not in (None, self.caller):
            return None
        if not known.end and self.outer and (found := self.outer.match(text)):
            return text[found.end() :].strip(), False
        start = known.end or _quotes_end(text)
        return text[start:].strip(), known.end > 0


def quotes_of(before: str, other: int | None) -> int | None:
    """Return how many answers quote what stands before a stamp; `other` where more stands there."""
    return before.count(">") if _QUOTES.fullmatch(before) else other


_QUOTED_STAMP = re.compile(rf"(?P<quotes>>[>\s]{{0,16}}){STAMP}")


def quoted_too(last: str, text: str) -> str:
    """Return a line with the quotes of the one before it, of which a web page needs but the first.

    Markdown takes a paragraph's other lines for quoted; answers begin after an empty line.
    """
    first = _QUOTED_STAMP.match(last) if last.startswith(">") and text.startswith("[") else None
    return f"{first['quotes']}{text}" if first and _STAMP.match(text) else text


def _quotes_end(text: str) -> int:
    found = _QUOTES.match(text)
    return found.end() if found else 0


_EXTENDED = re.compile(r"[0-9]{1,4},[0-9]{1,20},(?P<micros>[0-9]{1,20}),[-c]")  # /dev/kmsg


def seconds(before: str) -> float | None:
    """Seconds since boot as a prefix says them, None when it does not."""
    stamps = _STAMP.findall(before)
    if stamps:
        return float(stamps[-1].strip("[] "))
    extended = _EXTENDED.search(before)
    return int(extended["micros"]) / 1e6 if extended else None


def learn(before: str) -> Prefix:
    """Generalise what stands before a headline."""
    own: list[str] = []
    alike: list[str] = []
    inner_at: int | None = None
    caller: str | None = None
    has_words = False
    if grep := _GREP.match(before):
        file = grep["file"] or grep["of"]
        own.append(f"{re.escape(file)}[:-]" if file else "")
        own.append(r"\s{0,16}[0-9]{1,12}[:-]")
        alike.extend((r"[\w./-]{1,128}?[:-]" if file else "", own[-1]))
        has_words = file is not None
    for found in _TOKEN.finditer(before, grep.end() if grep else 0):
        kind, text = found.lastgroup, found[0]
        same = other = _same(str(kind), text)
        if kind == "stamp":
            inner_at = len(own)
        elif kind == "caller":
            caller = text.strip("[] ")
            has_words = True
            other = _CALLER
        elif same is None:
            has_words = True
            same, other = re.escape(text), r"[\w.@/-]{1,64}"
        own.append(str(same))
        alike.append(str(other))
    inner = "".join(own[inner_at:]) if inner_at is not None else None
    outer = "".join(own[:inner_at]) if inner_at else None
    is_known = not before[strip_known(before).end :].strip()
    is_thin = _QUOTES.fullmatch(before) is not None
    if before and is_thin:
        own = [_QUOTES.pattern]  # a mail quotes its lines as deep as they were answered
    others = "".join(alike) if has_words else None
    stamp = _STAMP.search(before)
    quotes = quotes_of(before[: stamp.start()], None) if stamp else None
    return _prefix("".join(own), others, inner, outer, caller, is_thin, is_known, quotes)


def ending(before: str) -> re.Pattern[str] | None:
    """Return what finds a prefix's like at the end of other words; None when it has no words."""
    prefix = learn(before) if before.strip() and len(before) <= LONGEST else None
    if prefix is None or prefix.thin:
        return None
    return re.compile(rf"(?<=\s){prefix.key.strip()}$")


@lru_cache(maxsize=512)
def _prefix(
    own: str,
    alike: str | None,
    inner: str | None,
    outer: str | None,
    caller: str | None,
    is_thin: bool,
    is_known: bool,
    quotes: int | None,
) -> Prefix:
    return Prefix(
        own,
        re.compile(own),
        re.compile(alike) if alike else None,
        re.compile(inner) if inner else None,
        re.compile(outer) if outer else None,
        caller,
        not own,
        is_thin,
        is_known,
        quotes,
    )


def _same(kind: str, text: str) -> str | None:
    """Return a pattern of what can stand in a token's place on another line; None: only itself."""
    if kind == "stamp":
        return STAMP
    if kind == "level":
        return "(?:<[0-9]{1,4}>)?"
    if kind == "space":
        return r"\s{0,16}"
    if kind == "caller":
        return rf"\[ {{0,11}}{text.strip('[] ')}\]"
    if kind == "mark":
        if text in "-(":  # MediaTek: `-` where interrupts are off
            return "-?" if text == "-" else r"-?\("
        return re.escape(text)
    if _ADDRESS.fullmatch(text):
        return None
    if _NUMBER.fullmatch(text):
        return r"\s{0,16}[0-9.TZ/-]{1,40}"
    if not _LEVELS.isdisjoint(text.lower().split(".")):
        return r"\w{1,32}(?:\.\w{1,32})?"
    return "[A-Z]" if len(text) == 1 and text.isupper() else None  # logcat's level


_TAG = re.compile(r"(?P<tag>[\w./@-]{1,64})(?P<pid>\[[0-9]{1,10}\])? {0,8}: *$")
# A time, a host, and a tag that is not the kernel's.
_SYSLOG = re.compile(
    r"[0-9]:[0-9]{2}[0-9.,:+Z-]{0,24}\s+[\w.-]{1,64}\s+(?!\w{0,3}tty)[a-zA-Z][\w./-]{0,63}: *$"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_TITLE = re.compile(
    r"[>|\s]*(?:subject|summary|title|description|synopsis|headline|re|fwd?|bug [0-9]{1,9})\s*[:-]",
    re.IGNORECASE,
)
_SPOKEN = re.compile(rf"{STAMP}|\b(?:kernel|klogd|kmsg)(?:\[[0-9]{{1,10}}\])?:(?=\s|$)")
_LEVEL = re.compile(r"\s{0,4}<[0-9]{1,4}>")  # klogd's, of a message that did not end a line
# MediaTek: ` -(5)[4321:task]`, Samsung: ` [5:  task: 4321]`, Qualcomm, Spreadtrum: ` c5 4321 `,
# NVIDIA: ` (CPU:5-pid:4321:task)`.
_INNER = re.compile(
    r"[\s-]{0,8}(?:c[0-9]{1,3}\s{1,8}(?:[0-9]{1,8}\s)?|\((?:[0-9]{1,4}|CPU:[^()]{1,48})\))?"
    r"(?:\[[^\[\]]{1,64}\])?[\s:;-]{0,4}"
)
_FACILITY = re.compile(r"<[0-9]{1,4}>")
_COLUMN = re.compile(r"[0-9].{0,128}[\t,|;]\"?(?:kernel|kern|kmsg|dmesg)\"?[\t,|;] ?\"?$")
_CALENDAR = re.compile(
    r"(?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
    r"|utc|gmt|[a-z]{0,3}st|[a-z]{0,3}dt|am|pm"
)


def says_kernel(before: str) -> bool:
    """Return whether a prefix says that the kernel speaks: a stamp, a level, a daemon's
    `kernel:`."""
    known = strip_known(before)
    if known.end and not before[known.end :].strip():
        return True
    if ("[" in before and _STAMP.search(before)) or ("<" in before and _FACILITY.search(before)):
        return True
    tag = _TAG.search(before[-LONGEST:])
    return tag is not None and tag["tag"].lower() in _DAEMONS | _LEVELS


def is_prefix(before: str) -> bool:
    """Return whether the text before a headline is a log's prefix, not a sentence about it.

    People quote headlines: in commit messages, in commands, in what their programs log.
    """
    if len(before) > LONGEST or _TITLE.match(before):
        return False
    if _QUOTES.fullmatch(before):
        return True
    spoken = list(_SPOKEN.finditer(before))
    if spoken:  # what follows is the kernel's own: nothing but a tag is a prefix
        level = _LEVEL.match(before, spoken[-1].end())
        known = strip_known(before, level.end() if level else spoken[-1].end())
        return _INNER.fullmatch(before, known.end) is not None
    tag = _TAG.search(before)
    if (tag and tag["tag"].lower() in _DAEMONS) or _COLUMN.search(before):
        return True
    if tag and (tag["pid"] or _SYSLOG.search(before)):
        return False  # another program's
    words = [word.lower() for word in _WORD.findall(before)]
    telling = [one for one in words if one not in _LEVELS and not _CALENDAR.fullmatch(one)]
    has_number = any(char.isdigit() for char in before)
    end, last = before.rstrip()[-1:], before.split()[-1]
    if end.isalpha() and not (
        _NUMBER.fullmatch(last.rpartition(":")[2])
        or _CALENDAR.fullmatch(last.lower())
        or (has_number and len(last) == 1 and last.isupper())  # containerd's F, logcat's levels
    ):
        return False
    if end in "\"'`(" and not before.endswith(',"'):
        return False
    if not has_number:
        return not telling or (end == "|" and len(telling) <= 2) or _is_level(before, telling)
    sentence = tag is not None and tag["tag"].lower() not in _LEVELS and tag["tag"].isalpha()
    return len(telling) <= (2 if sentence else 6)


def _is_level(before: str, telling: list[str]) -> bool:
    """Return whether the text is a log level: `kern  :alert : `, `host: kern: warning: `."""
    tag = re.search(r"(\w{1,16}) *: *$", before)
    return len(telling) <= 2 and tag is not None and tag[1].lower() in _LEVELS
