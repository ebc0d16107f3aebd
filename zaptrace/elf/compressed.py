"""Compressed sections (ELF gABI, Elf64_Chdr): zlib, and zstd through the system's libzstd."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Callable

_ZLIB, _ZSTD = 1, 2
_ZLIB_RATIO = 1032  # deflate cannot do better (zlib.net/zlib_tech.html)
_ZSTD_LARGEST = 1 << 32  # its ratio has no bound
_LIBZSTD = "libzstd.so.1"
_HEAD = "I4xQ8x"  # kind, size


class Damaged(Exception):
    """A section that cannot be decompressed; the message says why, for a person."""


def decompress(raw: bytes, order: str) -> bytes:
    """Return a section's decompressed contents.

    Args:
        raw: the section, with its header.
        order: `<` or `>`.

    Raises:
        Damaged: it is damaged, or nothing here can decompress it.
    """
    head = struct.Struct(order + _HEAD)
    if len(raw) < head.size:
        raise Damaged("is cut off")
    kind, size = head.unpack_from(raw)
    opener = _OPENERS.get(kind)
    if opener is None:
        raise Damaged(f"is compressed in a way ({kind}) that is neither zlib nor zstd")
    return opener(raw[head.size :], size)


def _zlib(raw: bytes, size: int) -> bytes:
    if size > _ZLIB_RATIO * (len(raw) + 1):
        raise Damaged(f"says it holds {size:,} bytes, which cannot be")
    try:
        return zlib.decompressobj().decompress(raw, max(size, 1))
    except zlib.error as error:
        raise Damaged(f"is damaged ({error})") from None


def _zstd(raw: bytes, size: int) -> bytes:
    if size > _ZSTD_LARGEST:
        raise Damaged(f"says it holds {size:,} bytes, which cannot be")
    try:
        library = ctypes.CDLL(_LIBZSTD)
    except OSError:
        raise Damaged(f"is compressed by zstd, and {_LIBZSTD} is not installed") from None
    decompress, content = library.ZSTD_decompress, library.ZSTD_getFrameContentSize
    decompress.restype, content.restype = ctypes.c_size_t, ctypes.c_ulonglong
    content.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    # Before anything is allocated: the frame itself must promise as much.
    if content(raw, len(raw)) != size:
        raise Damaged("is damaged (zstd and ELF disagree about its size)")
    target = ctypes.create_string_buffer(max(size, 1))
    if decompress(target, size, raw, len(raw)) != size:
        raise Damaged("is damaged (zstd)")
    return target.raw[:size]


_OPENERS: dict[int, Callable[[bytes, int], bytes]] = {_ZLIB: _zlib, _ZSTD: _zstd}
