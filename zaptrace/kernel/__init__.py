"""What this kernel is: symbols, DWARF inlines and argument locations, layouts -> probe plan.

`plan_for` is the door.  This is the only package that knows pyelftools, and it
loads it only when a plan is not in the cache.
"""

from zaptrace.kernel.cache import build_id, plan_for

__all__ = ["build_id", "plan_for"]
