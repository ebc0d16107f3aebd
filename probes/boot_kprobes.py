"""The probe plan as boot-time kprobes: recorded before user space exists.

Boot-time tracing (kernel/trace/trace_boot.c, Documentation/trace/boottime-trace.rst)
takes kprobe events from bootconfig text after the initrd; where the kernel
has no bootconfig, `kprobe_event=` on the command line does without filters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from probes.kprobe_text import condition, definition
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput
from zaptrace.model.events import WITH_STACK
from zaptrace.model.kprobe_names import GROUP, site_names
from zaptrace.model.plan import ProbePlan

_MAX_DEFINITION = 250  # MAX_BUF_LEN of trace_boot.c is 256, with NULs and separators
_MAX_BOOTCONFIG = 32766  # XBC_DATA_MAX of include/linux/bootconfig.h, exclusive
_MAGIC = b"#BOOTCONFIG\n"
_TRAILER = struct.Struct("<II")  # size and byte sum, little-endian everywhere
_ALIGN = 4

_OTHER_ARGUMENTS = 200  # bytes of the command line for console, boot id and the like


@dataclass(frozen=True, slots=True)
class BootTrace:
    """What a guest must be booted with so that it records the plan's events.

    Attributes:
        bootconfig: text for `append_bootconfig`.
        arguments: kernel arguments to go with it.
        command_line: kernel arguments that do without bootconfig, for kernels
            that have none; None when they do not fit.  Events that need a
            filter are not among them.
        dropped: what could not be rendered, one sentence each.
    """

    bootconfig: str
    arguments: tuple[str, ...]
    command_line: tuple[str, ...] | None
    dropped: tuple[str, ...]


def render(plan: ProbePlan, *, buffer_kib: int = 4096) -> BootTrace:
    """Render a plan for boot-time tracing.

    Args:
        buffer_kib: size of each CPU's ring buffer.

    The clock is the boot clock.  bad_page and page_free are given a stack
    each, which needs CONFIG_HIST_TRIGGERS; without it the kernel says so on
    the console and records the events alone.
    """
    blocks: list[str] = []
    commands: list[str] = []
    dropped: list[str] = []
    for name, site in site_names(plan).items():
        prefix = f"p:{GROUP}/{name} "
        text, left_out = definition(site, _MAX_DEFINITION - len(prefix))
        expression, refusal = condition(site)
        dropped += [
            f"{name}: {field} makes its definition too long for the kernel" for field in left_out
        ]
        if refusal:
            dropped.append(f"{name}: {refusal}")
            continue
        blocks.append(_block(name, text, site.event, expression))
        if not expression:
            commands.append(f"{prefix}{text}".replace(" ", ","))
    # ftrace=nop: without a tracer, 6.1 keeps the buffer at two pages whatever
    # trace_buf_size says (ring_buffer_expanded, kernel/trace/trace.c).
    settings = ("ftrace=nop", f"trace_buf_size={buffer_kib}K", "trace_clock=boot")
    on_command_line = (*settings, "kprobe_event=" + ";".join(commands))
    room = arch_named(plan.arch).command_line_size - _OTHER_ARGUMENTS
    fits = sum(len(part) + 1 for part in on_command_line) < room
    return BootTrace(
        bootconfig="".join(blocks),
        arguments=("bootconfig", *settings),
        command_line=on_command_line if fits and commands else None,
        dropped=tuple(dropped),
    )


def append_bootconfig(initrd: bytes, text: str) -> bytes:
    """Return the initrd with bootconfig text after it, as tools/bootconfig would write it.

    Text that is there already stays, in front of ours.

    Raises:
        BadInput: more than 32,766 bytes in all.
    """
    initrd, already = _split_bootconfig(initrd)
    data = already + text.encode() + b"\0"
    tail = _TRAILER.size + len(_MAGIC)
    data += bytes(-(len(initrd) + len(data) + tail) % _ALIGN)
    if len(data) > _MAX_BOOTCONFIG:
        raise BadInput(f"bootconfig of {len(data)} bytes; the kernel takes {_MAX_BOOTCONFIG}")
    return initrd + data + _TRAILER.pack(len(data), _byte_sum(data)) + _MAGIC


def _block(name: str, definition: str, event: str, expression: str) -> str:
    lines = [f'probes = "{definition}"']
    if expression:
        lines.append(f'filter = "{expression}"')
    if event in WITH_STACK:
        action = f"stacktrace if {expression}" if expression else "stacktrace"
        lines.append(f'actions = "{action}"')
    lines.append("enable")
    body = "".join(f"\t{line}\n" for line in lines)
    return f"ftrace.event.{GROUP}.{name} {{\n{body}}}\n"


def _split_bootconfig(initrd: bytes) -> tuple[bytes, bytes]:
    """Return the initrd proper, and the bootconfig text that is after it already."""
    end = initrd.rfind(_MAGIC, len(initrd) - len(_MAGIC) - (_ALIGN - 1))
    head = end - _TRAILER.size
    if end < 0 or head < 0:
        return initrd, b""
    size, checksum = _TRAILER.unpack_from(initrd, head)
    data = initrd[head - size : head] if size <= head else b""
    if not data or _byte_sum(data) != checksum:
        return initrd, b""
    return initrd[: head - size], data.rstrip(b"\0").rstrip() + b"\n"


def _byte_sum(data: bytes) -> int:
    return sum(data) & 0xFFFFFFFF
