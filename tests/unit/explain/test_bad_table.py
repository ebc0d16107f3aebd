"""An entry above the PTEs that was cleared as bad speaks for a mapping that lost nothing else."""

from __future__ import annotations

from tests.unit.explain.audits import audit
from tests.unit.explain.kernel import events_of
from tests.unit.explain.rows import finding, of_page
from zaptrace.explain import Evidence, explain
from zaptrace.model.events import Kind
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import CodeSite

CALLER = 0x4242
CHAIN = (
    "pud_none_or_clear_bad at include/linux/pgtable.h:700",
    "unuse_pud_range at mm/swapfile.c:9",
)


def resolve(address: int) -> CodeSite | None:
    return CodeSite("unuse_mm", 8, None, CHAIN, address=address) if address == CALLER else None


def test_who_had_it_cleared_is_named_not_the_helper_of_a_header() -> None:
    leaked = finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1)
    row = {**of_page(Kind.BAD_TABLE, 1000, 0), "caller": CALLER}
    with_table = explain(Evidence(events_of([row]), (), audit(leaked), resolve, ended="exit"))
    said = "and an entry above the PTEs was cleared as bad by unuse_pud_range() at mm/swapfile.c:9"
    assert said in with_table.summary
    without = explain(Evidence(events_of([]), (), audit(leaked), resolve, ended="exit"))
    assert "cleared as bad" not in without.summary
