"""A console log -> splats."""

from zaptrace.splat.parser import parse, splats

__all__ = ["parse", "splats"]
