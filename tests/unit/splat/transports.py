"""The ways of a kernel's lines to a file: each dresses lines as one of them does.

Nothing here knows the parser.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable

Lines = list[str]
Dress = Callable[[Lines], bytes]


def _each(prefix: Callable[[int], str], end: str = "\n") -> Dress:
    return lambda lines: "".join(
        f"{prefix(at)}{line}{end}" for at, line in enumerate(lines)
    ).encode()


def _stamp(at: int) -> str:
    return f"[{1234 + (at // 7):5d}.{(at * 143) % 1000000:06d}]"


def _clock(at: int) -> str:
    return f"09:{7 + at // 60:02d}:{at % 60:02d}"


LEVELS = ("alert", "alert", "warn", "info", "crit", "err")


def _level(at: int) -> str:
    return LEVELS[at % len(LEVELS)]


PREFIXES: dict[str, Callable[[int], str]] = {
    "bare": lambda at: "",
    "printk": lambda at: f"{_stamp(at)} ",
    "printk, thread": lambda at: f"{_stamp(at)}[ T4321] ",
    "printk, CPU": lambda at: f"{_stamp(at)}[    C3] ",
    "callers alone": lambda at: "[ T4321] ",
    "dmesg --raw": lambda at: f"<{at % 8}>{_stamp(at)} ",
    "dmesg -x": lambda at: f"kern  :{_level(at):<6}: {_stamp(at)} ",
    "dmesg -x, thread": lambda at: f"kern  :{_level(at):<6}: {_stamp(at)} [ T4321] ",
    "dmesg -T": lambda at: f"[Tue Mar  5 {_clock(at)} 2024] ",
    "dmesg -T, German": lambda at: f"[Di Mär  5 {_clock(at)} 2024] ",
    "dmesg --reltime": lambda at: "[Mar 5 09:07] " if at == 0 else f"[  +0.{at * 13:06d}] ",
    "dmesg --show-delta": lambda at: f"[{1234 + at}.000001 <    0.{at * 7:06d}>] ",
    "dmesg --time-format iso": lambda at: f"2024-03-05T{_clock(at)},{at * 977:06d}+01:00 ",
    "Qualcomm, CPU and pid": lambda at: f"{_stamp(at)} c5 4321 ",
    "Spreadtrum": lambda at: f"{_stamp(at)} c5  ",
    "Amlogic": lambda at: f"{_stamp(at)[:-1]}@5]d ",
    "NVIDIA, Tegra": lambda at: f"{_stamp(at)} (CPU:5-pid:4321:worker-7) ",
    "Kibana's columns": lambda at: f"Mar 5, 2024 @ {_clock(at)}.{at:03d}\tbox\tkernel\t",
    "journalctl": lambda at: f"Mar 05 {_clock(at)} box kernel: ",
    "journalctl, German": lambda at: f"Mär 05 {_clock(at)} box kernel: ",
    "journalctl, French": lambda at: f"févr. 05 {_clock(at)} box.example.org kernel: ",
    "journalctl, Russian": lambda at: f"мар 05 {_clock(at)} box kernel: ",
    "journalctl, Japanese": lambda at: f" 3月 05 {_clock(at)} box kernel: ",
    "journalctl, Czech": lambda at: f"bře 05 {_clock(at)} box-2 kernel: ",
    "journalctl -o short-full": lambda at: f"Tue 2024-03-05 {_clock(at)} CET box kernel: ",
    "journalctl -o short-iso": lambda at: f"2024-03-05T{_clock(at)}+0100 box kernel: ",
    "journalctl -o short-precise": lambda at: f"Mar 05 {_clock(at)}.{at * 977:06d} box kernel: ",
    "journalctl -o short-monotonic": lambda at: f"{_stamp(at)} box kernel: ",
    "journalctl -o short-unix": lambda at: f"1709629655.{at * 977:06d} box kernel: ",
    "journalctl -o with-unit": lambda at: f"Tue 2024-03-05 {_clock(at)} CET box kernel[0]: ",
    "syslog": lambda at: f"Mar  5 {_clock(at)} box kernel: {_stamp(at)} ",
    "syslog, no stamp": lambda at: f"Mar  5 {_clock(at)} 192.168.7.9 kernel: ",
    "syslog, klogd": lambda at: f"Mar  5 {_clock(at)} box klogd: ",
    "syslog, RFC 5424": lambda at: f"<{at % 8}>1 2024-03-05T{_clock(at)}.1Z box kernel - - - ",
    "syslog, priority": lambda at: f"<{at % 8}>Mar  5 {_clock(at)} box kernel: ",
    "busybox syslogd": lambda at: f"Jan  1 {_clock(at)} box user.{_level(at)} kernel: ",
    "OpenWrt logread": lambda at: (
        f"Tue Mar  5 {_clock(at)} 2024 kern.{_level(at)} kernel: {_stamp(at)} "
    ),
    "netconsole": lambda at: f"2024-03-05 {_clock(at)} 10.1.2.3:6665 {_stamp(at)} ",
    "netconsole, extended": lambda at: f"{at % 8},{4220 + at},{13746000 + at},-;",
    "/dev/kmsg, caller": lambda at: f"{at % 8},{4220 + at},{13746000 + at},-,caller=T4321;",
    "talosctl dmesg": lambda at: (
        f"node1.example: kern: {'warning' if at % 3 else 'alert':>7}: "
        f"[2024-03-05T{_clock(at)}.{745000000 + at}Z]: "
    ),
    "logcat": lambda at: f"03-05 {_clock(at)}.{at:03d}     0     0 {'EWI'[at % 3]}         : ",
    "logcat, tag": lambda at: f"03-05 {_clock(at)}.{at:03d}     0     0 {'EWI'[at % 3]} KERNEL  : ",
    "MediaTek": lambda at: f"<{at % 8}>{_stamp(at)} {'-' if at % 4 else ' '}(5)[4321:worker-7]",
    "Samsung": lambda at: f"<{at % 8}>{_stamp(at)} [5:       worker-7: 4321] ",
    "Samsung, irq": lambda at: f"<{at % 8}>{_stamp(at)}  [5:       worker-7: 4321] ",
    "Qualcomm": lambda at: f"<{at % 8}>[{1234 + at}.{at:06d} / 03-05 {_clock(at)}.{at:03d}] ",
    "quoted": lambda at: "> ",
    "quoted twice": lambda at: ">> ",
    "quoted thrice": lambda at: "> > > ",
    "quoted, stamps": lambda at: f"> {_stamp(at)} ",
    "quoted with a bar": lambda at: "| ",
    "indented": lambda at: "    ",
    "tab": lambda at: "\t",
    "picocom": lambda at: f"[{_clock(at)}.{at:03d}] ",
    "minicom": lambda at: f"[2024-03-05 {_clock(at)}] ",
    "minicom, stamps": lambda at: f"[2024-03-05 {_clock(at)}] {_stamp(at)} ",
    "PuTTY, am and pm": lambda at: f"[{_clock(at)} PM] ",
    "ts": lambda at: f"Mar 05 {_clock(at)} ",
    "grabserial": lambda at: f"[{12 + at}.{at:06d} 0.{at:06d}] ",
    "conserver": lambda at: f"[-- {_clock(at)} --] ",
    "arrow": lambda at: f"{_clock(at)}.{at:03d} -> ",
    "GitHub": lambda at: f"2024-03-05T{_clock(at)}.{at * 977:07d}Z ",
    "GitHub, stamps": lambda at: f"2024-03-05T{_clock(at)}.{at * 977:07d}Z {_stamp(at)} ",
    "containerd": lambda at: f"2024-03-05T{_clock(at)}.{at:09d}Z stderr F ",
    "steps": lambda at: f"[{at}/99] ",
    "US dates": lambda at: f"03/05/2024 {_clock(at)} PM - ",
    "compose": lambda at: f"vm-1  | {_stamp(at)} ",
    "compose, no stamp": lambda at: "vm-1  | ",
    "LAVA": lambda at: f"2024-03-05T{_clock(at)}.{at * 977:06d}  {_stamp(at)} ",
    "LAVA, dmesg -x": lambda at: (
        f"2024-03-05T{_clock(at)}.{at * 977:06d}  kern  :{_level(at):<6}: "
    ),
    "KernelCI": lambda at: f"{_clock(at)}.{at * 977:06d}  <{at % 8}>{_stamp(at)} ",
    "Xen": lambda at: f"(d7) {_stamp(at)} ",
    "grep -n": lambda at: f"console.log:{123 + at}:{_stamp(at)} ",
    "grep -A": lambda at: f"{123 + at}{'-' if at else ':'}{_stamp(at)} ",
    "grep -A, file": lambda at: (
        f"a.log{'-' if at else ':'}{7 + at}{'-' if at else ':'}{_stamp(at)} "
    ),
    "numbers": lambda at: f"{at + 99:6d}  {_stamp(at)} ",
    "the first bracket is lost": lambda at: f"{1234 + at}.{at:06d}] ",
    "colours": lambda at: f"\x1b[32m{_stamp(at)} \x1b[0m\x1b[31m",
}


def _json(lines: Lines) -> bytes:
    return "".join(
        json.dumps(
            {
                "_HOSTNAME": "box",
                "PRIORITY": "1",
                "_TRANSPORT": "kernel",
                "SYSLOG_IDENTIFIER": "kernel",
                "MESSAGE": line,
                "_SOURCE_MONOTONIC_TIMESTAMP": str(12_000_000 + at),
            }
        )
        + "\n"
        for at, line in enumerate(lines)
    ).encode()


def _json_bytes(lines: Lines) -> bytes:
    return "".join(
        json.dumps({"_TRANSPORT": "kernel", "MESSAGE": list(line.encode())}) + "\n"
        for line in lines
    ).encode()


def _json_docker(lines: Lines) -> bytes:
    return "".join(
        json.dumps({"log": f"{_stamp(at)} {line}\n", "stream": "stdout", "time": "2024"}) + "\n"
        for at, line in enumerate(lines)
    ).encode()


def _export(lines: Lines) -> bytes:
    return "".join(
        f"__CURSOR=s=1;i={at}\n_HOSTNAME=box\nPRIORITY=1\nMESSAGE={line}\n_TRANSPORT=kernel\n\n"
        for at, line in enumerate(lines)
    ).encode()


def _pretty(lines: Lines) -> bytes:
    return "".join(
        f'{{\n\t"__CURSOR" : "s=1;i={at}",\n\t"PRIORITY" : "1",\n\t"MESSAGE" : '
        f'{json.dumps(line)},\n\t"_HOSTNAME" : "box"\n}}\n'
        for at, line in enumerate(lines)
    ).encode()


def _stamped(lines: Lines) -> Lines:
    return [f"{_stamp(at)} {line}" for at, line in enumerate(lines)]


def _zvm(lines: Lines) -> bytes:
    """z/VM's console: 80 columns, a CPU's number before each piece of a line."""
    return "".join(
        f"01: {line[start : start + 76]}\n"
        for line in _stamped(lines)
        for start in range(0, len(line), 76)
    ).encode()


def _other_host(lines: Lines) -> bytes:
    """Two hosts in one log; the other one is about another page."""
    out = []
    for at, line in enumerate(lines):
        out.append(f"Mar  5 {_clock(at)} other kernel: usb 1-1: reset {at}")
        out.append(f"Mar  5 {_clock(at)} box kernel: {line}")
        out.append(f"Mar  5 {_clock(at)} other kernel:  stranger+0x{at:x}/0x99")
        out.append(f"Mar  5 {_clock(at)} box sshd[77]: session {at} closed")
    return "\n".join(out).encode() + b"\n"


TRANSPORTS: dict[str, Dress] = {
    **{name: _each(prefix) for name, prefix in PREFIXES.items()},
    "CRLF": _each(lambda at: f"{_stamp(at)} ", "\r\n"),
    "CRCRLF": _each(lambda at: f"{_stamp(at)} ", "\r\r\n"),
    "CR": _each(lambda at: f"{_stamp(at)} ", "\r"),
    "UTF-16, little": lambda lines: "\n".join([*_stamped(lines), ""]).encode("utf-16-le"),
    "UTF-16, mark": lambda lines: "\r\n".join([*_stamped(lines), ""]).encode("utf-16"),
    "UTF-16, big": lambda lines: "\n".join([*_stamped(lines), ""]).encode("utf-16-be"),
    "Latin-1": lambda lines: "".join(
        f"Mär 05 {_clock(at)} box kernel: {line}\n" for at, line in enumerate(lines)
    ).encode("latin-1"),
    "NULs": lambda lines: b"\0".join(f"{line}\n".encode() for line in _stamped(lines)),
    "HTML, breaks": lambda lines: "".join(f"{html.escape(one)}<br>\n" for one in lines).encode(),
    "HTML, one line": lambda lines: (
        "<br/>".join(html.escape(one) for one in lines).encode() + b"<br/>\n"
    ),
    "HTML, pre": lambda lines: (
        f"<pre>{html.escape(chr(10).join(_stamped(lines)))}\n</pre>".encode()
    ),
    "HTML, code": lambda lines: "".join(
        f"<code>{html.escape(one)}</code>\n" for one in _stamped(lines)
    ).encode(),
    "journalctl -o json": _json,
    "journalctl -o json, bytes": _json_bytes,
    "journalctl -o export": _export,
    "journalctl -o json-pretty": _pretty,
    "docker's json": _json_docker,
    "LAVA's list": lambda lines: "".join(
        f"- {json.dumps({'dt': '2024', 'lvl': 'target', 'msg': line})}\n" for line in lines
    ).encode(),
    "CSV": lambda lines: "".join(
        f'"2024-03-05 {_clock(at)}","box","kernel","{line.replace(chr(34), chr(34) * 2)}"\n'
        for at, line in enumerate(lines)
    ).encode(),
    "z/VM": _zvm,
    "no-break spaces": lambda lines: "".join(
        f"> {line}\n".replace("  ", " \xa0") for line in _stamped(lines)
    ).encode(),
    "dmesg, newest first": lambda lines: "\n".join([*reversed(_stamped(lines)), ""]).encode(),
    "mail in base64": lambda lines: (
        b"Subject: a report\nContent-Type: text/plain; charset=utf-8\n"
        b"Content-Transfer-Encoding: base64\n\n"
        + base64.encodebytes("\n".join(["Hello,", "", *_stamped(lines), "Regards"]).encode())
        + b"\n-- \nsent by a list\n"
    ),
    "two hosts": _other_host,
    "Markdown's quote, its first line": lambda lines: (
        f"Like this:\n> {chr(10).join(_stamped(lines))}\n".encode()
    ),
    "line ends lost, terminal's stamps": lambda lines: " ".join(
        f"2024-03-05 {_clock(at)} --> {line}" for at, line in enumerate(_stamped(lines))
    ).encode(),
    "line ends lost, syslog": lambda lines: " ".join(
        f"Mar  5 {_clock(at)} box kernel: {line}" for at, line in enumerate(_stamped(lines))
    ).encode(),
    "blank lines between": lambda lines: "\n\n".join([*_stamped(lines), ""]).encode(),
    "comments between": lambda lines: "".join(
        f"> {line}\n"
        + ("\nI think that this is how it begins, and so on.\n\n" if at % 3 == 2 else "")
        for at, line in enumerate(_stamped(lines))
    ).encode(),
}
