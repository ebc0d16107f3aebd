"""What this kernel is: symbols, DWARF inlines and argument locations, layouts -> probe plan.

`plan_for` and `running_plan` are the doors.  This is the only package that knows pyelftools, and it
loads it only when a plan is not in the cache.
"""

from zaptrace.kernel.plan_cache import build_id, plan_for
from zaptrace.kernel.running import running_plan

__all__ = ["build_id", "plan_for", "running_plan"]
