"""A page's story (events, splats, finding) -> a verdict."""

from zaptrace.explain.evidence import Evidence
from zaptrace.explain.verdicts import explain

__all__ = ["Evidence", "explain"]
