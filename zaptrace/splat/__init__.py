"""A console log -> splats."""

from zaptrace.splat.parser import parse

__all__ = ["parse"]
