"""JSON documents against the schemas in tests/schemas."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema


@functools.cache
def schema(name: str) -> Any:
    """Return the schema of what a command prints, parsed."""
    path = Path(__file__).parent / "schemas" / f"{name}.schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


@functools.cache
def _validator(name: str) -> Any:
    """Return a validator whose schema is itself checked: once, for it takes 11 ms."""
    cls = jsonschema.validators.validator_for(schema(name))
    cls.check_schema(schema(name))
    return cls(schema(name))


def validate(document: object, name: str) -> None:
    """Raise jsonschema.ValidationError where a document is not what its schema says."""
    _validator(name).validate(document)
