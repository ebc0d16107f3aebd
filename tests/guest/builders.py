"""What guest tests have in common: programs, dumps, and how their events are counted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.mm import follow_pfn, for_each_vma

from tests.guest.lab import Lab
from zaptrace.audit import audit
from zaptrace.audit.state import KernelState, read_state
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.model.findings import AuditResult, Finding, FindingClass

PAGES, ROUNDS = 23, 3


PAGE_SIZE = 4096


Lines = list[dict[str, Any]]


def touch(lab: Lab, pages: int = PAGES, rounds: int = ROUNDS) -> int:
    """Touch and unmap anonymous pages; the process that did."""
    pid, _ = lab.output(f"/zaptrace/files/touch {pages} {rounds}").split()
    return int(pid)


def removed_in_each_zap(lines: Lines, pid: int, pages: int) -> list[int]:
    """Pages whose rmap went, range by range of so many pages, up to what the thread did next.

    A range may be zapped in parts: zap_pte_range() breaks off when another task wants the CPU.
    """
    mine = [line for line in lines if line.get("pid") == pid]
    counts: list[int] = []
    counting = entered = False
    for line in mine:
        if line["kind"] in ("zap_enter", "zap"):
            fits = line["end"] - line["addr"] == pages * PAGE_SIZE
            if line["kind"] == "zap" and entered:  # a part of what has been entered
                continue
            counting, entered = fits, line["kind"] == "zap_enter"
            counts += [0] if counting else []
        elif line["kind"] == "rmap_remove" and counting:
            counts[-1] += max(1, line.get("nr", 1))
    return counts


FAULT = "/sys/module/kernel/parameters/zapfault"


NOT_PRESENT = {"s390x": (0x400, 0x400), "x86_64": (0x001, 0)}
"""Mask and value of a PTE that is not present to the hardware, and to drgn."""


@dataclass
class Dump:
    """One vmcore, opened and audited once."""

    vmcore: Path
    vmlinux: Path

    @cached_property
    def prog(self) -> drgn.Program:
        return open_program(self.vmcore, self.vmlinux)

    @cached_property
    def result(self) -> AuditResult:
        return audit(self.prog, cpus=cpu_registers(self.vmcore)).result()

    @cached_property
    def state(self) -> KernelState:
        return read_state(self.prog, None)

    @property
    def bugs(self) -> list[Finding]:
        return [found for found in self.result.findings if found.cls is not FindingClass.IN_FLIGHT]


def translations(mm: drgn.Object) -> Iterator[tuple[int, int]]:
    for vma in for_each_vma(mm):
        for address in range(vma.vm_start.value_(), vma.vm_end.value_(), 4096):
            try:
                yield address, follow_pfn(mm, address).value_()
            except drgn.FaultError:
                continue


def zaptrace(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zaptrace", *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment},
    )
