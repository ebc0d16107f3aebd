"""Which bug it is: what two boots' verdicts have in common when they show the same one."""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.explain.sites import line_of
from zaptrace.model.errors import BadInput
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind

CULPRIT = "culprit"
BY_LIFE = (CULPRIT, "table_taken_out")
ROLES = (*BY_LIFE, "freed", "rmap_removed", "pte_cleared")
"""The sites that name a bug's function, best first; who reported it says little."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A verdict's kind and function; no pfn, task or line, which change from boot to boot.

    Attributes:
        function: the one that the page's recorded life names, or the zap function that this is
            called by; without a life the innermost zap function of the page's story; None when
            none is known.
    """

    kind: str
    function: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} in {self.function}()" if self.function else self.kind

    @property
    def explained(self) -> bool:
        """Whether a rule names it; an unexplained one may be any other."""
        return self.kind != VerdictKind.UNEXPLAINED.value

    def matches(self, other: Signature) -> bool:
        """Return whether a boot's verdict is this bug; one without a function is any of its
        kind."""
        return self.kind == other.kind and self.function in (None, other.function)

    @classmethod
    def parse(cls, text: str) -> Signature:
        """KIND or KIND:FUNCTION.

        Raises:
            BadInput: there is no such kind of bug.
        """
        kind, _, function = text.partition(":")
        no_bugs = (VerdictKind.CLEAN, VerdictKind.UNEXPLAINED)  # of the latter no two are the same
        kinds = [one.value for one in VerdictKind if one not in no_bugs]
        if kind not in kinds:
            raise BadInput(f"no bug is called {kind!r}", f"use one of: {', '.join(kinds)}")
        return cls(kind, function.removesuffix("()") or None)


def signature_of(verdict: Verdict) -> Signature:
    """Return what a verdict says of which bug it is."""
    found = (_function(role, verdict.sites) for role in ROLES)
    return Signature(verdict.kind.value, next((one for one in found if one), None))


def _function(role: str, sites: tuple[CodeSite, ...]) -> str | None:
    if line := line_of(role, sites):
        return line.function
    if role in BY_LIFE and (site := next((one for one in sites if one.role == role), None)):
        return site.inline_chain[0].partition(" at ")[0] if site.inline_chain else site.symbol
    return None
