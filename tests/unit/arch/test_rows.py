"""The table of architectures: whole rows, and each architecture complete wherever one is needed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zaptrace.arch import ARCHES, NAMES, Arch, arch_named, arch_of_elf
from zaptrace.arch.page_tables import PageTables
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.kernel.machinecode import decoder_of
from zaptrace.model.errors import BadInput

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", [Arch, PageTables])
def test_a_row_that_lacks_a_field_cannot_be_made(kind: type) -> None:
    row = next(iter(ARCHES.values()))
    whole = {
        field.name: getattr(row if kind is Arch else row.page_tables, field.name)
        for field in dataclasses.fields(kind)
    }
    assert kind(**whole)
    for name in whole:
        with pytest.raises(TypeError, match=name):
            kind(**{key: value for key, value in whole.items() if key != name})


def test_every_field_is_explained() -> None:
    for kind in (Arch, PageTables):
        names = {name for line in (kind.__doc__ or "").splitlines() for name in _named(line)}
        assert {field.name for field in dataclasses.fields(kind)} <= names, kind


def _named(line: str) -> list[str]:
    head, colon, _ = line.partition(":")
    return [name.strip() for name in head.split(",")] if colon else []


@pytest.mark.parametrize("name", ARCHES)
def test_what_is_not_plain_data_is_there_for_every_row(name: str) -> None:
    arch = arch_named(name)
    assert decoder_of(arch)(bytes(16), 0) is not None
    assert FORMATS[name].tables is arch.page_tables
    assert (ROOT / "vm" / "kconfig" / f"{name}.config").is_file()


@pytest.mark.parametrize("name", ARCHES)
def test_registers_of_one_row_agree(name: str) -> None:
    arch = arch_named(name)
    assert set(arch.argument_registers) <= set(arch.dwarf_registers) <= set(arch.pt_regs_words)
    assert {
        arch.program_counter,
        arch.stack_pointer,
        arch.user_mode[0],
        *arch.pt_regs_members,
    } <= set(arch.prstatus)


def test_a_missing_architecture_is_refused_in_one_way() -> None:
    with pytest.raises(BadInput, match="does not know the architecture 'vax'") as told:
        arch_named("vax")
    assert NAMES in str(told.value.hint)
    with pytest.raises(BadInput, match=r"core is for ELF machine 183 \(64 bits, little-endian\)"):
        arch_of_elf("core", 183, "little")


def test_the_rows_are_plain_data() -> None:
    heavy = ("numpy", "drgn", "elftools")
    code = f"import sys, zaptrace.arch; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_adding_a_row_touches_the_arch_folder_only() -> None:
    """No other file of the product holds a table of data by architecture.

    What is keyed by an architecture's name and is not data is in two places.
    """
    keyed = [
        str(path.relative_to(ROOT))
        for folder in ("zaptrace", "probes", "vm", "tui")
        for path in (ROOT / folder).rglob("*.py")
        if any(f'"{name}":' in path.read_text() for name in ARCHES)
    ]
    assert sorted(keyed) == [
        "zaptrace/audit/pagetables/arches.py",
        "zaptrace/kernel/machinecode/__init__.py",
    ]


def test_the_schemas_name_every_architecture() -> None:
    found = {
        path.name: names
        for path in sorted((ROOT / "tests" / "schemas").glob("*.json"))
        for names in _enums(json.loads(path.read_text()))
        if set(names) & ARCHES.keys()
    }
    assert found
    assert all(set(names) == ARCHES.keys() for names in found.values()), found


def _enums(schema: object) -> Iterator[list[str]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("enum"), list):
            yield schema["enum"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _enums(part)
