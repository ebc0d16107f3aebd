"""Page tables against counters: what was walked and what was recorded -> findings."""

from zaptrace.audit.run import GRAVITY, audit

__all__ = ["GRAVITY", "audit"]
