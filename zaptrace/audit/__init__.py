"""Page tables against counters: what was walked and what was recorded -> findings."""

from zaptrace.audit.audited import GRAVITY, Audited, audit
from zaptrace.audit.running import audit_running

__all__ = ["GRAVITY", "Audited", "audit", "audit_running"]
