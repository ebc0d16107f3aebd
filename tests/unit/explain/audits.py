"""The audit of a simulated kernel, and its code sites."""

from __future__ import annotations

from tests.unit.explain.kernel import (
    RETURN_AFTER,
    RETURN_INTO_MIGRATE,
    RETURN_INTO_WP,
    RETURN_INTO_ZAP,
)
from zaptrace.model.findings import AuditResult, Finding
from zaptrace.model.verdict import CodeSite


def audit(*findings: Finding) -> AuditResult:
    return AuditResult("6.1.0", 131072, 12, 441, 0.1, findings)


OTHERS = {RETURN_INTO_WP: "wp_page_copy", RETURN_INTO_MIGRATE: "try_to_migrate_one"}


def resolve(address: int) -> CodeSite | None:
    if address not in (RETURN_INTO_ZAP, RETURN_AFTER):
        name = OTHERS.get(address, "free_unref_page")
        return CodeSite(name, 0x30, "mm/page_alloc.c:3500", (), None, address)
    outer = ("zap_pte_range at mm/memory.c:1499", "unmap_page_range at mm/memory.c:1724")
    if address == RETURN_AFTER:
        removes = ("try_zap_anon_pte_range at mm/memory.c:1456", *outer)
        return CodeSite("unmap_page_range", 0xD90, "mm/memory.c:1456", removes)
    chain = (
        "__tlb_remove_page at include/asm-generic/tlb.h:460",
        "try_zap_anon_pte_range at mm/memory.c:1447",
        *outer,
    )
    return CodeSite("unmap_page_range", 0xD64, "include/asm-generic/tlb.h:460", chain)
