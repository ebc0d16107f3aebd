"""Writes kernel reports and dirties the log: an independent source of truth for the parser.

Nothing here knows the parser.  A report is a list of lines, each with the keys
that a reader of that line learns; a dropped line's keys must come out absent.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

FLAGS = ("locked", "referenced", "uptodate", "dirty", "lru", "active", "head", "swapbacked")
COMMS = ("init", "mount", "kworker/0:1", "web worker #2", "a", "pfn", "(sd-pam)", "x:y z")
SYMBOLS = ("dump_stack_lvl", "bad_page.cold", "unmap_page_range", "zap_pte_range", "exit_mmap")
JUNK = (
    "random: crng init done",
    "EXT4-fs (vda): mounted filesystem with ordered data mode",
    "Disabling lock debugging due to kernel taint",
    "raw: 00000000000a0006 0000000000000100 0000000000000122 0000000000000000",
    "init: starting up",
    "",
)


@dataclass(slots=True)
class Said:
    """One printed line and what it says."""

    text: str
    keys: dict[str, Any]
    frame: dict[str, Any] | None = None


def report(rng: random.Random) -> list[Said]:
    """A whole report of either kind, in the words of an old or of a new kernel."""
    page, rest = _page_lines(rng), _task_lines(rng)
    comm = rest[0].keys["comm"]
    if rng.random() < 0.5:
        pfn = page[0].keys["pfn"]
        head = Said(
            f"BUG: Bad page state in process {comm}  pfn:{pfn:05x}",
            {"kind": "bad_page_state", "process": comm, "pfn": pfn},
        )
        return [head, *page, _reason("nonzero mapcount"), *rest]
    pte, pmd = rng.getrandbits(40), rng.getrandbits(40)
    head = Said(
        f"BUG: Bad page map in process {comm}  pte:{pte:08x} pmd:{pmd:08x}",
        {"kind": "bad_page_map", "process": comm, "pte": pte, "pmd": pmd},
    )
    return [head, *page, _reason("bad pte"), *_vma_lines(rng), *rest]


def _reason(reason: str) -> Said:
    return Said(f"page dumped because: {reason}", {"reason": reason})


def _page_lines(rng: random.Random) -> list[Said]:
    pfn, index, word = rng.getrandbits(24), rng.getrandbits(32), rng.getrandbits(60)
    mapping = rng.choice((0, 0xFFFF888101D2C3B8))
    refcount, mapcount = rng.randrange(-2, 3), rng.randrange(-2, 4)
    pointer = rng.choice(("page:00000000f2a1c0de", "page:(____ptrval____)", "page:"))
    flags = [flag for flag in FLAGS if rng.random() < 0.4]
    named = "|".join([*flags, "node=0", "zone=1"])
    lines = [
        Said(
            f"{pointer} refcount:{refcount} mapcount:{mapcount} mapping:{mapping:016x} "
            f"index:{index:#x} pfn:{pfn:#x}",
            {
                "pfn": pfn,
                "refcount": refcount,
                "mapcount": mapcount,
                "mapping": mapping,
                "index": index,
            },
        ),
        Said(f"{rng.choice(('', 'anon '))}flags: {word:#x}({named})", {"flags": flags}),
    ]
    if rng.random() < 0.5:
        lines.append(Said("page_type: f2(table)", {"page_type": 0xF2}))
    return lines


def _vma_lines(rng: random.Random) -> list[Said]:
    addr, flags, index = rng.getrandbits(40), rng.getrandbits(32), rng.getrandbits(30)
    file = rng.choice((None, "libc.so.6", "a b.so"))
    return [
        Said(
            f"addr:{addr:016x} vm_flags:{flags:08x} anon_vma:{0:016x} mapping:{0:016x} "
            f"index:{index:x}",
            {"addr": addr, "vm_flags": flags, "vma index": index},
        ),
        Said(f"file:{file or '(null)'} fault:0x0 mmap:0x0 read_folio:0x0", {"file": file}),
    ]


def _task_lines(rng: random.Random) -> list[Said]:
    comm, cpu, pid = rng.choice(COMMS), rng.randrange(64), rng.randrange(1, 99999)
    uid = rng.choice(("", "UID: 0 "))
    tainted = rng.choice((None, "GB", "PWOE"))
    taint = f"Tainted: {'  '.join(tainted)}  " if tainted else "Not tainted"
    task = {"cpu": cpu, "pid": pid, "comm": comm, "tainted": tainted, "kernel_release": "6.1.0-x"}
    return [
        Said(f"CPU: {cpu} {uid}PID: {pid} Comm: {comm} {taint} 6.1.0-x #1 ", task),
        Said(
            "Hardware name: QEMU 8561 QEMU (KVM/Linux)", {"hardware": "QEMU 8561 QEMU (KVM/Linux)"}
        ),
        Said("Call Trace:", {}),
        *(_frame(rng) for _ in range(rng.randrange(8))),
    ]


def _frame(rng: random.Random) -> Said:
    frame: dict[str, Any] = {
        "symbol": rng.choice(SYMBOLS),
        "offset": rng.getrandbits(10),
        "size": rng.getrandbits(12),
        "address": rng.choice((None, rng.getrandbits(48))),
        "reliable": rng.random() < 0.8,
    }
    called = f"{frame['symbol']}+{frame['offset']:#x}/{frame['size']:#x}"
    if frame["address"] is None:
        text = f" {'' if frame['reliable'] else '? '}{called}"
    elif frame["reliable"]:
        text = f" [<{frame['address']:016x}>] {called} "
    else:
        text = f"([<{frame['address']:016x}>] {called})"
    return Said(text, {}, frame)


def expected(lines: list[Said]) -> dict[str, Any]:
    """What the lines that were left say together."""
    keys: dict[str, Any] = {}
    for line in lines:
        keys |= line.keys
    # print_bad_pte's own mapping and index speak for the page whose line was lost.
    index = keys.pop("vma index", None)
    if index is not None and "mapping" not in keys:
        keys |= {"mapping": 0, "index": index}
    keys["trace"] = [line.frame for line in lines if line.frame]
    return keys


def log(rng: random.Random, reports: list[list[Said]]) -> bytes:
    """All the reports in one log, interleaved by caller, junk in between, dirty ends."""
    queues = [list(lines) for lines in reports]
    callers = rng.sample(range(1, 9999), len(queues))
    style = rng.choice(("{t}{c} ", "<4>{t}{c} ", "kern  :warn  : {t}{c} ", "{c} "))
    out: list[str] = []
    while any(queues):
        turn = rng.choice([at for at, queue in enumerate(queues) if queue])
        time = f"[{len(out) / 7:12.6f}]"
        if rng.random() < 0.15:
            out.append(style.format(t=time, c="[ C2]") + rng.choice(JUNK))
        else:
            line = queues[turn].pop(0)
            out.append(style.format(t=time, c=f"[{f'T{callers[turn]}':>6}]") + line.text)
    text = "".join(line + rng.choice(("\n", "\r\n", "\r\r\n")) for line in out)
    return text.encode()


def without(lines: list[Said], rng: random.Random, share: float) -> list[Said]:
    """The report with some of its lines lost; a headline is never among them."""
    return [dataclasses.replace(line) for line in lines[:1]] + [
        line for line in lines[1:] if rng.random() >= share
    ]
