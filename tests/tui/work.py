"""A repro boot as the app sees it: steps, and the founding bug's verdict."""

from __future__ import annotations

import threading

from tests.sentences import sentences
from tests.tui.scripted import Script, founding_bug
from tui.background_job import Outcome
from tui.life_lines import Lives
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.progress import Listener, State, Update, step
from zaptrace.model.verdict import CodeSite, OrderStep, Verdict, VerdictKind

VERDICT = Verdict(
    VerdictKind.FREED_BEFORE_RMAP_REMOVED,
    sentences(
        "mount/41 freed pfn 0x1f3c5 while it was still counted as mapped (mapcount 1, refcount 0): "
        "try_zap_anon_pte_range() cleared its PTE and gave the page to the allocator at "
        "mm/memory.c:1447, before its rmap was removed. The removal came 3.5 µs after the free."
    ),
    pfn=0x1F3C5,
    comm="mount",
    pid=41,
    order=(
        OrderStep("zap_pte_range() begins", 1_204_100_000, 0, 41, None, None, "event"),
        OrderStep("bad_page() refuses it: nonzero mapcount", 1_204_211_000, 0, 41, 0, 0, "event"),
        OrderStep("the page's rmap is removed, too late", 1_204_214_500, 0, 41, -1, 0, "event"),
    ),
    sites=(
        CodeSite(
            "unmap_page_range",
            0xD64,
            "mm/memory.c:1447",
            ("try_zap_anon_pte_range at mm/memory.c:1447", "zap_pte_range at mm/memory.c:1499"),
            "freed",
        ),
    ),
    proof=(Finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0x1F3C5, 0, 1, 0),),
    doubts=("The zap that the page was freed in was not recorded.",),
)
REPORT = "zaptrace: freed_before_rmap_removed\npfn 0x1f3c5\n"
STEPS = ("build", "boot", "trace", "stop", "dump", "audit", "explain")


class Work:
    """Goes through the steps; waits in `waits_in` until `go_on` is set.

    Attributes:
        unwound: what ended it, when something did.
    """

    def __init__(
        self,
        *,
        waits_in: str | None = None,
        error: Exception | None = None,
        verdict: Verdict = VERDICT,
        with_source: bool = False,
        audit: AuditResult | None = None,
        lives: Lives | None = None,
    ) -> None:
        self.go_on = threading.Event()
        self.unwound: BaseException | None = None
        self._waits_in = waits_in
        self._error = error
        self._verdict = verdict
        self._audit = audit
        self._lives = lives
        self._source = Script([founding_bug()], ends=True) if with_source else None

    def __call__(self, listener: Listener) -> Outcome:
        try:
            for name in STEPS:
                self._step(name, listener)
        except BaseException as error:
            self.unwound = error
            raise
        return Outcome(self._verdict, REPORT, self._source, self._audit, self._lives)

    def _step(self, name: str, listener: Listener) -> None:
        title = f"{name.capitalize()} the s390x guest"
        # Times of its own, so that a picture of it is always the same.
        listener(Update(name, title, State.STARTED))
        if name == self._waits_in:
            while not self.go_on.wait(0.01):
                listener(Update(name, title, State.RUNNING, 468, 936, "mm/memory.o"))
        if self._error and name == "boot":
            with step(name, title, listener):
                raise self._error
        listener(Update(name, title, State.DONE, note=f"{name}: fine", seconds=1.5))
