"""What a broken dump makes of a kernel's own numbers, told as one error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import drgn

from zaptrace.model.errors import BadInput

_BROKEN_DUMP = (drgn.FaultError, LookupError, ValueError)


@contextlib.contextmanager
def as_bad_input() -> Iterator[None]:
    """Whatever is wrong with the dump inside becomes a BadInput.

    Raises:
        BadInput: see above.
    """
    try:
        yield
    except Exception as error:
        # drgn has bare Exceptions for kernels whose own numbers are broken.
        if type(error) is not Exception and not isinstance(error, _BROKEN_DUMP):
            raise
        raise BadInput(f"the kernel's memory management cannot be read: {error}") from error
