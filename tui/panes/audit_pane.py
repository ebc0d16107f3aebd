"""The audit pane: what page tables and counters said when the guest was stopped."""

from __future__ import annotations

from tui.findings_text import LABELS, NO_DUMP, Audited, mark
from tui.format import Piece, count, fit
from tui.panes.line_view import LineView
from tui.timeline import PageName
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.report.finding_meanings import who
from zaptrace.report.words import hexadecimal, plain

_WIDE = 110  # columns


class AuditPane(LineView):
    """One finding a line, the worst first."""

    HEAD = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.audited = Audited(None, NO_DUMP)
        self.entitle("4 Audit")

    def show(self, audited: Audited) -> None:
        """Take what is known."""
        self.audited = audited
        many = len(audited.findings)
        self.entitle(f"4 Audit ({many:,})" if many else "4 Audit")
        self.changed()

    def chosen(self, line: int) -> Finding:
        """Return the finding of a line."""
        return self.audited.findings[line]

    def page_at(self, line: int) -> PageName | None:
        """See LineView."""
        pfn = self.chosen(line).pfn
        return None if pfn is None else PageName(pfn)

    def why_no_page(self, line: int) -> str:
        """See LineView; there is room for the whole note."""
        one = self.chosen(line)
        said = f"this finding is about an mm, not a page: {_owners(one)}"
        return f"{said}, {plain(one.note)}" if one.note else said

    def count(self) -> int:
        """See LineView."""
        return len(self.audited.findings)

    def nothing(self) -> str:
        """See LineView."""
        return self.audited.nothing()

    def head(self, width: int) -> str:
        """See LineView."""
        if not self.count():
            return ""
        return "".join(
            (
                fit("  what disagrees", 22),
                fit("pfn", 11),
                fit("PTEs", 5, right=True) + " ",
                fit("map", 5, right=True) + " ",
                fit("ref", 5, right=True) + " ",
                fit("owner", 25 if width >= _WIDE else 16),
                "note",
            )
        )

    def line(self, index: int, width: int) -> list[Piece]:
        """See LineView."""
        one = self.chosen(index)
        wrong = "dim" if one.cls is FindingClass.IN_FLIGHT else "bad"
        owner = 25 if width >= _WIDE else 16
        used = 22 + 11 + 18 + owner
        return [
            (fit(f"{mark(one)} {LABELS[one.cls]}", 21) + " ", wrong),
            (fit(hexadecimal(one.pfn), 10) + " ", "key"),
            *((fit(count(value), 5, right=True) + " ", "") for value in _counters(one)),
            (fit(_owners(one), owner - 1) + " ", ""),
            (fit(plain(one.note or ""), max(width - used, 1)), "dim"),
        ]


def _counters(finding: Finding) -> tuple[int | None, int | None, int | None]:
    return finding.ptes, finding.mapcount, finding.refcount


def _owners(finding: Finding) -> str:
    """Return the first one, and how many more."""
    if not finding.mappings:
        return "-"
    more = len(finding.mappings) - 1
    return who(finding.mappings[0]) + (f" +{more}" if more else "")
