"""The lines that follow a headline: the page, why it was dumped, the task, the machine.

One table, one pattern a line: each is matched at the start of the line, and
its wildcards are bounded, so that no line costs more than its own length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from zaptrace.model.splats import FolioCounters
from zaptrace.splat.task_lines import TASK_LINES, Fields, Row, dying_task
from zaptrace.splat.values import decimal, hexadecimal


@dataclass(frozen=True, slots=True)
class Attribute:
    """One line of a report.

    Attributes:
        name: what kind of line; a report has at most one of each, but for `raw` and the owners.
        fields: what it says, by name of the Splat's field; absent is missing.
    """

    name: str
    fields: Fields = field(default_factory=dict)


def attribute(text: str) -> Attribute | None:
    """Return what a line says of the report it belongs to; None when it says nothing."""
    for name, pattern, read in _BY_START.get(text[:2], ()):
        if found := pattern.match(text):
            return _said(name, read(found))
    if "flags:" in text and (found := _FLAGS.match(text)):  # any word can stand before it
        return _said("flags", _flags(found))
    if found := _AOPS.match(text):
        return _said("aops", _aops(found))
    if said := dying_task(text):
        return _said("old process", said)
    if "page alloc" in text or "oom-killer" in text or "unhandled" in text or "vmalloc" in text:
        return Attribute("end") if _OTHERS.match(text) else None
    return Attribute("dumped") if _OF_MM.match(text) else None


def _said(name: str, fields: Fields) -> Attribute:
    return Attribute(name, {key: said for key, said in fields.items() if said is not None})


# __dump_page(), __dump_folio() in mm/debug.c print, newest first:
#   page: refcount:%d mapcount:%d mapping:%p index:%#lx pfn:%#lx         since 6.9
#   page:%p refcount:%d mapcount:%d mapping:%p index:%#lx pfn:%#lx       5.12
#   page:%p refcount:%d mapcount:%d mapping:%p index:%#lx [head:%p ...]  5.2
#   page:%p count:%d mapcount:%d mapping:%p index:%#lx [compound_mapcount: %d]
# and bad_page() itself:
#   page:%p flags:%p count:%d mapcount:%d mapping:%p index:%lx           2.6.29
#   page:%p flags:0x%0*lx mapping:%p mapcount:%d count:%d                2.6.16
#   flags:0x%0*lx mapping:%p mapcount:%d count:%d                        2.6.9
_PAGE_KEYS = re.compile(
    r"(?<![\w])(refcount|count|mapcount|mapping|index|pfn|flags): {0,32}(\S{1,32})", re.ASCII
)
_FOLIO_KEYS = re.compile(
    r"(?<![\w])(order|mapcount|entire_mapcount|large_mapcount|nr_pages_mapped|pincount"
    r"|compound_mapcount|compound_pincount|subpages_mapcount): {0,2}(-?[0-9]{1,10})(?![0-9])",
    re.ASCII,
)
_FOLIO_NAMES = {  # before "mm/debug: ..." of 6.3 and 6.4, for what became the second name
    "compound_mapcount": "entire_mapcount",
    "compound_pincount": "pincount",
    "subpages_mapcount": "nr_pages_mapped",
}


def _page(found: re.Match[str]) -> Fields:
    said = dict(reversed(_PAGE_KEYS.findall(found.string)))  # the first of each counts
    compound = "compound_mapcount" in found.string and "order:" in found.string
    return {
        "refcount": decimal(said.get("refcount", said.get("count"))),
        "mapcount": decimal(said.get("mapcount")),
        "mapping": hexadecimal(said.get("mapping")),
        "index": hexadecimal(said.get("index")),
        "pfn": hexadecimal(said.get("pfn")),
        "flags_word": hexadecimal(said.get("flags")),
        **(_folio(found) if compound else {}),
    }


def _folio(found: re.Match[str]) -> Fields:
    said = {
        _FOLIO_NAMES.get(name, name): int(value)
        for name, value in reversed(_FOLIO_KEYS.findall(found.string))
    }
    return {"folio": FolioCounters(**said)}


def _flags(found: re.Match[str]) -> Fields:
    # %pGp ends with fields that are no flags: section=, node=, zone=, lastcpupid=, kasantag=.
    names = [name for name in found[2].split("|") if name and "=" not in name]
    return {"flags": tuple(names), "flags_word": hexadecimal(found[1])}


_FLAGS = re.compile(r"(?:\w{1,8} )?flags: ?(?:0x)?([0-9a-f]{1,16})\(([^)]*)")
_WORD = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:[0-9a-f]{8})?(?![0-9a-f])")


def _raw(found: re.Match[str]) -> Fields:
    return {"raw": tuple(int(word, 16) for word in _WORD.findall(found[1]))}


# print_bad_pte(), print_bad_page_map():
#   addr:%px vm_flags:%08lx anon_vma:%px mapping:%px index:%lx
# `mapping` is the file's and `index` the VMA's: they speak for the page when it did not.
_VMA_KEYS = re.compile(r"(?<![\w])(addr|vm_flags|mapping|index): {0,32}(\S{1,32})", re.ASCII)


def _vma(found: re.Match[str]) -> Fields:
    return {name: hexadecimal(said) for name, said in _VMA_KEYS.findall(found.string)}


def _file(found: re.Match[str]) -> Fields:
    name = found[1].strip()
    return {
        "file": None if name == "(null)" else name,
        "vm_fault": _function(found[2]),
        "file_mmap": _function(found[3]),
    }


def _handler(found: re.Match[str]) -> Fields:
    named = "file_mmap" if found["file_mmap"] else "vm_fault"
    return {named: _function(found["function"])}


def _function(name: str | None) -> str | None:
    """Return a handler's name; %ps prints 0x0 and (null) for none."""
    return None if name in ("0x0", "(null)") else name


_RACE = r"(?:assert no )?(?:write|read|accesses?|writes)(?:-write)?(?: \([\w ]{1,40}\))? to 0x"


def _nothing(_found: re.Match[str]) -> Fields:
    return {}


def _number(name: str, read: Callable[[str | None], int | None]) -> Callable[..., Fields]:
    return lambda found: {name: read(found[1])}


def _aops(found: re.Match[str]) -> Fields:
    return {"aops": found[1]}


# __dump_page() in 5.3 to 5.6 names them alone.
_AOPS = re.compile(
    r"([a-z_]\w{1,127}(?:aops|address_space_operations))(?: \[\w{1,64}\])?(?: name:\".{0,300})?$"
)


# dump_vma(), dump_mm() in mm/debug.c, between their first lines and the flags.
_OF_MM = re.compile(
    r"(?:next|prot|pgoff|refcnt|get_unmapped_area|mmap_base|pgd|pgtables_bytes|hiwater_rss|pinned_vm"
    r"|start_(?:code|data|brk)|(?:arg|env)_start|binfmt|ioctx_table|owner|exe_file|mmu_notifier_mm"
    r"|notifier_subscriptions|numa_next_scan|tlb_flush_pending|def_flags:) (?:0x)?[0-9a-f(]"
)


# warn_alloc(), dump_header() in mm, and show_unhandled_signals: the task stands before them.
_OTHERS = re.compile(
    r".{1,64}?(?:: page allocation (?:failure|stalls)|: vmalloc(?: error)?:? |\]: unhandled signal "
    r"| invoked oom-killer: )"
)


def _owner(found: re.Match[str]) -> Fields:
    said = {name: text for name, text in found.groupdict().items() if text is not None}
    words = ("comm", "gfp", "migratetype", "state")
    return {name: text if name in words else int(text) for name, text in said.items()}


_MASK = r"(?P<gfp>(?:0x)?[0-9a-fA-F]{1,16}(?:\([^)]{0,300}\))?)"
_PID = (
    r"pid (?P<pid>[0-9]{1,10})(?:,? tgid (?P<tgid>[0-9]{1,10}))?"
    r"(?: \((?P<comm>.{0,64}?)\)(?=,|$))?"
)

_LINES: tuple[Row, ...] = (
    (
        "page",
        "pa",
        re.compile(r"page:(?=[^\n]{0,200}\b(?:ref)?count: ?(?:-?[0-9]|mapcount:))"),
        _page,
    ),
    ("page", "fl", re.compile(r"flags:\S{1,20} mapping:\S{1,20} mapcount:"), _page),
    (
        "page count",  # page_remove_rmap() before 2.6.29
        "pa",
        re.compile(r"page->count = (-?[0-9]{1,10})(?![0-9])"),
        _number("refcount", decimal),
    ),
    (
        "page mapping",
        "pa",
        re.compile(r"page->mapping = (\S{1,20})"),
        _number("mapping", hexadecimal),
    ),
    ("page pfn", "pa", re.compile(r"page pfn = ([0-9a-f]{1,16})\b"), _number("pfn", hexadecimal)),
    ("page flags", "pa", re.compile(r"page->flags = [0-9a-f]{1,16}$"), _nothing),
    ("page", "pa", re.compile(r"page:\S{1,20} is uninitialized and poisoned"), _nothing),
    (
        "page memcg",  # until 5.10; after the reason, in 5.11 too
        "pa",
        re.compile(r"page(?:->mem_cgroup|s's memcg):([0-9a-f]{1,16})\b"),
        _number("memcg", hexadecimal),
    ),
    (
        "page memcg",  # mem_cgroup_print_bad_page(), until 4.2
        "pc",
        re.compile(
            r"pc:\S{1,20} (?:pc->flags:\S{1,16} )?pc->mem_cgroup:([0-9a-f]{1,16})(?![0-9a-f])"
        ),
        _number("memcg", hexadecimal),
    ),
    (
        "page vma",  # print_bad_pte() until 3.18, page_remove_rmap() before 2.6.29
        "vm",
        re.compile(
            r"vma->vm_(?:ops->(?P<vm_fault>fault|nopage)|file->f_op->(?P<file_mmap>mmap))(?: =|:) "
            r"{1,8}(?P<function>[\w.$]{1,128})"
        ),
        _handler,
    ),
    ("page vma", "vm", re.compile(r"vma->vm_\S{1,40}(?: =|:) \S{1,80}"), _nothing),
    ("folio", "he", re.compile(r"head:(?:[0-9a-fx]{1,18}|\S{1,20})? ?order:"), _folio),
    ("memcg", "me", re.compile(r"memcg: ?([0-9a-f]{1,16})\b"), _number("memcg", hexadecimal)),
    # dump_mapping() in fs/inode.c, __dump_page() before it: of which file system a file's page is.
    ("aops", "ao", re.compile(r"aops:([A-Za-z_]\w{0,127})"), _aops),
    ("aops", "ma", re.compile(r"mapping->aops:([A-Za-z_]\w{0,127})"), _aops),
    ("flags", "pa", re.compile(r"page flags: (?:0x)?([0-9a-f]{1,16})\(([^)]*)"), _flags),
    (
        "page_type",
        "pa",
        re.compile(r"page_type: ?(?:0x)?([0-9a-f]{1,8})\b"),
        _number("page_type", hexadecimal),
    ),
    ("raw", "ra", re.compile(r"raw:((?: [0-9a-f]{8}(?:[0-9a-f]{8})?){1,8})"), _raw),
    (
        "reason",
        "pa",
        re.compile(r"page dumped because: ((?:(?! {1,4}Modules(?: linked in|$)).){1,300})"),
        lambda found: {"reason": found[1]},
    ),
    (
        "owner",
        "pa",
        re.compile(r"page_owner tracks the page as (?P<state>allocated|freed)"),
        _owner,
    ),
    (
        "allocated",
        "pa",
        re.compile(
            r"page (?:last )?allocated via order (?P<order>[0-9]{1,3})"
            rf"(?:, migratetype (?P<migratetype>\w{{1,24}}))?(?:, (?:gfp_)?mask {_MASK})?"
            rf"(?:, {_PID})?(?:, ts (?P<time_ns>[0-9]{{1,20}}))?(?: ns)?"
            r"(?:, free_ts (?P<free_time_ns>[0-9]{1,20}))?"
        ),
        _owner,
    ),
    (
        "freed",
        "pa",
        re.compile(
            rf"page last free (?:ts [0-9]{{1,20}} ns )?(?:{_PID} )?"
            r"(?:ts (?P<time_ns>[0-9]{1,20}) )?stack trace:"
        ),
        _owner,
    ),
    (
        "tables",  # __print_bad_page_map_pgtable()
        "pg",
        re.compile(r"pgd: ?[0-9a-f]{1,16}\b(?:.{0,120} pmd: ?([0-9a-f]{1,16}))?"),
        _number("pmd", hexadecimal),
    ),
    (
        "walk",  # dump_pagetable() in arch/x86/mm/fault.c
        "PG",
        re.compile(
            r"PGD [0-9a-f]{1,16} (?:.{0,80} )?PMD ([0-9a-f]{1,16})(?: PTE ([0-9a-f]{1,16}))?"
        ),
        lambda found: {"pmd": hexadecimal(found[1]), "pte": hexadecimal(found[2])},
    ),
    ("vma", "ad", re.compile(r"addr:(?:0x)?[0-9a-f]{4,16} vm_|addr:\S{1,24} vm_flags:"), _vma),
    (
        "file",
        "fi",
        re.compile(r"file:(.{0,300}?) fault: {0,32}(\S{1,128})(?: mmap: {0,32}(\S{1,128}))?"),
        _file,
    ),
    *TASK_LINES,
    # KFENCE's and KCSAN's, before a stack without `Call Trace:`.
    ("access", "Us", re.compile(r"Use-after-free (?:read|write) at 0x"), _nothing),
    ("access", "Ou", re.compile(r"Out-of-bounds (?:read|write) at 0x"), _nothing),
    ("access", "In", re.compile(r"Invalid (?:read at|write at|free of) 0x"), _nothing),
    ("access", "Co", re.compile(r"Corrupted memory at 0x"), _nothing),
    ("access", "wr", re.compile(_RACE), _nothing),
    ("access", "re", re.compile(_RACE), _nothing),
    ("access", "as", re.compile(_RACE), _nothing),
    ("access", "ra", re.compile(r"race at unknown origin, with "), _nothing),
    (
        "hardware",
        "Ha",
        re.compile(r"Hardware name: {1,8}(.{1,300})"),
        lambda found: {"hardware": found[1]},
    ),
    ("trace", "Ca", re.compile(r"Call Trace:"), _nothing),
    ("trace", "Ca", re.compile(r"Call trace:"), lambda _found: {"x86": False}),  # arm64, OpenRISC
    ("trace", "Tr", re.compile(r"Trace:$"), _nothing),  # alpha
    (
        "trace",
        "St",
        re.compile(r"Stack Trace:$|Starting stack dump of tid "),
        _nothing,
    ),  # arc, tile
    ("user mode", "RI", re.compile(r"RIP: (?:0033|0023):"), _nothing),  # where x86 was
    ("user mode", "EI", re.compile(r"EIP: (?:0073|0023):"), _nothing),
    ("trace", "Ba", re.compile(r"Backtrace:"), _nothing),
    ("trace", "ba", re.compile(r"backtrace(?: \(crc [0-9a-f]{1,8}\))?:$"), _nothing),  # kmemleak's
    ("repair", "Tr", re.compile(r"Trying to fix it up, but a reboot is needed"), _nothing),
    # Other stacks than the report's own: KASAN's, lockdep's, of other CPUs and tasks.
    ("other stack", "Al", re.compile(r"Allocated by task [0-9]"), _nothing),
    ("other stack", "Fr", re.compile(r"Freed by task [0-9]"), _nothing),
    ("other stack", "La", re.compile(r"Last (?:call_rcu\(\)|potentially related)"), _nothing),
    ("other stack", "Se", re.compile(r"Second to last "), _nothing),
    ("other stack", "ad", re.compile(r"addr \S{1,20} is located in stack of "), _nothing),
    ("other stack", "Un", re.compile(r"Uninit was "), _nothing),
    ("other stack", "Pr", re.compile(r"Preemption disabled at:"), _nothing),
    ("other stack", "kf", re.compile(r"kfence-#[0-9]{1,6}"), _nothing),
    ("other stack", "al", re.compile(r"allocated by task [0-9]"), _nothing),
    ("other stack", "fr", re.compile(r"freed by task [0-9]"), _nothing),
    # Lockdep's chains: where each lock was taken.
    *(
        ("other stack", start, re.compile(r"\{[\w-]{1,24}\} state was registered at:"), _nothing)
        for start in ("{I", "{S", "{H", "{R")
    ),
    ("other stack", "->", re.compile(r"-> ?#[0-9]{1,3} ?\("), _nothing),
    ("other stack", "..", re.compile(r"\.\.\. ?which became "), _nothing),
    ("trace's end", "</", re.compile(r"</TASK>"), _nothing),
    # After the trace: where the last branch came from is no caller.
    ("end", "La", re.compile(r"Last Breaking-Event-Address"), _nothing),
    ("end", "--", re.compile(r"---\[ end "), _nothing),
    ("end", "CP", re.compile(r"CPU[0-9]{1,5}: stopping"), _nothing),  # by a panic of another CPU
    # What begins another report, which is no headline here.
    ("end", "IN", re.compile(r"INFO: (?:task .{1,80}blocked for|rcu_|possible )"), _nothing),
    ("end", "rc", re.compile(r"rcu: INFO: "), _nothing),
    ("end", "[ ", re.compile(r"\[ (?:INFO|BUG): "), _nothing),
    (
        "end",
        "WA",
        re.compile(r"WARNING: (?:possible|suspicious|inconsistent|bad un|held l)"),
        _nothing,
    ),
)


def _by_start() -> dict[str, list[tuple[str, re.Pattern[str], Callable[..., Fields]]]]:
    found: dict[str, list[tuple[str, re.Pattern[str], Callable[..., Fields]]]] = {}
    for name, start, pattern, read in _LINES:
        found.setdefault(start, []).append((name, pattern, read))
    return found


_BY_START = _by_start()

# Lines of reports that say nothing that a Splat holds.
_KNOWN = re.compile(
    r"</?[A-Z#]{2,8}>|-{2,}|={3,}|\[ ?(?:cut here|end )|Modules linked in|Code: |Instruction dump"
    r"|[RE]?(?:IP|SP|FLAGS|AX|BX|CX|DX|SI|DI|BP|[0-9]{1,2}): |[C-GSc-gs][Ss]: |[RCD]R[0-9]|ORIG_RAX"
    r"|[xr][0-9]{1,2} ?:|[rsl][pra] ?: |status: |\*p[gmu4]d ?= ?|p[sc]tate: |GPR[0-9]{2}: |NIP: "
    r"|LR[ :]|CFAR: |MSR: |XER: |Krnl |Process |Stack ?: ?|printing eip:|task: |Flags: |Control: "
    r"|(?!p(?:fn|te|md))[A-Za-z]{1,6}[0-9]{0,2} {0,6}[:=] {1,2}(?:0x)?[0-9a-f]{8,24}\b"
    r"|\$ ?[0-9]{1,2} {1,4}: |[a-z][a-z0-9] [0-9a-f]{8,16} [a-z][a-z0-9] [0-9a-f]{8,16}"
    r"|anon$|ksm$|invalid mapping:|DE?AR: |Fault in |AS:[0-9a-f]|Failing address|sp=[0-9a-f]{8}"
    r"|[\\\"|/@'`_.,U ]{5,40}$|RPC: <|I7: <|YZrv|VZOU|IAOQ\[1\]|Frame format="
    r"|(?:P?[RL]R?|ra) is at "
    r"|Linux version |enter \? for help|\[link register |cpu 0x|current {1,4}= |paca {1,4}= "
    r"|\(stack is not available|[0-9]{1,10}-byte region|this frame has|\[[0-9]{1,6}, [0-9]{1,6}\) '"
    r"|Pointer tag:|in_atomic\(\):|INFO: lockdep is turned off"
    r"|IRQMASK: |CURRENT PROCESS:|TEXT=|at virtual address |Path: /|\[[A-Z0-9]{3,6} {0,3}\]: |PID "
    r"|-{2,4} (?:interrupt|Exception)|LR = |\.{3}$|8<-{3}"
    r"|[0-9a-f]{4}[0-9a-f ]{4,}$|head: [0-9a-f]{8}|aops:|anon_vma|mapping->|index |ino:"
    r"|Tainted: \[|Disabling lock debugging|Preempted|CPU features:|SMP |Oops|Internal error"
    r"|name:\"|page->|vma->|bad because of flags|page_owner |page has been migrated|Workqueue: "
    r"|page (?:owner|allocation|free)|PGD |\*pde|pgd = |Mem abort|ESR = |EC = |SET = |FSC = "
    r"|Data abort|ISV = |CM = |swapper pgtable|user pgtable|invalid opcode|(?:pc|ip|fp) : "
    r"|Bad pagetable: |Exception |Call [Tt]race|irq event stamp"
    r"|(?:hard|soft)irqs last"
    r"|#PF(?: error)?: |(?:[LB]E |PREEMPT |SMP |DEBUG_PAGEALLOC )*(?:SMP|NUMA|PREEMPT)\b"
    r"|(?:<?[0-9a-f]{2}>?(?: |$)){2,64}$|#[0-9]{1,3}: \S{1,20} \(|[0-9]{1,4} locks? held by "
    r"|Faulting instruction address|EA = |GCS = |DEAR: |Supported: |page does not match folio"
    r"|\[[0-9a-f]{8,16}\] (?:\*?pgd=|user address )|The buggy address|Memory state around"
    r"|which belongs to|(?:allocated|freed) [0-9]{1,10}-byte region|\[[0-9a-f]{8,16}, "
    r"|Mem abort info|Data abort info"
    r"|[LB]E PAGE_SIZE=|REGS: |PSW: |R:[01] T:|Stack from|Register r[0-9]|E?SR: |FAR: "
    r"|(?:Task|IRQ|Overflow) stack: |tsk->|TSTATE: |I[AI]SQ: |IIR: |ORIG_R|RP\(r2\)"
    r"|Unloaded tainted|(?:illegal operation|monitor event): |[#>*]?[0-9a-f]{8,16}: [0-9a-f]{4}"
    r"|[0-9a-f]{4}:(?: {1,72}[0-9a-f]{8}|$)|[sr]{1,2}[0-9]{2}-[0-9]{2} |\(null\)$"
    r"|[\[(<]?(?:\.{2,5}|snip)[\])>]?$"
    r"|[\w ]{0,60}\b(?:[Cc]all|[Ss]tack|[Bb]ack) ?trace\b[\w ]{0,20}:?$"
    r"|\[[0-9a-f]{8,16}\] address between|and is located at offset|This frame has|allocated at "
    r"|(?:NIP|LR) \[|no locks held|preempt_count: "
    r"|RCU nest depth: |[A-Z][A-Za-z0-9]{1,9}:$|\(ftrace buffer empty\)"
    r"|linked in:|(?:mmap|mmap_prepare|read_folio|readpage): ?\S"
    r"|offset [0-9]{1,10} size |compound_mapcount: "
    r"|\[[A-Za-z]\w{1,63}\]\)$|(?:Kernel|kernel) BUG \[#|\[(?:[0-9a-f]{8}){1,2}\] \[0+\]"
    r"|Kernel Offset|kasan|KASAN|Dumping ftrace|PKRU: |Modules|Last Breaking|Hardware name|note: ",
    re.ASCII,
)


def is_known(text: str) -> bool:
    """Return whether a line is a usual one of reports, and holds nothing that a Splat has."""
    return _KNOWN.match(text) is not None
