"""The founding page's life as `zaptrace repro s390x` kept it, with the names of its code."""

from __future__ import annotations

import json
from pathlib import Path

from zaptrace.life.completeness import Completeness
from zaptrace.life.ledger import ledger
from zaptrace.life.life_file import read
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.records import Life
from zaptrace.model.verdict import CodeSite
from zaptrace.report.life import ShownLife, completeness_lines

DATA = Path(__file__).parent / "data"
FOUNDING = DATA / "founding.zap"
PFN = 0xB12
HEADS = {"huge-noremove": 0x200, "huge-noadd": 0x1E00}
"""Recordings of huge pages (`sites`), and those pages' first ones."""
_NAMES = json.loads((DATA / "founding-names.json").read_text())
"""Address, with < for a return address -> symbol, offset, inline chain."""


def recorded() -> tuple[Life, Completeness | None]:
    """The file, read."""
    return read(FOUNDING)


def resolve(address: int, back: bool) -> CodeSite:
    """What the run's vmlinux says of an address."""
    symbol, offset, chain = _NAMES[f"{address:#x}{'<' if back else ''}"]
    return CodeSite(symbol, offset, None, tuple(chain), address=address)


def sites(name: str) -> dict[tuple[int, bool], CodeSite]:
    """What the vmlinux of a run on x86_64 says of its addresses: huge-noadd, huge-noremove."""
    found = json.loads((DATA / f"{name}-names.json").read_text())
    return {
        (int(key.removesuffix("<"), 16), key.endswith("<")): CodeSite(
            symbol, offset, chain[0].rpartition(" at ")[2] if chain else None, tuple(chain)
        )
        for key, (symbol, offset, chain) in found.items()
    }


def founding_life() -> NamedLife:
    """The page's life since its allocation."""
    return named_life(recorded()[0], PFN, resolve)


def founding_shown(_pfn: int = PFN) -> ShownLife:
    """The same as the TUI and the HTML report show it, whatever page it is asked of."""
    life, complete = recorded()
    named = named_life(life, PFN, resolve)
    left = ledger(named, life.fields).left_over
    blamed = frozenset(store.write.number for one in left for store in one.among)
    notes = tuple(completeness_lines(complete, PFN))
    return ShownLife(named, life.fields, tuple(one.sentence() for one in left), blamed, notes)
