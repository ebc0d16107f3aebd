"""What the tests of this package are built from."""

from __future__ import annotations

from typing import Any

from zaptrace.splat import parse


def wrapped(line: str, width: int) -> list[str]:
    """A line as mailers break it: at blanks, never inside a word."""
    parts = []
    while len(line) > width:
        at = line.rfind(" ", 0, width + 1)
        if at <= len(line) - len(line.lstrip()):
            at = line.find(" ", width)
        if at < 0:
            break
        parts.append(line[:at])
        line = line[at + 1 :]
    return [*parts, line]


def value(data: dict[str, Any], key: str) -> Any:
    """What a report says under a key; frames by their symbols."""
    if key == "trace":
        return [frame["symbol"] for frame in data["trace"]]
    if key == "unreliable":
        return [frame["symbol"] for frame in data["trace"] if not frame["reliable"]]
    part, _, name = key.partition(".")
    if part == "folio":
        return (data["folio"] or {}).get(name)
    if part == "owner":
        owner = data["page_owner"] or {}
        said = owner.get(name)
        return [frame["symbol"] for frame in said["trace"]] if isinstance(said, dict) else said
    return data[key]


def misread(log: bytes, wanted: list[dict[str, Any]]) -> list[object]:
    """What is read otherwise than wanted."""
    found = [splat.to_json() for splat in parse(log)]
    if [one["kind"] for one in found] != [one["kind"] for one in wanted]:
        return [[one["kind"] for one in found]]
    return [
        (key, value(data, key), keys[key])
        for data, keys in zip(found, wanted, strict=True)
        for key in keys
        if value(data, key) != keys[key]
    ]
