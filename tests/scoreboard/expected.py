"""What each fault must be explained as, from each subset of the evidence, and why not better.

The evidence is named by letters: `c` the capture, `s` the splats on the console,
`v` the dump of the stopped guest, `l` the recorded life of the pages.  Where the table
says nothing, the fault's own verdict is expected.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.scoreboard import elsewhere

PARTS = {"c": "capture", "s": "splat", "v": "vmcore", "l": "life"}
SUBSETS = ("c", "s", "v", "cs", "cv", "sv", "csv", "csvl")

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
FAULTS = (*(fault for fault in OWN if fault != "none"), *LARGE, *elsewhere.FAULTS)


@dataclass(frozen=True)
class Weaker:
    """A verdict that says less, because the evidence does.

    Attributes:
        subsets: of which evidence.
        verdict: what it must say.
        why: what that evidence leaves open.
        says: words that the verdict must say of it: the readings that are left, or what is
            not covered.
        arch: only there; both when None.
    """

    subsets: tuple[str, ...]
    verdict: str
    why: str
    says: tuple[str, ...]
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
NOT_SEEN = "probes do not see resident-set counters: that nothing else goes wrong is not enough"
OTHERS_PTE = (
    "its own mapping was removed in time, another one is counted: whether that has a PTE, only "
    "page tables tell"
)
PART_OF_LARGE = (
    "a part of a large folio, freed with another part's last reference: whether its own PTE went, "
    "only page tables tell"
)

_BUSY = ("A CPU was changing page tables when the dump was taken",)
_LATE_OR_NEVER = ("freed_before_rmap_removed", "mapping_leaked")
_TWICE_OR_STALE = ("twice in one zap", "for a PTE that an earlier zap had left behind")
_AGAIN = ("twice in one zap", "left the PTE")
_OVERPUT = ("refcount_overput",)
_OF_LARGE = ("a part of a large folio", "refcount_overput")
_RSS = ("rss_mismatch", "No page tables were audited")

WEAKER: dict[str, tuple[Weaker, ...]] = {
    "batch": (Weaker(("v",), "unexplained", CUT_OFF, _BUSY),),
    "leak": (
        Weaker(("s",), "unexplained", ONE_REPORT, (*_LATE_OR_NEVER, *_OVERPUT)),
        Weaker(("v", "sv"), "unexplained", CUT_OFF, _BUSY, "s390x"),
    ),
    "underflow": (Weaker(("s", "v", "sv"), "unexplained", BELOW_ZERO, _TWICE_OR_STALE),),
    "stale": (
        Weaker(("s",), "unexplained", BELOW_ZERO, _TWICE_OR_STALE),
        Weaker(("sv",), "unexplained", BELOW_ZERO, _TWICE_OR_STALE, "x86_64"),
        Weaker(("v", "sv"), "unexplained", CUT_OFF, _BUSY, "s390x"),
    ),
    "overput": (
        Weaker(("s",), "unexplained", ONE_REPORT, (*_LATE_OR_NEVER, *_OVERPUT)),
        Weaker(("c", "cs"), "unexplained", OTHERS_PTE, _OVERPUT),
    ),
    "rss": (Weaker(("c",), "unexplained", NOT_SEEN, _RSS),),
    "none": (Weaker(("c",), "unexplained", NOT_SEEN, _RSS),),
}
WEAKER["leak-large"] = (
    *WEAKER["leak"],
    Weaker(("c", "cs"), "unexplained", PART_OF_LARGE, _OF_LARGE),
)
WEAKER["underflow-large"] = WEAKER["underflow"]
WEAKER["stale-large"] = (  # nothing is freed: the dump is of the end
    Weaker(("s",), "unexplained", BELOW_ZERO, _AGAIN),
    Weaker(("sv",), "unexplained", BELOW_ZERO, _TWICE_OR_STALE),
)
WEAKER["overput-large"] = (
    Weaker(("s",), "unexplained", ONE_REPORT, (*_LATE_OR_NEVER, *_OVERPUT)),
    Weaker(("c", "cs"), "unexplained", PART_OF_LARGE, _OF_LARGE),
    Weaker(("v", "sv"), "unexplained", CUT_OFF, _BUSY, "s390x"),
)
WEAKER["rss-large"] = WEAKER["rss"]


def own(fault: str) -> str:
    """What a fault must be explained as where the evidence shows all that zaptrace can know."""
    return (
        elsewhere.expected(fault)
        if fault in elsewhere.FAULTS
        else OWN[fault.removesuffix("-large")]
    )


def weaker(fault: str, arch: str, subset: str) -> Weaker | None:
    """Why a verdict says less than the fault's own; None when it does not."""
    fitting = (
        one for one in WEAKER.get(fault, ()) if subset in one.subsets and one.arch in (None, arch)
    )
    return next(fitting, None)


def expected(fault: str, arch: str, subset: str) -> str:
    """The verdict."""
    less = weaker(fault, arch, subset)
    return less.verdict if less else own(fault)
