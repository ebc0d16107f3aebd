"""A report under way: what its lines said so far, and what it cannot have said."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from zaptrace.model.splats import Frame, Splat
from zaptrace.splat.after_others import (
    Saved,
    begins_another,
    cannot_follow,
    contradicts,
    is_another_stack,
    is_outermost,
    names_task,
)
from zaptrace.splat.attributes import Attribute
from zaptrace.splat.beginnings import kind_of
from zaptrace.splat.headlines import Headline, fields_of
from zaptrace.splat.kinds import OF_NAME, OF_PAGES, Kind
from zaptrace.splat.line_order import (
    BEFORE_TRACE,
    LATEST,
    OF_TASK,
    ONLY_OF,
    ORDER,
    REPEATED,
    STAND_ALONE,
    TASK_IS_LAST,
)
from zaptrace.splat.owners import OWNERS, page_owner
from zaptrace.splat.same import from_fault, is_half, is_inlined, maps, same_place, same_task
from zaptrace.splat.unread import Unread
from zaptrace.splat.wraps import says_more

MOST_WORDS = 64  # of `raw:` lines; a struct page has 8 to 16
MOST_FRAMES = 512  # of a stack; the kernel's own limit is below 100
_FIELDS = {field.name for field in dataclasses.fields(Splat)} - {"kind"}
OTHER_STACK = Attribute("other stack")
_OF_STACKS = frozenset({"task", "hardware", "trace"})
_MICROSECONDS = re.compile(r"[0-9]\.[0-9]{6}(?![0-9])")


class Draft:
    """A report under way.

    Attributes:
        raw: the headline's line as it stands in the log.
        kind: its row of the table.
        fields: what was said, by name of the Splat's field.
        taken: the names of the lines that it has.
        first_line, last_line: the first and the last of them, as its stream counts.
        ended: no line can be its any more.
        closed: no stream holds it open.
        dropped: it is no report.
        is_copy: because it stands above, word for word.
        foreign: another task's lines have come; its own can come yet.
        shows_page: it says that a page's dump is a part of it.
        mention: a headline above that may be this one's, named before it.
    """

    def __init__(self, begins: Headline, raw: str, number: int, time: float | None) -> None:
        self.raw = raw
        self.kind: Kind = begins.kind
        self.fields: dict[str, Any] = {"time": time, "line": number, **begins.fields}
        self.headline = begins
        self._said = begins.fields
        self._dump_reason: str | None = None
        self._came = 0
        self.taken: set[str] = set()
        self.first_line = self.last_line = 0
        self.ended = begins.kind.one_line
        self.closed = False
        self.dropped = self.is_copy = self.foreign = self.shows_page = False
        self.mention: Draft | None = None
        self._trace: list[Frame] = []
        self._early: list[Frame] = []  # before "Call Trace:", which may be lost
        self._early_is_trace = False
        self._names_task_last = begins.fields.get("reason", "").startswith(TASK_IS_LAST)
        self._fault: list[Frame] = []  # the functions inlined there, and the one that holds them
        self._owners: dict[str, dict[str, Any]] = {}
        self._stacks: dict[str, list[Frame]] = {}
        self._section: str | None = None
        self._unread = Unread()
        self._saved: Saved | None = None  # before the last lines of others
        self._sure_frames = MOST_FRAMES  # those before a line of others

    @property
    def said(self) -> dict[str, Any]:
        """What its headline says, with the rest of a broken one."""
        return self._said

    @property
    def traced(self) -> bool:
        """Whether its call trace, or what may be it, has begun."""
        return bool(self._trace or self._early) and self._section is None

    @property
    def is_bare(self) -> bool:
        """Whether only its headline has come so far."""
        return not (self.taken or self._trace or self._early or self._fault or self.dropped)

    @property
    def awaits_copy(self) -> bool:
        """Return whether the whole report can come yet: this is but a headline."""
        return self.is_bare and not self.kind.one_line

    @property
    def was_passed(self) -> bool:
        """Whether lines of others followed its last line."""
        return self._unread.are_others

    @property
    def awaits_frames(self) -> bool:
        """Whether a stack has begun, frames aside, or is next to come."""
        after_fault = bool(self._fault) and not self.was_passed
        return "trace" in self.taken or self._section is not None or after_fault

    def overlaps(self, other: Draft) -> bool:
        """Return whether two reports were printed at once: one has a line after the other began."""
        return self is not other and (
            self.first_line <= other.first_line < self.last_line
            or other.first_line <= self.first_line < other.last_line
        )

    def is_named_by(self, said: Attribute) -> bool:
        """Return whether the line names this very report's page or task."""
        names = [("pfn", "pfn")]
        if said.name == "task":
            names += [("comm", "process"), ("pid", "pid")]
        named = any(
            said.fields.get(name) is not None and said.fields[name] == self.fields.get(own)
            for name, own in names
        )
        return named or maps(self.fields.get("pte"), said.fields.get("pfn"))

    def refuses(self, said: Attribute) -> bool:
        """Return whether the line cannot belong to this report."""
        name = said.name
        if name == "other stack":
            return False
        if self.ended or name not in self.kind.follows:
            return True
        if self.foreign and not self.is_named_by(said):
            return True
        again = name == "trace" and not (self._trace or self.was_passed)  # after `Backtrace:`
        is_again = name in self.taken and name not in REPEATED and not again
        is_again |= name in OWNERS and name in self._owners
        if is_again or contradicts(said, self.taken, self.fields):
            return True
        if self.shows_page and name in OF_PAGES:  # KASAN's, after the call trace
            return self._is_of_another(said)
        if ORDER.get(name, LATEST) < self._came:
            return True
        if (self._trace or self._early_is_trace) and self._is_past(name):
            return True
        if name in _OF_STACKS and self._has_no_stack(name):
            return True
        if self.was_passed and cannot_follow(name, self.kind, self.taken, self.fields):
            return not self.is_named_by(said)
        return self._is_of_another(said)

    def _is_past(self, name: str) -> bool:
        """Return whether such a line comes before the call trace, which has begun."""
        if self._trace:  # an oops shows its registers before it
            is_fault = name == "fault" and len(self._trace) < 2
            return name not in ("trace", "trace's end") and not is_fault
        names = ("trace",) if self._names_task_last else ("task", "hardware", "trace")
        return self._early_is_trace and name in names

    def _has_no_stack(self, name: str) -> bool:
        """Return whether a task or a stack is another report's: this one has none."""
        after = self.was_passed and name == "hardware" and self._fault  # which it stands before
        if after or ("user mode" in self.taken and (name == "trace" or self.was_passed)):
            return True
        if self.kind.name != "page_dump":
            return False
        if self.was_passed or self._saved:  # its headline is lost, too
            return True
        return (self.fields.get("reason") or "").startswith(STAND_ALONE)

    def _is_of_another_kind(self, reason: str) -> bool:
        only = ONLY_OF.get(reason, self.kind.name)
        mine = self.kind.name.startswith("bad_page_") or self.was_passed
        return mine and only != self.kind.name

    def _is_of_another(self, said: Attribute) -> bool:
        """Return whether the line names another page or another task."""
        pfn, pid = self.fields.get("pfn"), self.fields.get("pid")
        if pfn not in (None, said.fields.get("pfn", pfn)) or self._cannot_have_pfn(said):
            return True
        if self._dump_reason and said.name in OF_PAGES:  # the dump stood before the headline
            return True
        if said.name == "raw":  # its first word is the flags
            word, flags = said.fields["raw"][0], self.fields.get("flags_word")
            raw = self.fields.get("raw")
            is_another = raw[0] == word if raw else flags not in (None, word)
            return self.was_passed and is_another
        if said.name == "reason":
            return self._is_of_another_kind(said.fields["reason"])
        return said.name == "task" and not (
            same_task(self.fields.get("process"), said.fields.get("comm"))
            and pid in (None, said.fields.get("pid", pid))
        )

    def _cannot_have_pfn(self, said: Attribute) -> bool:
        """Return whether the kernel prints no pfn: those whose bad_page() headline has none print
        none at all."""
        old = self.kind.name == "bad_page_state" and "process" in self._said
        return old and "pfn" not in self._said and "pfn" in said.fields

    def meets(self, said: Attribute) -> None:
        """Take note of a line that is another report's, of which the headline may be lost."""
        if said.name in ORDER and not (self.shows_page or self.is_named_by(said)):
            self.foreign = True
        if said.name == "task" and self._is_its_since_others(said):
            self._restore("task")
            self.foreign = True

    def _is_its_since_others(self, said: Attribute) -> bool:
        """Return whether the lines since another's are those of the task that a line names."""
        is_another = self.kind.name == "page_dump" or self._is_of_another(said)
        return is_another and not self.ended and "task" not in self.taken

    def _restore(self, name: str) -> None:
        """Take back the lines since another's: they are that of the report of a line."""
        if self._saved is not None and (name == "task" or self._saved.had(name)):
            self._saved.restore(self.__dict__)
            self._saved = None

    def gives_way(self) -> None:
        """Take note that another report begins, or this dump's own headline is to come."""
        if self.traced:
            self.ended = True
        elif self.kind.name != "page_dump":
            self.foreign = True

    def take(self, said: Attribute) -> None:
        """Take what one of its lines says; nothing that it has already said is overwritten."""
        self._commit()
        if self.is_named_by(said):
            self._saved = None
        self.taken.add(said.name)
        self.foreign = self.foreign and said.name != "task"
        self._came = max(self._came, ORDER.get(said.name, 0))
        self._section = said.name if said.name in (*OWNERS, "other stack") else None
        if said.name in (*OWNERS, "owner"):
            self._owners[said.name] = dict(said.fields)
            return
        if said.name == "trace":
            self._early.clear()
        if said.name == "trace's end":
            self._sure_frames = MOST_FRAMES
        for name, value in said.fields.items():
            if name == "raw":
                self.fields["raw"] = (*self.fields.get("raw", ()), *value)[:MOST_WORDS]
            elif self.fields.get(name) is None or (name == "reason" and self._is_reasons(said)):
                self.fields[name] = value

    def _is_reasons(self, said: Attribute) -> bool:
        """Return whether the dump's reason is the report's, unless the headline says what a WARN()
        checked."""
        return said.name == "reason" and not self.kind.dump_before

    def go_on(self, texts: list[str], *, full: bool) -> str | None:
        """Take the rest of a broken headline: the first text that says more than it did.

        Args:
            texts: the ways to join it.
            full: it had no room for the next word.

        Returns:
            That text; None when none does.
        """
        before = self._said
        for text in texts:
            found = self.headline.kind.headline.search(text)
            said = fields_of(found) if found else {}
            if says_more(before, said, full=full):
                self.fields |= self._of_dump(said)
                self._said = said
                return text
        return None

    def _of_dump(self, said: dict[str, Any]) -> dict[str, Any]:
        """Return a headline's fields, its reason with that of the dump before it."""
        if self._dump_reason and "reason" in said:
            return said | {"reason": f"{said['reason']} ({self._dump_reason})"}
        return said

    def is_repeated(self, begins: Headline, raw: str) -> bool:
        """Return whether a headline is this report's own, printed once more.

        Where nothing says that two lines are one, the same words are two reports.
        """
        if self.kind is begins.kind and is_inlined(self.said, begins.fields):
            return True
        if self.kind is not begins.kind or self.headline.fields != begins.fields or self.taken:
            return False
        if raw == self.raw:  # stamp and all
            exact = _MICROSECONDS.search(begins.before) is not None
            return exact or (not self.kind.one_line and any(map(str.isdigit, begins.before)))
        names = begins.fields.keys() & {"pfn", "pte"}
        return bool(names) and begins.before != self.headline.before  # a terminal's `wall`, too

    def amend(self, begun: Attribute, adds: dict[str, Any]) -> None:
        """Take what the rest of a broken line adds.

        Args:
            begun: what the line's beginning said.
            adds: fields that the whole line says, and its beginning did not.
        """
        self._commit()
        fields = self._owners.get(begun.name, self.fields)
        for name, value in adds.items():
            before, now = begun.fields.get(name), fields.get(name)
            if name == "raw" and now and before and now[-len(before) :] == before:
                fields[name] = (*now[: -len(before)], *value)[:MOST_WORDS]  # of lines before it
            elif now in (None, before):
                fields[name] = value

    def refuses_frame(self, frame: Frame) -> bool:
        """Return whether a frame is another report's, of which all that names it may be lost.

        Where other lines stand before it, only a stack that a line announced goes on, in its own
        form, and no frame that begins stacks stands in its middle.
        """
        stack = self._stack()
        if stack is None:
            return False
        begins = stack is self._trace and not stack and "fault" in self.kind.follows
        if begins and begins_another(frame, self._fault, x86=self.fields.get("x86", False)):
            self.end_trace()
            return True
        if not self.was_passed:
            return False
        if stack is not self._trace or "trace" not in self.taken:
            return True
        is_whole = self.kind.name != "page_dump" and names_task(self.taken, self.fields)
        if not is_whole or is_another_stack(stack, frame, self.kind.name):
            self.end_trace()
            return True
        return False

    def comes_before_trace(self, text: str) -> None:
        """Take note of the modules, what the taint means or, in a page's dump, the registers.

        They stand before a call trace; a second time, they are another report's.  Only oopses (of
        MIPS) have the modules after the task.
        """
        what = text[:8]
        is_oops = "fault" in self.kind.follows and not self.was_passed
        after_task = what == "Modules " and self.taken & BEFORE_TRACE and not is_oops
        if self.traced or after_task or "trace" in self.taken:
            self.end_trace()
        self.foreign |= bool(after_task) and self.was_passed
        if what in self.taken:
            self._restore(what)
            self.ended = True
        self.taken.add(what)
        self._came = max(self._came, OF_TASK)

    @property
    def awaits_task(self) -> bool:
        """Whether the lines before its call trace can be still to come."""
        return not (self.ended or self.traced or self.taken & BEFORE_TRACE)

    def end_trace(self) -> None:
        """Take no more frames: the call trace is over."""
        self.taken.add("trace's end")

    def take_frame(self, frame: Frame, *, instead: bool = False) -> None:
        """Take a frame of the stack that is being printed.

        Args:
            frame: it.
            instead: of the last one, which was a part of it.
        """
        stack = self._stack()
        if stack is None:
            return
        if self.was_passed:
            self._sure_frames = min(self._sure_frames, len(stack))
        self._commit()
        if stack is self._early:
            # After a page's dump it may be page_owner's, whose own first line is lost.
            self._early_is_trace |= self._came >= OF_TASK or "page" not in self.taken
            self._came = max(self._came, OF_TASK)  # no line of the page's follows a stack
        if stack and (instead or is_half(stack[-1], frame)):
            stack[-1] = frame
        elif len(stack) < MOST_FRAMES:
            stack.append(frame)

    def _stack(self) -> list[Frame] | None:
        """Return the stack that is being printed; None when it is not the report's."""
        if self._section in OWNERS:
            return self._stacks.setdefault(str(self._section), [])
        if self._section == "other stack" or self.foreign or "trace's end" in self.taken:
            return None
        return self._trace if "trace" in self.taken else self._early

    @property
    def lacks_offsets(self) -> bool:
        """Whether the stack's frames, so far, are names alone."""
        stack = self._stack()
        return not stack or stack[-1].offset is None

    def take_fault(self, frame: Frame) -> bool:
        """Take the function that the CPU was in, by its registers; return whether it was taken."""
        if self.foreign or any(same_place(one, frame) for one in self._fault):
            return False  # said once more at the end of an oops
        later = self._early or not self.taken.isdisjoint(("user mode", "fault"))
        if "trace's end" in self.taken or (later and self.was_passed):
            return False
        if "trace" in self.taken:  # inside a trace: an interrupted function, of which no frame is
            if self.was_passed:
                self.end_trace()
            elif self._section is None and self._trace:
                self.take_frame(frame)
                return True
            return False
        self._commit()
        self._came = max(self._came, OF_TASK)  # the page was dumped before the BUG()
        if not self._fault or self._fault[-1].offset is None:
            self._fault.append(frame)
            self.taken.add("fault")
        return True

    def pass_over(self, text: str, *, belongs: bool = False) -> None:
        """Remember a line that no rule reads: unread, if a line of its own follows.

        Args:
            belongs: it is surely this report's.
        """
        self._unread.add(text)
        if belongs:
            self._commit()

    def take_back(self, text: str) -> None:
        """Forget that a line was not read: it is, with its rest."""
        self._unread.take_back(text)

    def _commit(self) -> None:
        if self.mention:  # the report is here, of which but the headline stood above
            self.mention.dropped = self.mention.closed = True
            self.mention = None
        if self.was_passed:
            self._saved = Saved(self.__dict__)
        self._unread.commit()

    def adopt(self, dump: Draft) -> None:
        """Take over the dump that was printed before the headline."""
        why = dump.fields.pop("reason", None)
        of_vma = dump.fields.pop("dumped", None)
        if of_vma:  # dump_vma()'s, dump_mm()'s
            dump.fields = {"vm_flags": dump.fields.get("flags_word")}
        if self.kind.name == "other" and (of_vma or (why or "").startswith("VM_")):
            is_bug = self.fields.get("reason", "").startswith("kernel BUG")
            self.kind = OF_NAME["vm_bug_on" if is_bug else "vm_warn_on"]
        for name, value in dump.fields.items():
            if name not in ("time", "line") and self.fields.get(name) is None:
                self.fields[name] = value
        self.taken |= dump.taken & {"page", "page count", "folio", "flags", "page_type", "raw"}
        self._owners, self._stacks = dump._owners, dump._stacks
        if why:
            self._dump_reason = why
            self.fields |= self._of_dump(self._said)
        dump.dropped = dump.closed = dump.ended = True

    def splat(self) -> Splat | None:
        """Return the report; None when it is but a fragment that says nothing for sure."""
        if self.dropped or (self.kind.name == "page_dump" and not self._is_whole_dump()):
            return None
        trace = from_fault(self._fault, self._whole_trace())
        name = self.kind.name
        if name == "page_dump" and "task" in self.taken:  # the headline is lost
            name = kind_of(trace) or name
        return Splat(
            kind=name,
            **{name: said for name, said in self.fields.items() if name in _FIELDS},
            trace=tuple(trace),
            page_owner=page_owner(self._owners, self._stacks),
            unread=tuple(self._unread.lines),
            unread_count=self._unread.count,
        )

    def _whole_trace(self) -> list[Frame]:
        """Return the call trace, without frames after others' lines that never come to an end."""
        if "trace" not in self.taken:
            return self._early
        is_sure = not self._trace or is_outermost(self._trace[-1])
        return self._trace if is_sure else self._trace[: self._sure_frames]

    def _is_whole_dump(self) -> bool:
        if self.fields.get("reason", "").startswith("kasan:"):  # a part of KASAN's own report
            return False
        shows = self.taken & {"page", "raw"}
        return ("reason" in self.taken and bool(shows)) or "page count" in self.taken
