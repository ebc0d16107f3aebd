"""A console log -> splats."""

from zaptrace.splat.parser import parse, parse_console, splats

__all__ = ["parse", "parse_console", "splats"]
