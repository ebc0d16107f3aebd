"""Page tables against counters: what was walked and what was recorded -> findings."""

from zaptrace.audit.audited import audit, audit_live
from zaptrace.audit.proved import GRAVITY

__all__ = ["GRAVITY", "audit", "audit_live"]
