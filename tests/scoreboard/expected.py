"""What each fault must be explained as, from each subset of the evidence, and why not better.

The evidence is named by letters: `c` the capture, `s` the splats on the console,
`v` the dump of the stopped guest.  Where the table says nothing, the fault's own
verdict is expected.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = {"c": "capture", "s": "splat", "v": "vmcore"}
SUBSETS = ("c", "s", "v", "cs", "cv", "sv", "csv")

OWN = {
    "batch": "freed_before_rmap_removed",
    "leak": "mapping_leaked",
    "underflow": "rmap_underflow",
    "stale": "pte_left_behind",
    "overput": "refcount_overput",
    "rss": "rss_mismatch",
    "none": "clean",
}
LARGE = tuple(f"{fault}-large" for fault in ("leak", "underflow", "stale", "overput", "rss"))
FAULTS = (*(fault for fault in OWN if fault != "none"), *LARGE)


@dataclass(frozen=True)
class Weaker:
    """A verdict that says less, because the evidence does.

    Attributes:
        subsets: of which evidence.
        verdict: what it must say.
        why: what that evidence leaves open.
        arch: only there; both when None.
    """

    subsets: tuple[str, ...]
    verdict: str
    why: str
    arch: str | None = None


CUT_OFF = (
    "the dump is of the moment of the report, inside the zap: what is missing may be about to come"
)
ONE_REPORT = (
    "a page was freed while it was counted; whether its removal came late or never, or a PTE "
    "still maps it, no report says"
)
BELOW_ZERO = (
    "the rmap was removed too often: twice in one zap, or again for a PTE that an earlier zap had "
    "left behind; both leave the same"
)
NOT_SEEN = "nothing that probes see goes wrong; the verdict says that no page table was audited"
NOT_PRINTED = "the kernel prints nothing; the verdict says that no page table was audited"
OTHERS_PTE = (
    "its own mapping was removed in time, another one is counted: whether that has a PTE, only "
    "page tables tell"
)
PART_OF_LARGE = (
    "a part of a large folio, freed with another part's last reference: whether its own PTE went, "
    "only page tables tell"
)

WEAKER: dict[str, tuple[Weaker, ...]] = {
    "batch": (Weaker(("v",), "unexplained", CUT_OFF),),
    "leak": (
        Weaker(("s",), "unexplained", ONE_REPORT),
        Weaker(("v", "sv"), "unexplained", CUT_OFF, "s390x"),
    ),
    "underflow": (Weaker(("s", "v", "sv"), "unexplained", BELOW_ZERO),),
    "stale": (
        Weaker(("s",), "unexplained", BELOW_ZERO),
        Weaker(("v", "sv"), "unexplained", CUT_OFF, "s390x"),
    ),
    "overput": (
        Weaker(("s",), "unexplained", ONE_REPORT),
        Weaker(("c", "cs"), "unexplained", OTHERS_PTE),
    ),
    "rss": (Weaker(("c",), "clean", NOT_SEEN),),
}
WEAKER["leak-large"] = (*WEAKER["leak"], Weaker(("c", "cs"), "unexplained", PART_OF_LARGE))
WEAKER["underflow-large"] = WEAKER["underflow"]
WEAKER["stale-large"] = WEAKER["stale"][:1]  # nothing is freed: the dump is of the end
WEAKER["overput-large"] = (
    Weaker(("s",), "unexplained", ONE_REPORT),
    Weaker(("c", "cs"), "unexplained", PART_OF_LARGE),
    Weaker(("v", "sv"), "unexplained", CUT_OFF, "s390x"),
)
WEAKER["rss-large"] = WEAKER["rss"]


def expected(fault: str, arch: str, subset: str) -> tuple[str, str | None]:
    """The verdict, and why it is not the fault's own (None when it is)."""
    for weaker in WEAKER.get(fault, ()):
        if subset in weaker.subsets and weaker.arch in (None, arch):
            return weaker.verdict, weaker.why
    return OWN[fault.removesuffix("-large")], None
