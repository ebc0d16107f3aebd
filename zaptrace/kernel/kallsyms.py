"""The running kernel's symbols: /proc/kallsyms, whose addresses are those of this boot (KASLR)."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

KALLSYMS = Path("/proc/kallsyms")

_DIGITS = 16  # a 64-bit kernel's addresses
_HEAD = _DIGITS + 3  # "ffffffff81000000 T name"
_VALUES = bytes(int(chr(one), 16) if chr(one) in string.hexdigits else 0xFF for one in range(256))
_NO_DIGIT = np.uint64(0xF0F0F0F0F0F0F0F0)
_PACKING = [
    (np.uint64(4), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(8), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(16), np.uint64(0x00000000FFFFFFFF)),
]
_FARTHEST = 1 << 20  # bytes; no function is as long: what is farther off lies between them


class Kallsyms:
    """The kernel's symbols, as they were when this was made.

    Args:
        raw: the file's content.  What is no symbol's line is passed over.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        text = np.frombuffer(raw, np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
        long = ends - starts > _HEAD
        starts, ends = starts[long], ends[long]
        addresses, good = _numbers(raw, starts)
        kinds = text[starts + _DIGITS + 1]
        good &= addresses != 0  # kptr_restrict hides them all
        self._starts, self._ends = starts[good], ends[good]
        self._addresses = addresses[good]
        code = np.flatnonzero(np.isin(kinds[good] | 0x20, np.frombuffer(b"tw", np.uint8)))
        # Of names for one address the first is taken: the order is the linker's.
        order = code[np.argsort(self._addresses[code], kind="stable")]
        self._code, first = np.unique(self._addresses[order], return_index=True)
        self._code_rows = order[first]

    @classmethod
    def of_this_kernel(cls) -> Kallsyms:
        """Return the symbols of the running kernel; none when they cannot be read."""
        return cls(read())

    def __len__(self) -> int:
        return len(self._starts)

    def names(self, addresses: Iterable[int], returns: Iterable[int] = ()) -> dict[int, str]:
        """Return address -> "function+0x1c", for those that lie in kernel code.

        Args:
            addresses: of instructions.
            returns: return addresses: the call in front is meant.  A call that does not return
                may be its function's last instruction, and the address the next function's.
        """
        return self._named(returns, 1) | self._named(addresses, 0)

    def _named(self, addresses: Iterable[int], back: int) -> dict[int, str]:
        """Name addresses by the functions that lie `back` bytes before them."""
        wanted = np.array(sorted({one for one in addresses if one >= back}), np.uint64)
        rows = np.searchsorted(self._code, wanted - np.uint64(back), "right") - 1
        found = {}
        for address, row in zip(wanted.tolist(), rows.tolist(), strict=True):
            offset = address - int(self._code[row]) if row >= 0 else _FARTHEST
            if offset < _FARTHEST:
                found[address] = f"{self._name(int(self._code_rows[row]))}+{offset:#x}"
        return found

    def address(self, name: str) -> int | None:
        """Return where a symbol of the kernel proper lies; None when it has none, or several."""
        found = set()
        needle = f" {name}\n".encode()
        at = self._raw.find(needle)
        while at >= 0:
            row = int(np.searchsorted(self._ends, at + len(needle) - 1))
            if row < len(self._ends) and self._name(row) == name:
                found.add(int(self._addresses[row]))
            at = self._raw.find(needle, at + 1)
        return found.pop() if len(found) == 1 else None

    def _name(self, row: int) -> str:
        line = self._raw[int(self._starts[row]) + _HEAD : int(self._ends[row])]
        return line.split(b"\t")[0].decode(errors="replace")


def read(path: Path = KALLSYMS) -> bytes:
    """Return the file's content, empty when it cannot be read.

    The kernel takes a tenth of a second for it, as long as all that is done with it here.
    """
    try:
        return path.read_bytes()
    except OSError:
        return b""


def functions_named(raw: bytes, wanted: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield the functions of these names and the compiler's clones of them, with their addresses.

    One search a name: an expression over all lines takes several times as long.

    Args:
        raw: the content of /proc/kallsyms or System.map.
    """
    for name in sorted(wanted):
        needle = f" {name}".encode()
        at = raw.find(needle)
        while at >= 0:
            line = raw[raw.rfind(b"\n", 0, at) + 1 : raw.find(b"\n", at) + 1]
            # A module's symbol has the module's name after it.
            found = re.fullmatch(rb"([0-9a-f]+) [tTwW] (%s(?:\.[\w.]+)?)\n" % needle[1:], line)
            if found is not None and not found[2].endswith(b".cold"):
                yield found[2].decode(), int(found[1], 16)
            at = raw.find(needle, at + 1)


def _numbers(
    raw: bytes, starts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Convert 16 hex digits at each of some places to numbers, and say which were such.

    Few operations, on eight digits at a time: an emulated guest takes as long to translate the
    code of each as to run it.
    """
    everywhere = np.ndarray((max(0, len(raw) - _DIGITS + 1),), "V16", raw, strides=(1,))
    digits = everywhere[starts].tobytes().translate(_VALUES)
    halves = np.frombuffer(digits, ">u8").astype(np.uint64).reshape(-1, 2)
    good: npt.NDArray[np.bool_] = np.all(halves & _NO_DIGIT == 0, axis=1)
    for bits, kept in _PACKING:  # 0a0b0c0d -> ab00cd -> abcd, each a digit
        halves = (halves | halves >> bits) & kept
    return halves[:, 0] << np.uint64(32) | halves[:, 1], good
