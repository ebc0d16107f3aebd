"""What else must hold beside mapcounts and PTEs: rmaps, references, locked memory, huge pages."""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.audit.anon_rmap import wrong_rmaps
from zaptrace.audit.hugetlb import pool_findings
from zaptrace.audit.invariants import Suspect
from zaptrace.audit.leaks import leaked
from zaptrace.audit.locked import locked_findings
from zaptrace.audit.optional import Dispensable
from zaptrace.audit.references import References
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import Ledger
from zaptrace.audit.structpages.page_flags import flags_of
from zaptrace.audit.vmatable import read_table
from zaptrace.memory.open import vmcoreinfo_of
from zaptrace.model.findings import Finding

NO_VMAS = "checks of VMAs: their slab cache cannot be read"
NO_REFERENCES = "references that nothing holds"


def further_findings(
    ledger: Ledger, owners: Owners, suspects: Sequence[Suspect], *, running: bool = False
) -> list[Finding]:
    """Findings about pages that counters and PTEs agree on, about mms and about pools.

    Args:
        suspects: pages with a finding already.
        running: the kernel runs, and is looked at several times.
    """
    known = frozenset(suspect.index for suspect in suspects)
    references = References(ledger, owners)
    found: list[Finding] = []
    with Dispensable(lambda: ledger.gaps.update([NO_VMAS])):
        flags = flags_of(ledger.prog, vmcoreinfo_of(ledger.prog))
        mms = [mm.address for mm in ledger.mms]
        table = read_table(ledger.prog, ledger.pages, flags, mms, ledger.gaps)
        found += wrong_rmaps(ledger, owners, table, flags, known)
        found += locked_findings(ledger, owners, table, lambda: references.files)
        found += pool_findings(ledger, table, lambda: references.files, running=running)
    with Dispensable(lambda: ledger.gaps.update([NO_REFERENCES])):
        found += leaked(ledger, owners, references, known, running=running)
    return found
