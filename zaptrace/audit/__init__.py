"""Page tables against counters: what was walked and what was recorded -> findings."""

from zaptrace.audit.judged import GRAVITY
from zaptrace.audit.run import audit, audit_live

__all__ = ["GRAVITY", "audit", "audit_live"]
