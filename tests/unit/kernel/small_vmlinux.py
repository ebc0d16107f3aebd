"""A vmlinux of a few symbols, made by gcc."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = """
long vmemmap = 1, vmemmap_size = 2, vm_layout[3] = {1, 2, 3};
__attribute__((section(".init.text"))) void start_kernel(void) {}
void other(void) {}
"""
SCRIPT = """
SECTIONS {
  . = 0x100000; _stext = .; .text : { *(.text) . = . + 64; } _etext = .;
  . = 0x140000; _sinittext = .; .init.text : { *(.init.text) } _einittext = .;
  . = 0x150000; __start_init_task = .; .data : { *(.data) } . = 0x150000 + STACK;
  __end_init_task = .;
}
"""


def small_vmlinux(folder: Path, source: str = SOURCE, stack: int = 65536) -> Path:
    """It has the variables of `source`, and an init stack of that many bytes."""
    (folder / "k.c").write_text(source)
    (folder / "k.lds").write_text(SCRIPT.replace("STACK", str(stack)))
    argv = ["gcc", "-nostdlib", "-static", "-no-pie", "-fno-pie", "-Wl,--build-id=none"]
    argv += ["-Wl,-T," + str(folder / "k.lds"), "-o", str(folder / "vmlinux"), str(folder / "k.c")]
    subprocess.run(argv, check=True, capture_output=True)
    return folder / "vmlinux"
