"""The plugin's C and our numpy say the same of what they share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vm import plugin
from zaptrace.life import record_layout
from zaptrace.life.record_layout import NODE, SHARED, STORED

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
_CONSTANTS: tuple[str, ...] = ("VALID", "VALUE", "ALIAS", "MORE", "STORAGE", "TABLE", "NOT_SEEN")
_CONSTANTS += ("PLACE_BITS", "CPU_BITS", "BYTES_BITS", "FLAGS_AT", "TIME_SHIFT")


def _in_c(tmp_path: Path) -> dict[str, int]:
    """Sizes, offsets and constants, as a compiler has them."""
    header = Path(plugin.__file__).parent / "plugin.h"
    said = [f'printf("{name} %d\\n", (int){name});' for name in _CONSTANTS]
    structs = {"shared": SHARED, "record": STORED, "node": NODE}
    for struct, dtype in structs.items():
        said.append(f'printf("{struct} %zu\\n", sizeof(struct {struct}));')
        for name in dtype.names or ():
            place = f"offsetof(struct {struct}, {name})"
            said.append(f'printf("{struct}.{name} %zu\\n", {place});')
    source = tmp_path / "says.c"
    includes = f'#include <stdio.h>\n#include "{header}"\n'
    source.write_text(f"{includes}int main(void) {{ {' '.join(said)} return 0; }}\n")
    subprocess.run(["gcc", "-o", tmp_path / "says", source], check=True)
    out = subprocess.run([tmp_path / "says"], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in (line.split() for line in out.splitlines())}


def test_the_shared_memory_is_laid_out_as_the_plugin_has_it(tmp_path: Path) -> None:
    said = _in_c(tmp_path)
    for name, dtype in (("shared", SHARED), ("record", STORED), ("node", NODE)):
        assert said[name] == dtype.itemsize
        fields: dict[str, tuple[np.dtype[np.void], int]] = dict(dtype.fields or {})  # type: ignore[arg-type]
        assert {field: said[f"{name}.{field}"] for field in fields} == {
            field: place[1] for field, place in fields.items()
        }
    assert {name: said[name] for name in _CONSTANTS} == {
        name: getattr(record_layout, name) for name in _CONSTANTS
    }
