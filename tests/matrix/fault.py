"""A fault for any kernel: one page's _mapcount, lowered from outside the guest.

A stock kernel has no `zapfault=`, and a module would have to be built against
each kernel's headers.  Our own QEMU's gdbstub can write into the stopped guest:
the page says one mapping less than there is, as if its rmap had been removed
once too often.  Nothing but a guest that we started can be reached so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import drgn
from drgn.helpers.linux.mm import follow_phys, pfn_to_page

from tests.guest.lab import Lab
from zaptrace.memory.open import open_program
from zaptrace.memory.vmcore import standardise

PAGES = 23
HOLDER = f"""\
import ctypes, mmap, os, pathlib, struct, time
size = mmap.PAGESIZE
at = mmap.mmap(-1, {PAGES} * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range({PAGES}):
    at[page * size] = 1
start = ctypes.addressof(ctypes.c_char.from_buffer(at))
with open("/proc/self/pagemap", "rb") as file:
    file.seek((start // size + {PAGES // 2}) * 8)
    entry, = struct.unpack("=Q", file.read(8))
pathlib.Path("/run/held.part").write_text(f"{{os.getpid()}} {{entry & (1 << 55) - 1}}")
os.rename("/run/held.part", "/run/held")
while not os.path.exists("/run/go"):
    time.sleep(0.2)
libc = ctypes.CDLL(None)
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
print(libc.munmap(start, {PAGES} * size), flush=True)
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Damage:
    """A page that has been damaged, and who maps it."""

    pid: int
    pfn: int


def damage(guest: Lab, folder: Path, vmlinux: Path) -> Damage:
    """Let a process map pages, and lower the _mapcount of one of them."""
    guest.run("rm -f /run/go /run/held")
    guest.output("nohup python3 /zaptrace/files/holder.py >/run/holder 2>&1 &")
    guest.until("test -e /run/held")
    pid, pfn = (int(word) for word in guest.output("cat /run/held").split())
    before = dumped(guest, folder / "before")
    prog = open_program(before, vmlinux)
    place, raw = mapcount(prog, pfn)
    assert raw == 0, f"page {pfn:#x} was mapped once, and its _mapcount is {raw}"
    order = ">" if guest.arch == "s390x" else "<"
    guest.damage(place, struct.pack(f"{order}i", raw - 1))
    del prog
    before.unlink()
    return Damage(pid, pfn)


def dumped(guest: Lab, path: Path) -> Path:
    """A vmcore of the guest as it is now."""
    guest.dump(path)
    standardise(path)
    return path


def mapcount(prog: drgn.Program, pfn: int) -> tuple[int, int]:
    """Physical address of a page's _mapcount, and its value."""
    counter = pfn_to_page(prog, pfn)._mapcount.counter
    address = counter.address_of_().value_()
    try:
        place = follow_phys(prog["init_mm"].address_of_(), address).value_()
    except (drgn.FaultError, NotImplementedError, ValueError) as error:
        raise AssertionError(f"the struct page of {pfn:#x} is not to be found: {error}") from error
    raw = prog.read(place, 4, physical=True)
    assert raw == prog.read(address, 4), "its physical address is wrong"
    return place, counter.value_()
