"""Style sheets that are parsed once for all apps of the tests: a sixth of an app's start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from textual.cache import LRUCache
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

_PARSED: dict[tuple[tuple[str, str], ...], LRUCache[tuple[object, ...], list[RuleSet]]] = {}
"""By a theme's variables: what Textual keeps of each app's style sheets until its theme changes."""


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Let apps of the same theme share what Textual keeps for each of them alone."""
    init, change = Stylesheet.__init__, Stylesheet.set_variables

    def share(sheet: Stylesheet) -> None:
        key = tuple(sheet._variables.items())
        sheet._parse_cache = _PARSED.setdefault(key, LRUCache(1024))

    def shared(sheet: Stylesheet, *, variables: dict[str, str] | None = None) -> None:
        init(sheet, variables=variables)
        share(sheet)

    def changed(sheet: Stylesheet, variables: dict[str, str]) -> None:
        sheet._parse_cache = LRUCache(1)  # Textual clears it
        change(sheet, variables)
        share(sheet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "__init__", shared)
        patch.setattr(Stylesheet, "set_variables", changed)
        yield
