"""What a broken dump, or a kernel unlike those that we know, makes of a kernel's own numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
        if not is_broken(error):
            raise
        raise BadInput(f"the kernel's memory management cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class optional_step:
    """Leave the block, without an error, where the dump breaks it: the rest can do without.

    A class, as `contextlib.suppress` is: mypy then knows that the block may be left early.

    Attributes:
        missing: called when the block was left before its end.
    """

    missing: Callable[[], object] = lambda: None

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception) or not is_broken(error):
            return False
        self.missing()
        return True


def is_broken(error: Exception) -> bool:
    """Return whether an exception is about the dump or its kernel, and no bug of ours."""
    if isinstance(error, AttributeError):  # drgn's, for a struct without that member
        return "has no member" in str(error)
    # drgn has bare Exceptions for kernels whose own numbers are broken.
    return type(error) is Exception or isinstance(error, _BROKEN_DUMP)
