"""The audit of dumps that are compressed, lack pages or are cut short, against the whole dump."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drgn.helpers.linux.mm import follow_phys

from tests.guest.conftest import Boot
from tests.guest.kdumpfile import compressed
from zaptrace.audit import audit, audit_running, invariants
from zaptrace.audit.state import KernelState, read_state
from zaptrace.elf.core import (
    PT_NOTE,
    SEGMENT_SIZE,
    Segment,
    pack_segments,
    read_headers,
    read_notes,
)
from zaptrace.elf.header import HEADER_SIZE, pack_header
from zaptrace.memory.open import cut_off, open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import AuditResult, FindingClass

pytestmark = pytest.mark.guest

PAGE = 4096


def ledger_of(boot: Boot) -> KernelState:
    return read_state(open_program(boot.vmcore, boot.vmlinux), None)


def audited(vmcore: Path, boot: Boot) -> AuditResult:
    return audit(open_program(vmcore, boot.vmlinux, whole=False)).result()


def unseen(result: AuditResult) -> dict[str, int]:
    return {gap.what: gap.count for gap in result.unseen}


def told(result: AuditResult) -> set[tuple[FindingClass, int | None, int | None]]:
    return {(found.cls, found.pfn, found.mapcount) for found in result.findings}


def test_a_compressed_dump_gives_what_the_elf_dump_gives(founding: Boot, tmp_path: Path) -> None:
    compressed(founding.vmcore, tmp_path / "vmcore")
    whole, packed = audited(founding.vmcore, founding), audited(tmp_path / "vmcore", founding)
    assert packed.findings == whole.findings
    assert (packed.ptes, packed.pages, packed.mms) == (whole.ptes, whole.pages, whole.mms)
    assert packed.unseen == whole.unseen == ()
    assert packed.findings


@pytest.mark.parametrize("level", ["0", "31"])
def test_makedumpfiles_own_output_gives_what_the_elf_dump_gives(
    level: str, founding: Boot, tmp_path: Path
) -> None:
    """Compressed by zlib; level 31 leaves out free pages, zero pages, caches and user data."""
    if founding.arch != platform.machine():
        pytest.skip("makedumpfile reads dumps of the machine it was built for")
    made = tmp_path / "vmcore"
    subprocess.run(["makedumpfile", "-c", "-d", level, founding.vmcore, made], check=True)
    whole, packed = audited(founding.vmcore, founding), audited(made, founding)
    assert made.stat().st_size < founding.vmcore.stat().st_size / 10
    assert told(packed) == told(whole)
    assert packed.findings
    assert (packed.ptes, packed.mms) == (whole.ptes, whole.mms)
    assert packed.unseen == ()


def test_what_makedumpfile_leaves_out_is_not_needed(founding: Boot, tmp_path: Path) -> None:
    """`-d 31`: free pages, zero pages, the page cache and user data."""
    state = ledger_of(founding)
    recorded = state.recorded
    user = recorded.mappable & (recorded.anon | (recorded.mapcount > 0))
    left_out = state.pages.pfns(np.flatnonzero(recorded.free | user)).tolist()
    assert len(left_out) > 1000
    compressed(founding.vmcore, tmp_path / "vmcore", without=set(left_out))
    whole, filtered = audited(founding.vmcore, founding), audited(tmp_path / "vmcore", founding)
    assert told(filtered) == told(whole)
    assert filtered.unseen == ()


def test_a_page_table_that_is_missing_is_counted_and_raises_no_alarm(
    clean_exit: Boot, tmp_path: Path
) -> None:
    locks = ledger_of(clean_exit).walked.locks
    tables = np.unique(locks.table[locks.lowest] >> np.uint64(12))[::3].tolist()
    compressed(clean_exit.vmcore, tmp_path / "vmcore", without=set(tables))
    result = audited(tmp_path / "vmcore", clean_exit)
    assert result.findings == ()
    gaps = unseen(result)
    assert gaps["page tables not in the dump"] >= len(tables)
    assert gaps["pages that may be mapped where the audit could not look"] > 0
    # `inspect --pfn` prints no more than that page.
    prog = open_program(tmp_path / "vmcore", clean_exit.vmlinux)
    inspector = audit(prog).inspect()
    suspects = invariants.judge(inspector.state.ptes, inspector.state.recorded)
    assert suspects
    pfns = inspector.state.pages.pfns(np.array([suspect.index for suspect in suspects]))
    assert [inspector.page(pfn).finding for pfn in pfns.tolist()] == [None] * len(suspects)
    (init,) = inspector.process(1)
    assert init.findings == ()


def test_struct_pages_that_are_missing_are_counted_and_raise_no_alarm(
    clean_exit: Boot, tmp_path: Path
) -> None:
    state = ledger_of(clean_exit)
    layout, mm = state.pages.layout, state.prog["init_mm"].address_of_()
    mapped = state.pages.pfns(np.flatnonzero(state.ptes)).tolist()
    array = {layout.address(pfn) & -PAGE for pfn in mapped[::5]}
    frames = {follow_phys(mm, address).value_() // PAGE for address in array}
    compressed(clean_exit.vmcore, tmp_path / "vmcore", without=frames)
    result = audited(tmp_path / "vmcore", clean_exit)
    assert result.findings == ()
    assert unseen(result)["struct pages not in the dump"] >= 64 * len(frames)
    assert 0 < result.pages < len(state.pages)


@pytest.mark.parametrize("percent", [95, 60, 30])
def test_a_dump_cut_short_says_how_much_and_raises_no_alarm(
    percent: int, clean_exit: Boot, tmp_path: Path
) -> None:
    """As /proc/vmcore is copied onto a full disk: headers first, then memory."""
    cut = tmp_path / "vmcore"
    headers_first(clean_exit.vmcore, cut)
    assert cut_off(cut) == 0
    size = cut.stat().st_size
    with cut.open("r+b") as file:
        file.truncate(size * percent // 100)
    assert abs(cut_off(cut) - size * (100 - percent) // 100) <= 1
    cpu_registers(cut)
    with pytest.raises(BadInput, match="truncated"):
        open_program(cut, clean_exit.vmlinux)
    argv: list[str | Path] = [sys.executable, "-m", "zaptrace", "inspect", cut]
    argv += ["--vmlinux", clean_exit.vmlinux]
    printed = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if printed.returncode == 2:  # what every walk begins with was cut off
        assert len(printed.stderr.splitlines()) <= 2
    else:
        assert printed.returncode == 0, printed.stdout
        assert "cut off the end of the dump" in printed.stdout


def headers_first(core: Path, target: Path) -> None:
    """The dump as the kernel writes it: program headers and notes before the memory."""
    with core.open("rb") as source, target.open("wb") as out:
        headers = read_headers(source, core)
        notes, loads = read_notes(source, headers), headers.loads()
        notes_at = HEADER_SIZE + SEGMENT_SIZE * (1 + len(loads))
        at = notes_at + len(notes)
        segments = [Segment(PT_NOTE, 0, notes_at, 0, 0, len(notes), len(notes), 4)]
        for load in loads:
            segments.append(dataclasses.replace(load, offset=at))
            at += load.filesz
        out.write(pack_header(headers.header, HEADER_SIZE, len(segments), SEGMENT_SIZE))
        out.write(pack_segments(segments, headers.order) + notes)
        for load in loads:
            source.seek(load.offset)
            out.write(source.read(load.filesz))


def test_several_looks_at_a_kernel_that_stands_still_agree(founding: Boot) -> None:
    prog = open_program(founding.vmcore, founding.vmlinux)
    once, often = audit(prog).result(), audit_running(prog).result()
    assert told(often) == told(once)
    assert often.findings
    assert often.details["cleared_by_another_look"] == 0
