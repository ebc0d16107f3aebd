"""The probe plan as a BPF program: zap.bpf.c with one function a site.

bcc compiles C against the kernel's headers, which takes half a minute in an
emulated guest and needs them installed.  This program needs none: the plan's
fetch arguments name registers, and where those lie in `struct pt_regs` is a
table here.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from probes.filters import COMM_SIZE, Filters
from zaptrace.arch import Arch, arch_named
from zaptrace.model.errors import Missing
from zaptrace.model.events import FREQUENT, WITH_STACK
from zaptrace.model.kprobe_names import recorded_args
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

BODY = Path(__file__).with_name("zap.bpf.c")
RING_BYTES, SPARE_BYTES = 16 << 20, 1 << 20

PT_REGS_WORDS = 21
"""No more than the smallest struct pt_regs: the kernel refuses programs that read after it."""

_FETCH = re.compile(r"(?:[+-]\d+\()*%(\w+)\)*")
_OFFSET = re.compile(r"([+-]\d+)\(")
_COUNTERS = {"page._mapcount", "page._refcount"}
_NARROW = {"raw_mapcount": "at32", "refcount": "at32"}
_FIELD = {"pte": "more", "reason": "more"}
"""Event field -> member of struct event, where they differ."""

FREED = ProbeSite(
    event="page_free",
    symbol="mm_page_free",
    offset=0,
    address=None,
    inlined=False,
    source="kmem:mm_page_free",
    args={
        # What the tracepoint passes, and the page's counters (include/trace/events/kmem.h).
        **{name: ProbeArg("tracepoint", "x64") for name in ("page", "order")},
        **{name: ProbeArg("tracepoint", "s32") for name in ("raw_mapcount", "refcount")},
    },
    function="mm_page_free",
)
"""Where frees are taken: a tracepoint that every page passes on its way to the allocator."""


@dataclass(frozen=True, slots=True)
class Program:
    """A BPF program for bcc.

    Attributes:
        text: C.
        sites: what `event.site` counts; function `site_N` is for sites[N].
    """

    text: str
    sites: tuple[ProbeSite, ...]


def render(plan: ProbePlan, filters: Filters) -> Program:
    """Return the program for one kernel.

    Raises:
        Missing: the plan is empty, or lacks the offsets that a filter needs.
        BadInput: zaptrace does not know its architecture.
    """
    arch = arch_named(plan.arch)
    # Without BTF and debug info it is unknown where a page counts its mappings.
    freed = (FREED,) if plan.offsets.keys() >= _COUNTERS else ()
    sites = (*(site for site in plan.sites if site.event != "page_free"), *freed)
    if not sites:
        raise Missing("the probe plan is empty")
    functions = [_function(number, site, plan, arch) for number, site in enumerate(sites)]
    body = BODY.read_text()
    front = f"#define ZT_SITES {len(sites)}\n{_front(plan, filters)}"
    return Program("\n".join([front, body, *functions]), sites)


def _front(plan: ProbePlan, filters: Filters) -> str:
    offsets = plan.offsets
    defines = {
        "ZT_RING_PAGES": RING_BYTES // mmap.PAGESIZE,
        "ZT_SPARE_PAGES": SPARE_BYTES // mmap.PAGESIZE,
        "ZT_HEAD": offsets.get("page.compound_head"),
        "ZT_MAPPING": offsets.get("page.mapping"),
        "ZT_PAGE": offsets.get("sizeof page"),
    }
    wanted = {"ZT_ANONYMOUS": filters.anonymous, "ZT_LARGE": filters.large_only}
    if any(wanted.values()) and None in defines.values():
        raise Missing("this kernel's plan does not say where a page's folio and mapping are")
    lines = [f"#define {name} {value}" for name, value in defines.items() if value is not None]
    lines += [f"#define {name} 1" for name, on in wanted.items() if on]
    if filters.cgroup is not None:
        lines.append("#define ZT_CGROUP 1")
    lines.append(f"#define ZT_TASK(tgid, self) ({_process(filters)})")
    if filters.comms:
        lines.append(f"#define ZT_COMM(low, high) ({_name(filters.comms)})")
    return "\n".join(lines)


def _process(filters: Filters) -> str:
    """Return C for "this process is wanted": not ours, unless named, since reading makes events."""
    if filters.pids:
        return " || ".join(f"tgid == {pid}" for pid in filters.pids)
    return "tgid != self"


def _name(comms: tuple[str, ...]) -> str:
    """Return C for "the task has one of these names"."""
    words = [struct.unpack("=QQ", comm.encode()[:COMM_SIZE].ljust(16, b"\0")) for comm in comms]
    return " || ".join(f"(low == {low:#x}ULL && high == {high:#x}ULL)" for low, high in words)


def _function(number: int, site: ProbeSite, plan: ProbePlan, arch: Arch) -> str:
    if site is FREED:
        return _freed(number, plan)
    registers = arch.pt_regs_words
    values = {name: _value(name, arg, registers) for name, arg in recorded_args(site).items()}
    guards = ["state"]
    if site.event in FREQUENT:
        guards.append("task_wanted(who, state->self)")
    if site.event == "rmap_remove" and "page" in values:
        guards.append(f"page_wanted({values['page']})")
    lines = _counters(site, registers, values)
    lines += [f"\tevent->{_FIELD.get(name, name)} = {value};" for name, value in values.items()]
    if "reason" in values:
        lines.append(f"\tkeep_reason({number}, {values['reason']});")
    first = f"COUNT({number}, entered);"
    stack = site.event in WITH_STACK
    return _frame(number, "struct pt_regs *ctx", guards, lines, stack=stack, first=first)


def _counters(site: ProbeSite, registers: dict[str, int], values: dict[str, str]) -> list[str]:
    """Return both counters in one read, where they lie side by side as in struct event; taken out
    of `values`."""
    if not {"raw_mapcount", "refcount"} <= values.keys():
        return []
    first = _FETCH.fullmatch(site.args["raw_mapcount"].location or "")
    second = _FETCH.fullmatch(site.args["refcount"].location or "")
    if first is None or second is None or first[1] != second[1]:
        return []
    offsets = [[int(one) for one in _OFFSET.findall(place[0])] for place in (first, second)]
    if [len(one) for one in offsets] != [1, 1] or offsets[1][0] - offsets[0][0] != 4:
        return []
    del values["raw_mapcount"], values["refcount"]
    address = f"ctx->word[{registers[first[1]]}] + ({offsets[0][0]})"
    return [f"\tbpf_probe_read_kernel(&event->raw_mapcount, 8, (void *)({address}));"]


def _freed(number: int, plan: ProbePlan) -> str:
    counters = {
        "raw_mapcount": f"page + {plan.offsets['page._mapcount']}",
        "refcount": f"page + {plan.offsets['page._refcount']}",
    }
    lines = ["\tevent->page = page;", "\tevent->order = ctx->args[1];"]
    lines += [f"\tevent->{name} = at32({address});" for name, address in counters.items()]
    # Only pages that something still says of itself (that it is mapped, or what type it has).
    guards = ["state", f"at32({counters['raw_mapcount']}) != -1"]
    context = "struct bpf_raw_tracepoint_args *ctx"
    return _frame(number, context, guards, lines, stack=True, first="u64 page = ctx->args[0];")


def _frame(
    number: int, context: str, guards: list[str], lines: list[str], *, stack: bool, first: str
) -> str:
    text = [
        f"int site_{number}({context})",
        "{",
        f"\t{first}",
        "\tu64 who = bpf_get_current_pid_tgid();",
        "\tstruct gate *state = open_gate();",
        "\tstruct event *event;",
        "",
        f"\tif (!({' && '.join(guards)}))",
        "\t\treturn 0;",
    ]
    text += [f"\tevent = begin({number}, who);", "\tif (!event)", "\t\treturn 0;", *lines]
    if stack:
        text += [
            "\tevent->stack = stacks.get_stackid(ctx, 0);",
            "\tif (event->stack < 0)",
            f"\t\tCOUNT({number}, stackless);",
        ]
    # No wake-up: the reader looks by itself, many times a second.
    text += ["\tevents.ringbuf_submit(event, BPF_RB_NO_WAKEUP);", "\treturn 0;", "}", ""]
    return "\n".join(text)


def _value(name: str, arg: ProbeArg, registers: dict[str, int]) -> str:
    """Return C for a fetch argument: `+16(%si)` becomes `at(ctx->word[13] + (16))`.

    A string's value is its address.
    """
    found = _FETCH.fullmatch(arg.location or "")
    if found is None or found[1] not in registers:
        raise Missing(f"the plan's argument {arg.location!r} has a form that is not known")
    value = f"ctx->word[{registers[found[1]]}]"
    offsets = [int(one) for one in reversed(_OFFSET.findall(arg.location or ""))]
    for depth, offset in enumerate(offsets, 1):
        value = f"{value} + ({offset})"
        if depth < len(offsets):
            value = f"at({value})"
        elif arg.type != "string":
            value = f"{_NARROW.get(name, 'at')}({value})"
    return value
