"""References that nothing holds: `refcount_leaked`.

Stated only where the account is complete: of folios whose holders are known (anonymous memory,
tmpfs, hugetlb, and what no mapping leads to any more), in a kernel in which nothing may hold
pages unseen (`zaptrace.audit.quiet`).  Elsewhere they are counted as not judged.

A pin is a reference of get_user_pages()'s caller: of a task that waits in the middle of something,
or of a file that keeps pages.  Without either it was never dropped.
"""

from __future__ import annotations

import dataclasses

import drgn
import numpy as np

from zaptrace.audit import findings, invariants
from zaptrace.audit.optional import optional_step
from zaptrace.audit.quiet import holders_at_large, pinner_at_large
from zaptrace.audit.references import Account, References
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.table import MAPPING_FLAGS
from zaptrace.model.findings import Finding, FindingClass

MAY_BE_HELD = "folios with references that may be held by"
"""How a gap begins that names who may hold what is not accounted for."""
MAX_ACCOUNTS = 1000
"""Folios whose references are accounted for one by one."""
_AS_UNEVICTABLE = 1 << 3  # enum mapping_flags, include/linux/pagemap.h


def leaked(
    state: KernelState,
    owners: Owners,
    references: References,
    known: frozenset[int],
    *,
    running: bool = False,
) -> list[Finding]:
    """Return the folios with references that nothing holds.

    Args:
        known: pages that have another finding, by index.
        running: see `zaptrace.audit.quiet.holders_at_large`.
    """
    heads, _ = references.excess()
    found: list[tuple[int, Account]] = []
    for head in heads[:MAX_ACCOUNTS].tolist():
        if head in known:
            continue
        account = references.account(head)
        if (account.unexplained > 0 or account.pinned) and _is_known_kind(state, head):
            found.append((head, account))
    state.gaps["folios whose references were not accounted for"] += max(
        len(heads) - MAX_ACCOUNTS, 0
    )
    if not found:
        return []
    if state.blind or not state.whole:
        state.gaps["folios with references of mappings that may not have been seen"] += len(found)
        return []
    what = holders_at_large(state, references.files, running=running)
    if what is None and references.unread:
        what = next(iter(references.unread))
    if what is not None:
        state.gaps[f"{MAY_BE_HELD} {what}"] += len(found)
        return []
    pinned = [one for _, one in found if one.pinned]
    if pinned and (what := pinner_at_large(state, references.files)):
        state.gaps[f"{MAY_BE_HELD} {what}"] += len(pinned)
        found = [(head, account) for head, account in found if not account.pinned]
    return [_finding(state, owners, head, account) for head, account in found]


def text_of(account: Account) -> str:
    """Return `5 references: 2 of PTEs (init/1), 1 of the page cache; 2 unexplained`."""
    parts = [
        f"{one.references} of {one.what}" + (f" ({one.who})" if one.who else "")
        for one in account.holders
    ]
    held = ", ".join(parts) if parts else "none accounted for"
    said = f"refcount {account.refcount}: {held}; {account.unexplained} unexplained"
    return f"{said}, and nothing is left that holds pins" if account.pinned else said


def _is_known_kind(state: KernelState, head: int) -> bool:
    """Return whether all that may hold references of such a folio for long is known.

    File systems and drivers keep references to the page cache (btrfs its extent buffers, graphics
    drivers their objects, whose mapping is unevictable), tmpfs by itself none.
    """
    mapping = int(state.pages.column("mapping", np.array([head]))[0])
    if not mapping or mapping & MAPPING_FLAGS or state.recorded.hugetlb[head]:
        return True
    with optional_step():
        space = drgn.Object(state.prog, "struct address_space *", value=mapping)
        name = state.prog.symbol(space.a_ops.value_()).name
        return name == "shmem_aops" and not space.flags.value_() & _AS_UNEVICTABLE
    return False


def _finding(state: KernelState, owners: Owners, head: int, account: Account) -> Finding:
    suspect = invariants.Suspect(head, FindingClass.REFCOUNT_LEAKED, int(state.ptes[head]))
    finding = findings.page_finding(state, owners, suspect)
    return dataclasses.replace(finding, note=text_of(account))
