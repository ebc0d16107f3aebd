"""The check of a verdict: what each sentence rests on is there, and says what the sentence says.

It knows nothing of the rules: it reads the sentence, and looks up what it refers to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from zaptrace.explain.event_view import Moment, moment, of_pfn
from zaptrace.explain.evidence import Evidence
from zaptrace.explain.lifetimes import is_owner, same_process
from zaptrace.life.named_life import NamedWrite
from zaptrace.model.events import Kind
from zaptrace.model.findings import Finding
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Reference, Verdict

_PFN = re.compile(r"\bpfn (0x[0-9a-f]+)")
_TASK = re.compile(r"(?:^|(?<=[\s(]))([^\s(]{1,64})/(\d+)(?=[\s,;:.)]|$)")
_MAPCOUNT = re.compile(r"\bmapcount (-?\d+)")
_REFCOUNT = re.compile(r"\brefcount (-?\d+)")
_CHANGE = re.compile(r"\bmapcount (?:of pfn \S+ )?went from (-?\d+) to (-?\d+)")
_SECONDS = re.compile(r"\b(\d+\.\d{6}) s\b")
_PLACE = re.compile(r"(\w[\w.]*)\(\) at ([\w/.+-]+:\d+)")
_WHOLE = ("recording", "console", "audit", "nothing", "end")


@dataclass(slots=True)
class _Rest:
    """What the references of one sentence turned out to be."""

    events: list[Moment] = field(default_factory=list)
    splats: list[Splat] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    stores: list[NamedWrite] = field(default_factory=list)
    whole: bool = False

    @property
    def items(self) -> list[Splat | Finding]:
        """What is no event."""
        return [*self.splats, *self.findings]

    @property
    def pieces(self) -> list[Moment | Splat | Finding]:
        """All of it."""
        return [*self.events, *self.items]


def objections(verdict: Verdict, evidence: Evidence) -> list[str]:
    """Say what of a verdict's sentences does not rest on the evidence; empty when all do."""
    said = [(one.text, one.rests_on) for one in verdict.sentences]
    said += [(step.what, step.rests_on) for step in verdict.order]
    return [wrong for text, rests_on in said for wrong in _objections(text, rests_on, evidence)]


def _objections(text: str, rests_on: tuple[Reference, ...], evidence: Evidence) -> Iterator[str]:
    if not rests_on:
        yield f"it rests on nothing: {text}"
        return
    rest = _Rest()
    for one in rests_on:
        wrong = _looked_up(one, evidence, rest)
        if wrong:
            yield f"{wrong}: {text}"
    for wrong in (*_pages(text, rest, evidence), *_people(text, rest), *_numbers(text, rest)):
        yield f"{wrong}: {text}"
    for wrong in (*_lifetimes(rest, evidence), *_places(text, rest)):
        yield f"{wrong}: {text}"


def _looked_up(one: Reference, evidence: Evidence, rest: _Rest) -> str | None:
    """Find what a reference points to; return what is wrong with it, or None."""
    if one.what == "event":
        return _event(one, evidence, rest)
    if one.what == "splat":
        found = [
            splat
            for splat in evidence.splats
            if (splat.kind, splat.line, splat.pfn) == (one.kind, one.line, one.pfn)
        ]
        rest.splats += found[:1]
        return None if found else f"no splat {one.kind} at line {one.line} of pfn {one.pfn}"
    if one.what == "finding":
        findings = evidence.audit.findings if evidence.audit else ()
        same = [item for item in findings if (item.cls.value, item.pfn) == (one.kind, one.pfn)]
        rest.findings += same[:1]
        return None if same else f"no finding {one.kind} of pfn {one.pfn}"
    if one.what == "life":
        return _store(one, evidence, rest)
    rest.whole = True
    there = {
        "recording": evidence.events is not None,
        "console": evidence.console or bool(evidence.splats),
        "audit": evidence.audit is not None,
    }
    return None if there.get(one.what, one.what in _WHOLE) else f"there is no {one.what}"


def _store(one: Reference, evidence: Evidence, rest: _Rest) -> str | None:
    """Return a store in a page's life: there, and what the reference says it was."""
    found = None
    if evidence.lives is not None and one.pfn is not None and one.index is not None:
        for until in (None, one.index):  # of its last life, or of an earlier one
            account = evidence.lives.account(one.pfn, evidence.audit, until)
            found = found or (account.write(one.index) if account is not None else None)
    if found is None:
        return f"there is no store {one.index} in the life of page {one.pfn}"
    rest.stores.append(found)
    for name, is_ in (
        ("kind", found.role or None),
        ("time_ns", found.write.ns),
        ("cpu", found.write.cpu),
    ):
        if getattr(one, name) != is_:
            return f"store {one.index} has {name} {is_}, not {getattr(one, name)}"
    return None


def _places(text: str, rest: _Rest) -> Iterator[str]:
    """Check that each function and line named as a writer is in the stack of such a store; yield
    what is not."""
    if not rest.stores:
        return
    known = {(str(frame), frame.source) for one in rest.stores for frame in one.chain}
    for function, source in _PLACE.findall(text):
        if (function, source) not in known:
            yield f"no store that it rests on was made by {function}() at {source}"


def _event(one: Reference, evidence: Evidence, rest: _Rest) -> str | None:
    events = evidence.events
    if events is None or one.index is None or not 0 <= one.index < len(events.records):
        return f"there is no event {one.index}"
    found = moment(events, one.index)
    rest.events.append(found)
    if one.kind != found.kind.name.lower():
        return f"event {one.index} is a {found.kind.name.lower()}, not a {one.kind}"
    for name in ("time_ns", "cpu", "pfn", "mm"):
        if getattr(one, name) != getattr(found, name):
            return f"event {one.index} has {name} {getattr(found, name)}, not {getattr(one, name)}"
    return None


def _pages(text: str, rest: _Rest, evidence: Evidence) -> Iterator[str]:
    """Check that the page a sentence names is the page of its events, splats and findings; yield
    those of others."""
    pages = {int(one, 16) for one in _PFN.findall(text)}
    if len(pages) != 1 or (rest.whole and not rest.pieces):
        return
    (pfn,) = pages
    for event in rest.events:
        assert evidence.events is not None
        if event.pfn is not None and not of_pfn(evidence.events.records, pfn)[event.at]:
            yield f"event {event.at} is about pfn {event.pfn:#x}"
    for item in rest.items:
        if item.pfn != pfn:
            yield f"a {'splat' if isinstance(item, Splat) else 'finding'} is about {item.pfn}"


def _people(text: str, rest: _Rest) -> Iterator[str]:
    """Check that each task a sentence names is that of an event, a splat or an owner; yield what is
    not.

    The kernel's own words, which a sentence quotes, are its own; the audit's note names holders.
    """
    for quoted in (*(one.reason for one in rest.splats), *(one.note for one in rest.findings)):
        text = text.replace(quoted or "\0", "")
    known = {(one.comm, pid) for one in rest.events for pid in (one.pid, one.tgid)}
    known |= {(name, one.pid) for one in rest.splats for name in (one.comm, one.process)}
    known |= {(own.comm, own.pid) for one in rest.findings for own in one.mappings}
    kept = (one.page_owner for one in rest.splats if one.page_owner)
    stacks = (stack for one in kept for stack in (one.allocated, one.freed) if stack)
    known |= {(stack.comm, stack.pid) for stack in stacks}
    for comm, pid in _TASK.findall(text):
        names = [name or "?" for name, number in known if number == int(pid)]
        # A name may have blanks in it.
        if not any(comm == "?" or name.endswith(comm) for name in names):
            yield f"{comm}/{pid} is in nothing that it rests on"


def _numbers(text: str, rest: _Rest) -> Iterator[str]:
    """Counters and times that are said were read there."""
    raws = [one.raw_mapcount for one in rest.events if one.raw_mapcount is not None]
    mapcounts = {raw + 1 for raw in raws}
    # A removal is recorded as it begins: it leaves one less.
    removals = [one for one in rest.events if one.kind is Kind.RMAP_REMOVE]
    mapcounts |= {one.raw_mapcount for one in removals if one.raw_mapcount is not None}
    mapcounts |= {item.mapcount for item in rest.items if item.mapcount is not None}
    refcounts = {item.refcount for item in rest.pieces}
    said = {int(one) for one in _MAPCOUNT.findall(text)}
    said |= {int(one) for pair in _CHANGE.findall(text) for one in pair}
    for number in sorted(said - mapcounts):
        yield f"no event, splat or finding has a mapcount of {number}"
    for number in sorted({int(one) for one in _REFCOUNT.findall(text)} - refcounts):
        yield f"no event, splat or finding has a refcount of {number}"
    times = {f"{one.time_ns / 1e9:.6f}" for one in rest.events if one.time_ns is not None}
    for seconds in sorted(set(_SECONDS.findall(text)) - times):
        yield f"nothing that it rests on happened at {seconds} s"


def _lifetimes(rest: _Rest, evidence: Evidence) -> Iterator[str]:
    """Check that a sentence is about one lifetime of each mm_struct; yield where it mixes two."""
    about = [one for one in rest.events if one.mm is not None]
    for at, one in enumerate(about):
        for other in about[:at]:
            if one.mm == other.mm and not same_process(one, other):
                yield f"mm {one.mm:#x} is another process's at event {one.at} than at {other.at}"
    for finding in rest.findings:
        for one in about:
            owners = [owner for owner in finding.mappings if owner.mm == one.mm]
            assert evidence.events is not None
            if owners and not any(is_owner(evidence.events, one, owner) for owner in owners):
                yield f"mm {one.mm:#x} has another lifetime in the dump than at event {one.at}"
