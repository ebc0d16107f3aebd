"""Real dataclasses with some fields only: what a test does not set cannot be read."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def partial(cls: type[T], **values: Any) -> T:
    """Return an instance of a dataclass with these fields and cached properties alone.

    One that the class does not have (any more) is an error here, and one that was not given is
    an AttributeError where it is read.
    """
    known = {one.name for one in fields(cls)}
    known |= {name for name, what in vars(cls).items() if isinstance(what, cached_property)}
    assert values.keys() <= known, values.keys() - known
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made
