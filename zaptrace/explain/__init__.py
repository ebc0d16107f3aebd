"""A page's story (events, splats, finding) -> a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zaptrace.explain.evidence import Evidence
    from zaptrace.explain.verdicts import explain

__all__ = ["Evidence", "explain"]


def __getattr__(name: str) -> Any:
    """Import the rules on first use: a screen of events needs a tenth of them."""
    if name == "Evidence":
        from zaptrace.explain import evidence

        return evidence.Evidence
    if name == "explain":
        from zaptrace.explain import verdicts

        return verdicts.explain
    raise AttributeError(f"module 'zaptrace.explain' has no attribute {name!r}")
