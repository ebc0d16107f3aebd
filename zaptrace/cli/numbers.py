"""Numbers as arguments."""

from __future__ import annotations

import argparse
import re

_SIZE = re.compile(r"\d{1,9}[KMGT]?", re.ASCII | re.IGNORECASE)


def whole(text: str) -> int:
    """A whole number above 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, above 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:  # nor is "nan"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def size(text: str) -> str:
    """An amount of memory as QEMU's `-m` takes it, in MiB without a unit ("512M").

    Raises:
        ArgumentTypeError: it is none.
    """
    if not _SIZE.fullmatch(text) or not text.strip("KMGTkmgt0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 512M or 2G")
    return text
