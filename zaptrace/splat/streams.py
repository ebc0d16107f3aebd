"""The lines of one source: which of them belongs to which report.

Reports of several CPUs interleave on a console.  Where printk prints caller
ids, each caller is a source.  Where it does not, a line belongs to the report
that took the line before it, unless it names another open one: a page by its
pfn, a task by its name.
"""

from __future__ import annotations

import re

from zaptrace.model.splats import Frame
from zaptrace.splat.after_others import warns_elsewhere
from zaptrace.splat.attributes import Attribute, attribute, is_known
from zaptrace.splat.copies import has_torn_stamp, is_of_another_time
from zaptrace.splat.draft import OTHER_STACK, Draft
from zaptrace.splat.headlines import Headline
from zaptrace.splat.kinds import OF_PAGES
from zaptrace.splat.line_order import STAND_ALONE
from zaptrace.splat.owners import OWNERS
from zaptrace.splat.prefixes import Prefix, seconds
from zaptrace.splat.same import is_named_by_xmon
from zaptrace.splat.stack_frames import (
    decoded_frame,
    fault,
    frame_alone,
    frames,
    is_annotation,
)
from zaptrace.splat.task_lines import taint
from zaptrace.splat.wraps import (
    PAGE_REASONS,
    Last,
    Whole,
    lacks_function,
    quotes,
    rejoined,
    unquoted,
    whole,
)

PATIENCE = 40
"""A report ends when so many lines in a row of its source were not its own."""
ELSEWHERE = 400
"""... or so many of other sources."""
COMMENTS = 3
"""An answer's own words count as so many of these lines."""
OPEN_REPORTS = 4
"""Reports without caller ids that can be under way at once."""
_WHOLE_LINES = frozenset({"task", "hardware", "trace", "reason"})
"""Lines that no mailer's rest of another line looks like."""
_AGAIN_IS_NEAR = 3
"""Lines between a headline and the same one, printed once more."""
_DUMP_IS_NEAR = 8
"""Lines from a dump of VM_BUG_ON_PAGE() to the headline that it belongs to."""
_DUMP_IS_NEXT = 2
"""... of another dump, with another reason: `cut here` can stand between."""
_NOT_OF_CHECKS = (*PAGE_REASONS, "bad pte", "bad page map", *STAND_ALONE)
"""Why a page is dumped where no BUG() or WARN() follows."""
_CHECK = re.compile(r"[Kk]ernel BUG at |WARNING: |BUG: failure at |Kernel bug")
_ADDRESS = re.compile(r"[0-9a-f]{8,16}\b")
_HALF_IRQ = re.compile(
    r"(?:hard|soft)irqs last [^+]{0,80}$|#[0-9]{1,3}: \S{1,20} \(.{1,200}(?:at:|,)$"
)
"""A line of lockdep's that was broken before the function that it names."""
_BAD_FLAGS = frozenset({"bad because of flags:", "bad because of flags"})
_MODULES = re.compile(
    r"(?:[\w-]{2,64}(?:\([A-Z+-]{1,8}\))?(?: |$)){1,200}(?:\[last unloaded: .*)?$"
)
"""The rest of the list of modules, which is longer than a line of printk's."""
_BEFORE_TRACES = ("Modules linked in", "Tainted: [")
"""Lines that stand before a call trace; some oopses show their modules after it."""
_OF_REPORTS = {"task", "hardware", "fault", "trace", *(one[:8] for one in _BEFORE_TRACES)}
"""Lines after a dump that show that its own headline is lost."""
_CUT = re.compile(r"-{2,}\[ cut here")
_OF_A_REPORT = re.compile(r"The buggy address belongs to (?:the )?(?:physical )?page")


def _is_check(draft: Draft) -> bool:
    """Return whether a headline is a BUG()'s or a WARN()'s: what dumps a page checks it, too."""
    return _CHECK.search(draft.fields.get("reason") or "") is not None


def _has_page_after(draft: Draft) -> bool:
    """Return whether a page's dump can follow a headline: KASAN shows one."""
    return not draft.kind.dump_before or draft.fields.get("reason", "").startswith("BUG: KAS")


class Stream:
    """The lines of one caller, or of all callers where printk does not distinguish them."""

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self.open: list[Draft] = []  # the one that took the last line stands last
        self._lines = 0
        self._elsewhere = 0
        self._page_belongs = False
        self._last: Last | None = None
        self._begun: Draft | None = None  # by the last line
        self._of_stack = -1  # the number of the last line of a stack
        self._modules = False  # the last line went on with their list
        self._of_reports = 0  # the last usual line of reports that holds nothing

    def begin(self, draft: Draft, text: str, number: int) -> None:
        """Begin a report."""
        self._settle()
        self._leave(draft.fields.get("time"))
        self._lines += 1
        self._elsewhere = 0
        draft.first_line = draft.last_line = self._lines
        if draft.kind.dump_before:
            self._adopt(draft)
        if draft.kind.one_line:
            for one in self.open:  # what follows is no line of theirs
                one.ended = one.ended or one.awaits_frames
        else:
            keep = 1 if self.prefix.caller else OPEN_REPORTS
            for one in self.open[: max(0, len(self.open) + 1 - keep)]:
                one.closed = True
            self.open = [*self.open, draft][-keep:]
        self._begun = draft
        self._last = Last(draft.headline.text, None, text, number)

    def repeats(self, begins: Headline, text: str, number: int) -> bool:
        """Return whether a headline is the last one, printed once more.

        Args:
            begins: the headline.
            text: its line as it stands in the log.
            number: of the line.
        """
        if any(is_named_by_xmon(one.said, begins.fields) for one in self.open):
            return True
        last = self._last
        is_near = last is not None and number - last.number <= _AGAIN_IS_NEAR
        newest = next((one for one in self.open[-1:] if one.is_bare), None)
        begun = self._begun or newest
        return is_near and begun is not None and begun.is_repeated(begins, text)

    def takes_dump(self, said: Attribute) -> bool:
        """Return whether the first line of a dump belongs to a report under way."""
        candidates = (one for one in self.open if one.shows_page or _has_page_after(one))
        return self._page_belongs or any(not one.refuses(said) for one in candidates)

    def _adopt(self, draft: Draft) -> None:
        for dump in reversed(self.open):
            near = self._lines - dump.last_line
            reason = dump.fields.get("reason") or ""
            is_next = near <= _DUMP_IS_NEXT and not dump.was_passed and _is_check(draft)
            says_why = bool(reason) or "page" not in dump.taken
            is_its = is_next and says_why and not reason.startswith(_NOT_OF_CHECKS)
            ours = reason.startswith("VM_") or is_its
            if dump.kind.name == "page_dump" and not (dump.traced or dump.taken & _OF_REPORTS):
                if near <= _DUMP_IS_NEAR and ours:
                    draft.adopt(dump)
                    self.open.remove(dump)
                return

    def feed(self, text: str, raw: str, number: int, *, own: bool) -> bool:
        """Take one line without its prefix; return whether a report did.

        Args:
            text: its words.
            raw: the line as it stands in the log.
            own: the whole prefix stood before them.
        """
        if own:
            self._lines += 1
            self._elsewhere = 0
        else:
            self._elsewhere += COMMENTS if self._is_comment(raw) else 1
        next_to = self._is_next(raw, number, own=own)
        if next_to and self._begun and self._goes_on(text, raw, number):
            return True
        self._settle()
        self._begun = None
        self._expire()
        if own and self.open:
            self._leave(seconds(raw[: len(raw) - len(text)]))
        if self.open and self._shows_again(text):
            self._last = None
            return True
        return bool(self.open and text) and self._read(text, raw, number, own=own, next_to=next_to)

    def body(self, raw: str) -> tuple[str, bool] | None:
        """Return a line's words, and whether its prefix says that they are this source's; None:
        they are not."""
        found = self.prefix.body(raw)
        return (found[0], False) if found and found[1] and self._is_comment(raw) else found

    def _is_comment(self, raw: str) -> bool:
        """Return whether fewer answers quote a line than the report.

        It is an answer's own words, or the rest of a line that was broken when it was quoted.
        """
        if not self.prefix.thin or self.prefix.bare or not self.open:
            return False
        newest = self.open[-1]
        named = newest.is_bare and not self._lacks_function(newest)
        return not named and quotes(raw) < quotes(newest.raw)

    def _read(self, text: str, raw: str, number: int, *, own: bool, next_to: bool) -> bool:
        """Take a line of the open reports, or the rest of a line that a mailer broke."""
        last = self._last if next_to else None
        taken = True
        said = attribute(text)
        whole_line = said is not None and said.name in _WHOLE_LINES
        joined = whole(last, text) if last and last.is_full(text) and not whole_line else None
        said = None if joined else said
        if joined is None and said is None:
            shown = fault(text) or self._fault_below(text)
            if shown:
                self._fault(shown, text)
            elif not self._ends_headline(text) and not self._frame(text, number):
                joined = whole(last, text) if last else None
                if joined is None and not own:
                    return False  # a comment between a mail's lines
                if joined is None:
                    taken = False
                    self._nothing(text)
        elif said is not None:
            taken = self._attribute(said, text)
            if said.name == "trace":
                self._frame(text.partition(":")[2].strip(), number)
                self._of_stack = number
        if joined is not None:
            taken = self._join(joined)
            text, said = joined.text, joined.said
        self._page_belongs = _OF_A_REPORT.match(text) is not None
        self.open[-1].shows_page |= self._page_belongs
        if _CUT.match(text):  # another report begins
            self.open[-1].gives_way()
        self._last = Last(text, said, raw, number, taken=taken)
        return taken

    def _shows_again(self, text: str) -> bool:
        """Return whether a line shows the page's flags once more: those that are wrong."""
        last = self._last
        shows = text.startswith(("flags: ", "page flags: "))
        return shows and last is not None and last.text in _BAD_FLAGS

    def _goes_on(self, text: str, raw: str, number: int) -> bool:
        """Take a line as the rest of the headline before it; return whether it is."""
        if self._begun is None or self._last is None:
            return False
        full = self._last.is_full(text)
        awaited = self._last.text.endswith((" address", " address:")) and _ADDRESS.match(
            unquoted(text)
        )
        if not awaited and (is_known(unquoted(text)) or attribute(text) is not None):
            return False
        whole_text = self._begun.go_on(rejoined(self._last, text), full=full)
        if whole_text is not None:
            self._last = Last(whole_text, None, raw, number)
        return whole_text is not None

    def _ends_headline(self, text: str) -> bool:
        """Take a WARNING's function, from which comments part it; return whether it is that."""
        owner = self.open[-1]
        if not self._lacks_function(owner):
            return False
        return owner.go_on([f"{owner.headline.text} {text}"], full=True) is not None

    def _lacks_function(self, draft: Draft) -> bool:
        return draft.is_bare and lacks_function(draft.fields.get("reason") or "")

    def _join(self, joined: Whole) -> bool:
        """Take what a line says with the one before it; return whether a report did."""
        owner, last = self.open[-1], self._last
        if last is not None:
            owner.take_back(last.text)
        if joined.adds is not None and last is not None and last.said is not None:
            if not last.taken:
                return False
            owner.amend(last.said, joined.adds)
        elif joined.said is not None:
            return self._attribute(joined.said, joined.text)
        elif joined.fault is not None:
            self._fault(joined.fault, joined.text)
        elif joined.frame is not None and not owner.ended:
            owner.take_frame(joined.frame, instead=joined.instead)
        self._took(owner)
        return True

    def miss(self) -> None:
        """Take note of a line of another source."""
        self._settle()
        self._elsewhere += 1
        self._expire()

    def let_go(self, draft: Draft) -> None:
        """Give up a report: another source has its lines."""
        self.open = [one for one in self.open if one is not draft]
        self._begun = None if self._begun is draft else self._begun

    def drop(self, draft: Draft) -> None:
        """Forget a report: its headline was the beginning of another one's."""
        draft.dropped = draft.closed = draft.ended = True
        self.let_go(draft)

    def close(self) -> None:
        """End the input: no more lines come."""
        self._settle()
        for one in self.open:
            one.closed = True
        self.open = []

    @property
    def alive(self) -> bool:
        """Whether a report is in progress."""
        return bool(self.open) or self._begun is not None

    def _settle(self) -> None:
        """Close a report of one line: the line after its headline has come."""
        if self._begun and self._begun.kind.one_line:
            self._begun.closed = True
            self._begun = None

    def _expire(self) -> None:
        for one in self.open:
            last = max(one.last_line, self._of_reports if one is self.open[-1] else 0)
            one.closed = self._lines - last > PATIENCE or self._elsewhere > ELSEWHERE
        self.open = [one for one in self.open if not one.closed]

    def _leave(self, time: float | None) -> None:
        """Close the reports from another time than a line: another log begins."""
        for one in self.open:
            if has_torn_stamp(one, time):
                one.fields["time"] = None
            one.closed |= is_of_another_time(one, time)
        self.open = [one for one in self.open if not one.closed]

    def _attribute(self, said: Attribute, text: str) -> bool:
        """Give a line to its report; return whether one took it."""
        newest = self.open[-1]
        owner = newest
        if len(self.open) > 1 and (newest.refuses(said) or not newest.is_named_by(said)):
            takers = [one for one in self.open if not one.refuses(said)]
            named = (one for one in takers if one.is_named_by(said))
            owner = next(named, None) or newest
            if owner.refuses(said):
                owner = self._first_of(takers) or newest
        if said.name == "end":
            newest.ended = True
        elif not owner.refuses(said):
            owner.take(said)
            self._took(owner)
            return True
        elif said.name in ("task", "trace") and newest.awaits_frames:
            newest.ended = True  # another report's stack begins
        elif said.name in OWNERS or (said.name == "access" and "access" in newest.taken):
            newest.take(OTHER_STACK)
        else:
            newest.meets(said)
            if not newest.ended and said.name != "task" and not is_known(text):
                newest.pass_over(text, belongs=newest.shows_page and said.name in OF_PAGES)
        return False

    def _first_of(self, takers: list[Draft]) -> Draft | None:
        """Return the first of several reports that are printed at once: it is ahead."""
        ahead = [one for one in takers if any(one.overlaps(other) for other in self.open)]
        return min(ahead, key=lambda one: one.first_line, default=None)

    def _fault_below(self, text: str) -> Frame | None:
        """Return the faulting function where its line follows `RIP:`: x86_64 before 2.6.27."""
        last = self._last
        return fault(f"RIP: {text}") if last and last.text.endswith(("RIP:", "RIP: ")) else None

    def _fault(self, shown: Frame, text: str) -> None:
        owner = self.open[-1]
        if owner.kind.name == "page_dump":
            owner.comes_before_trace("fault")
        is_its = "fault" in owner.kind.follows or "trace" in owner.taken
        is_its &= not (
            owner.was_passed and warns_elsewhere(owner.fields.get("reason") or "", shown)
        )
        if not owner.ended and is_its and owner.take_fault(shown):
            self._took(owner)
            owner.fields["x86"] = text.startswith("RIP: ")
            said = taint(text)
            if said and not owner.refuses(one := Attribute("old taint", said)):
                owner.take(one)

    def _frame(self, text: str, number: int) -> bool:
        owner = self.open[-1]
        goes_on = number - self._of_stack == 1
        if goes_on and is_annotation(text):
            self._of_stack = number
            return True
        last = self._last
        if last and number - last.number == 1 and _HALF_IRQ.match(last.text):
            return True  # the rest of that line
        shown = list(frames(text))
        if shown and owner.is_bare and (owner.fields.get("reason") or "").endswith(" [inline]"):
            return True  # its headline again, broken: the function that holds the inlined one
        if not shown and "trace" in owner.kind.follows:
            one = decoded_frame(text) if owner.awaits_frames else None
            bare = owner.lacks_offsets or "_" in text  # who shortens a stack may keep the names
            one = one or frame_alone(text, goes_on=goes_on and bare)
            shown = [one] if one else []
        if not shown or owner.ended:
            return bool(shown)
        if owner.refuses_frame(shown[0]):
            return False
        for one in shown:
            owner.take_frame(one)
        self._took(owner)
        self._of_stack = number
        return True

    def _is_next(self, raw: str, number: int, *, own: bool) -> bool:
        """Return whether a line can be the rest of the one before: that has no stamp of its own."""
        last = self._last
        is_rest = not own or self.prefix.thin
        if last is None or not is_rest or number - last.number != 1:
            return False
        if self.prefix.thin and quotes(raw) > quotes(last.raw):
            return False  # an older mail's
        return not self.prefix.is_anothers(raw, last.raw)

    def _nothing(self, text: str) -> None:
        owner = self.open[-1]
        if text.startswith(_BEFORE_TRACES) and not any(
            one.awaits_task for one in self.open if one is not owner
        ):
            owner.comes_before_trace(text)
        owner.ended |= owner.was_passed and text.startswith("Oops: ") and "task" in owner.taken
        last = self._last
        begun = last is not None and last.text.startswith("Modules linked in")
        self._modules = (begun or self._modules) and _MODULES.match(text) is not None
        if is_known(text) or self._modules:
            if len(self.open) == 1 and not owner.is_bare:
                self._of_reports = self._lines  # registers and a stack: 60 lines on arm
        elif not owner.ended:
            owner.pass_over(text)

    def _took(self, owner: Draft) -> None:
        owner.last_line = self._lines
        if self.open[-1] is not owner:
            self.open.remove(owner)
            self.open.append(owner)
