"""What a task inside execve() is charged for.

The pages of the new program's arguments lie in the mm to come, which counts them; from the moment
they are copied until begin_new_exec() the caller's mm counts them, too, though it maps none of
them (acct_arg_size(), fs/exec.c, since 2.6.37).  That may take long: the program is read meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.audit.mms import Mm, vmas


def charges(mms: Sequence[Mm]) -> frozenset[int]:
    """Pages of arguments in each of the mms that execve() prepares.

    No task uses such an mm, and its stack is all it has (bprm_mm_init()).
    """
    found = set()
    for mm in mms:
        if mm.tasks or mm.obj.mm_users.counter.value_() <= 0 or mm.obj.map_count.value_() != 1:
            continue
        shift = mm.obj.prog_["PAGE_SHIFT"].value_()
        for stack in vmas(mm):
            found.add((stack.vm_end.value_() - stack.vm_start.value_()) >> shift)
    return frozenset(found)
