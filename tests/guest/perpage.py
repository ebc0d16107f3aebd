"""A guard: code that walks all struct pages through drgn, one after the other, fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn
from unittest.mock import patch


@contextlib.contextmanager
def no_call_per_page() -> Iterator[None]:
    """As long as the block lasts."""
    with (
        patch("drgn.helpers.linux.mm.for_each_page", _refused),
        patch("drgn.helpers.linux.slab.for_each_page", _refused),
    ):
        yield


def _refused(*_: object) -> NoReturn:
    raise AssertionError("drgn was asked for every page")
