"""Modules and files that the docs and the docstrings name are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [
    path
    for folder in ("zaptrace", "probes", "vm", "tui")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
_MODULE = re.compile(r"`((?:zaptrace|probes|vm|tui)(?:\.[a-z]\w*)+)")
_WORD = re.compile(r"(?<![\w./-])((?:zaptrace|probes|vm|tui)(?:\.[a-z]\w*)+)")
"""Also in its drawings, which have no backticks."""
_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
"""NAME, SERIES: whatever it is called."""
_FILE = re.compile(r"`((?:zaptrace|probes|vm|tui|tests|scripts)/[\w./-]+\.(?:py|config|md|c|h)\b)")


def is_there(name: str) -> bool:
    """A module, or what a module's text mentions."""
    module, rest = name, ""
    while "." in module:
        path = ROOT / module.replace(".", "/")
        for source in (path.with_suffix(".py"), path / "__init__.py"):
            if source.is_file():
                return not rest or re.search(rf"\b{rest}\b", source.read_text()) is not None
        module, _, rest = module.rpartition(".")
    return (ROOT / module / "__init__.py").is_file() and re.search(
        rf"\b{rest}\b", (ROOT / module / "__init__.py").read_text()
    ) is not None


def test_what_is_named_is_there() -> None:
    gone: dict[str, list[str]] = {}
    for path in (*DOCS, *CODE):
        text = path.read_text()
        pattern = _WORD if path.name == "CONTRIBUTING.md" else _MODULE
        missing = [name for name in pattern.findall(text) if not is_there(name)]
        missing += [
            name
            for name in _FILE.findall(text)
            if not _PLACEHOLDER.search(name) and not (ROOT / name).exists()
        ]
        if missing:
            gone[str(path.relative_to(ROOT))] = missing
    assert not gone
