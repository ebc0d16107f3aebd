"""life.zap: the recording of some pages, or of all, in a file.

A line that says what it is, the length of a JSON document (4 bytes, little-endian), the document,
and the arrays that it lists, each deflated.
"""

from __future__ import annotations

import dataclasses
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from zaptrace.life.completeness import Completeness
from zaptrace.life.page_members import PageFields
from zaptrace.life.pte_records import PTE, PteFormat, no_ptes
from zaptrace.life.record_layout import NODE, RECORD, WRITER, Array
from zaptrace.life.records import Facts, Life, checked
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.paths import write_whole

_FIRST: Final = b"zaptrace life 1\n"
_MOST_DOCUMENT = 1 << 22
_MOST_BYTES = 1 << 30
"""Of one array; a full recording has 800 MB."""
_KINDS = {"records": RECORD, "numbers": np.dtype("<u8"), "nodes": NODE, "writers": WRITER}
_KINDS["ptes"] = PTE  # a recording of before page tables were followed has none
_BOOT = re.compile(r"[0-9a-f/-]{8,129}")
_LEVEL = 1  # a quarter of the time of 6 for a tenth more


def write(path: Path, life: Life, complete: Completeness | None) -> int:
    """Write it (0600), whole or not at all; its bytes.

    Raises:
        OSError: no room.
    """
    arrays = {name: np.ascontiguousarray(getattr(life, name)) for name in _KINDS}
    packed = {name: zlib.compress(array.tobytes(), _LEVEL) for name, array in arrays.items()}
    document = {
        "facts": life.facts.to_json(),
        "fields": life.fields.to_json(),
        "pte_format": None if life.pte_format is None else life.pte_format.to_json(),
        "boot": life.boot,
        "pfns": None if life.pfns is None else list(life.pfns),
        "complete": None if complete is None else complete.to_json(),
        "arrays": [
            {"name": name, "count": len(arrays[name]), "bytes": len(packed[name])}
            for name in _KINDS
        ],
    }
    text = json.dumps(document).encode()
    data = b"".join((_FIRST, struct.pack("<I", len(text)), text, *packed.values()))
    write_whole(path, data)
    return len(data)


def read(path: Path) -> tuple[Life, Completeness | None]:
    """Read it.

    Raises:
        BadInput: it is another file, cut short or damaged.
        Missing: it is not there or cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Missing(f"{path}: {error.strerror}") from None
    if not data.startswith(_FIRST):
        raise BadInput(f"{path} is not a recording of pages' lives")
    try:
        return _parsed(data)
    except (
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        RecursionError,
        struct.error,
    ) as error:
        raise BadInput(f"{path} is cut short or damaged: {error}") from None
    except zlib.error as error:
        raise BadInput(f"{path} is damaged: {error}") from None


def _parsed(data: bytes) -> tuple[Life, Completeness | None]:
    at = len(_FIRST)
    (size,) = struct.unpack_from("<I", data, at)
    if size > min(_MOST_DOCUMENT, len(data)):
        raise ValueError("its description is too long")
    document = json.loads(data[at + 4 : at + 4 + size])
    at += 4 + size
    arrays: dict[str, Array] = {}
    for one in document["arrays"]:
        packed = int(one["bytes"])
        if packed < 0 or packed > len(data) - at:
            raise ValueError("an array is not all there")
        arrays[one["name"]] = _array(_KINDS[one["name"]], int(one["count"]), data[at : at + packed])
        at += packed
    if len(arrays["numbers"]) != len(arrays["records"]):
        raise ValueError("records and their numbers do not match")
    facts, fields = Facts.from_json(document["facts"]), PageFields.from_json(document["fields"])
    life = checked(arrays["records"], arrays["nodes"], fields, facts, arrays["numbers"])
    pfns = document["pfns"]
    if pfns is not None:
        pfns = tuple(_pfn(one) for one in pfns)
    ptes = arrays.get("ptes", no_ptes())
    if len(ptes) and int(ptes["stack"].max()) >= len(life.nodes):
        raise ValueError("a stack is not there")
    form = document.get("pte_format")
    life = dataclasses.replace(
        life,
        pfns=pfns,
        writers=arrays["writers"],
        ptes=ptes,
        pte_format=None if form is None else PteFormat.from_json(form),
        boot=_boot(document.get("boot")),
    )
    complete = document["complete"]
    return life, None if complete is None else Completeness.from_json(complete)


def _pfn(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**52:
        raise ValueError("not a PFN")
    return value


def _boot(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and _BOOT.fullmatch(value)):
        raise ValueError("not the id of a boot")
    return value


def _array(of: np.dtype[Any], count: int, packed: bytes) -> Array:
    size = count * of.itemsize
    if not 0 <= size <= _MOST_BYTES:
        raise ValueError("an array is too long")
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(packed, size + 1)
    if len(found) != size or not unpacking.eof:
        raise ValueError("an array is not as long as it says")
    return np.frombuffer(found, of)
