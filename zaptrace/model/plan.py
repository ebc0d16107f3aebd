"""Probe sites and the probe plan: where one kernel's events are taken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class ProbeArg:
    """Where one argument lies when the probe fires.

    Attributes:
        location: an ftrace fetch argument (`%r8`, `+8(%r15)`, `$arg1`), or None
            when the compiler left nothing of it; then `note` says so.
        type: fetch type (`x64`, `u64`, `s32`, `string`), None without location.
        addend: bytes to add to the fetched value when reading (DWARF value
            expressions such as `breg7+4096, stack_value`).
        at_entry: the location holds at the entry of the enclosing function
            only; join the `zap_enter` event of the same thread.
        block: when not 0, what was fetched is where a longer range began that
            the kernel cut at multiples of this many bytes: the value is the
            larger of it and `end - 1` rounded down to a multiple of `block`,
            with the `end` of the same event.
        note: anything a person should know, or None.
    """

    location: str | None
    type: str | None = None
    addend: int = 0
    at_entry: bool = False
    note: str | None = None
    block: int = 0

    def value(self, fetched: int, end: int) -> int:
        """Return the argument, unsigned 64 bits, from what was fetched.

        Args:
            end: the `end` argument of the same event; only `block` needs it.
        """
        value = (fetched + self.addend) % 2**64
        return max(value, (end - 1) // self.block * self.block) if self.block else value


@dataclass(frozen=True, slots=True)
class ProbeSite:
    """An address where one event is taken.

    Attributes:
        event: event name: `zap`, `zap_enter`, `rmap_remove`, `page_free`,
            `bad_page`, `bad_pte`.
        symbol: the function symbol that holds the address.
        offset: bytes from the symbol to the address.
        address: link-time address, None when only the symbol is known.
        inlined: the probed function is inlined here.
        source: `file:line` of the (inlined) call or function, or None.
        args: name -> where it lies.  Names are EVENT fields (`page`, `mm`,
            `vma`, `addr`, `end`, `nr`, `raw_mapcount`, `refcount`, `reason`,
            `pte`, `folio`) or the C parameter where no field matches
            (`tlb`, `pmd`, `details`).
    """

    event: str
    symbol: str
    offset: int
    address: int | None
    inlined: bool
    source: str | None
    args: dict[str, ProbeArg] = field(default_factory=dict)
    function: str = ""
    """The probed function: `zap_pte_range`, also where it is inlined."""


@dataclass(frozen=True, slots=True)
class MissingEvent:
    """An event that this kernel cannot give, and why."""

    event: str
    why: str


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """All probe sites for one kernel.

    Attributes:
        build_id: hex digits of the GNU build ID, None when vmlinux has none.
        arch: `s390x` or `x86_64`.
        release: `uname -r`, None when it is not to be found in vmlinux.
        offsets: `struct.member` -> bytes ("page._mapcount", "mm_struct.pgd").
        anchors: what locates this kernel once it runs: link-time addresses of
            `vector`, the handler that a CPU's own table names (Arch.vector_handlers),
            and of `banner`, the text that begins "Linux version RELEASE".
        boot_tracing: the kernel takes probes from bootconfig after its initrd.
        notes: what else a person should know of it, one sentence each.
    """

    build_id: str | None
    arch: str
    release: str | None
    sites: tuple[ProbeSite, ...]
    missing: tuple[MissingEvent, ...] = ()
    offsets: dict[str, int] = field(default_factory=dict)
    boot_tracing: bool = False
    notes: tuple[str, ...] = ()
    anchors: dict[str, int] = field(default_factory=dict)

    def moved(self, by: int) -> ProbePlan:
        """Return the same plan for a kernel that runs `by` bytes above where it was linked."""
        sites = tuple(
            site if site.address is None else replace(site, address=(site.address + by) % 2**64)
            for site in self.sites
        )
        return replace(self, sites=sites) if by else self

    def to_json(self) -> dict[str, Any]:
        """Return it as `probes --json` prints it, which is also what the cache holds."""
        return {
            "build_id": self.build_id,
            "arch": self.arch,
            "release": self.release,
            "sites": [_site_to_json(site) for site in self.sites],
            "missing": [{"event": gap.event, "why": gap.why} for gap in self.missing],
            "offsets": dict(self.offsets),
            "anchors": dict(self.anchors),
            "boot_tracing": self.boot_tracing,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ProbePlan:
        """Return the inverse of `to_json`.

        Raises:
            KeyError, TypeError: `data` is not what `to_json` made.
        """
        return cls(
            build_id=data["build_id"],
            arch=data["arch"],
            release=data["release"],
            sites=tuple(_site_from_json(site) for site in data["sites"]),
            missing=tuple(MissingEvent(gap["event"], gap["why"]) for gap in data["missing"]),
            offsets=dict(data["offsets"]),
            boot_tracing=data["boot_tracing"],
            # Plans of older runs have none.
            notes=tuple(data.get("notes", ())),
            anchors=dict(data.get("anchors", {})),
        )


def _site_to_json(site: ProbeSite) -> dict[str, Any]:
    return {
        "event": site.event,
        "function": site.function,
        "symbol": site.symbol,
        "offset": site.offset,
        "address": site.address,
        "inlined": site.inlined,
        "source": site.source,
        "args": {
            name: {
                "location": arg.location,
                "type": arg.type,
                "addend": arg.addend,
                "at_entry": arg.at_entry,
                "note": arg.note,
                "block": arg.block,
            }
            for name, arg in site.args.items()
        },
    }


def _site_from_json(data: dict[str, Any]) -> ProbeSite:
    return ProbeSite(
        event=data["event"],
        symbol=data["symbol"],
        offset=data["offset"],
        address=data["address"],
        inlined=data["inlined"],
        source=data["source"],
        args={name: ProbeArg(**arg) for name, arg in data["args"].items()},
        function=data["function"],
    )
