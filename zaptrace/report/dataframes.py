"""A run or a vmcore as pandas DataFrames, for questions that no command answers.

Every array is converted in bulk; absent values are pandas' own NA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zaptrace.life.named_life import NamedLife
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.events import (
    ABSENT_VALUE,
    TROUBLE,
    Events,
    Kind,
    Origin,
    about_page,
    zaps_before,
)
from zaptrace.model.findings import AuditResult
from zaptrace.model.splats import Splat
from zaptrace.report.life_dataframe import life_frame
from zaptrace.report.record_order import has_clock, in_order
from zaptrace.report.words import count

if TYPE_CHECKING:
    import pandas as pd

_INTEGERS = (
    *("cpu", "pid", "tgid", "pfn", "raw_mapcount", "refcount", "addr", "end", "nr", "order"),
    *("page", "folio", "mm", "vma", "pte", "site", "caller"),
)
"""Columns of numbers, in this order."""


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder or a capture, for questions that no command answers.

    Attributes:
        recorded: the capture as numpy records (see zaptrace.model.events.Events).
        audit: what the audit of the dump found; None when the run has no dump.
        verdict: the document that `zaptrace explain --json` prints, without what the run's
            folder is called; None when the run was cut short before its verdict.
        splats: the kernel's own reports on the console, in its order.
        name: the folder or the file that it was read from.
        lives: what finds a page's life; None for a capture alone.
    """

    recorded: Events
    audit: AuditResult | None = None
    verdict: Mapping[str, Any] | None = None
    splats: tuple[Splat, ...] = ()
    name: str = ""
    lives: Callable[[int], NamedLife] | None = None

    def __repr__(self) -> str:
        """Say what is inside, at no cost."""
        held = [count(len(self.recorded.records), "event")]
        if self.recorded.lost:
            held.append(f"{self.recorded.lost:,} lost")
        if self.splats:
            held.append(count(len(self.splats), "splat"))
        if self.audit:
            held.append(count(len(self.audit.findings), "finding"))
        found = (self.verdict or {}).get("verdict") or {}
        if kind := found.get("kind"):
            held.append(f"verdict {kind}")
        return f"<zaptrace.Run {self.name}: {', '.join(held)}>"

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row an event, by time; the index `time` is the boot clock as a Timedelta.

        `timed` is False for what was read from a stopped CPU's registers: its time is not
        known, and it stands 1 ns after the last event.  `kind`, `comm`, `reason`, `origin` and
        `where` (the probe's site by name) are categories.  `mapcount` is `raw_mapcount` + 1.
        """
        return events_frame(self.recorded)

    @cached_property
    def pages(self) -> pd.DataFrame:
        """One row a page that an event or a finding names; the index is `pfn`.

        How many events of each kind it had, the first and the last time, the counters as last
        seen, and what the audit says (`ptes`, `finding`).
        """
        return pages_frame(self.events, self.findings)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row a finding of the audit, worst first; `mappings` is how many there are."""
        return findings_frame(self.audit)

    def story(self, pfn: int) -> pd.DataFrame:
        """Return the rows of `events` that are about one page, also as one of a range's.

        The last zap that each of its threads began before is among them.
        """
        records, _ = in_order(self.recorded.records)
        about = np.flatnonzero(about_page(records, pfn))
        return self.events.iloc[np.union1d(about, zaps_before(records, about))]

    def life(self, pfn: int) -> pd.DataFrame:
        """Return the life of one page since its last allocation: a row for each change.

        See `zaptrace.report.life_dataframe.life_frame` for the columns.

        Raises:
            BadInput: the run has no pages' lives, or not this page's.
        """
        if self.lives is None:
            raise BadInput(f"{self.name} has no pages' lives: a capture has none")
        return life_frame(self.lives(pfn))


@dataclass(frozen=True, repr=False)
class Vmcore:
    """An audited crash dump.

    Attributes:
        audit: what the audit found, and what it could not see.
        page_columns, pte_columns: column name -> values, as zaptrace.audit.columns has them.
        name: the file that it was read from.
    """

    audit: AuditResult
    page_columns: Mapping[str, npt.NDArray[Any]]
    pte_columns: Mapping[str, npt.NDArray[Any]]
    name: str = ""

    def __repr__(self) -> str:
        """Say what is inside, at no cost."""
        return (
            f"<zaptrace.Vmcore {self.name}: {self.audit.kernel_release}, "
            f"{count(self.audit.pages, 'page')}, {count(self.audit.ptes, 'PTE')}, "
            f"{count(len(self.audit.findings), 'finding')}>"
        )

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row a finding, worst first; `mappings` is how many there are."""
        return findings_frame(self.audit)

    @cached_property
    def pages(self) -> pd.DataFrame:
        """One row a struct page; the index is `pfn`.

        `mapcount` is NA where the field counts no mappings, `finding` the class of what is
        wrong with the page, `folio` the PFN of the folio's first page, which alone has `order`.
        """
        pd = _pandas()
        columns = dict(self.page_columns)
        pfns, mappable = columns.pop("pfn"), columns.pop("mappable")
        frame = pd.DataFrame(columns, index=pd.Index(pfns, name="pfn"))
        frame["mapcount"] = pd.arrays.IntegerArray(columns["mapcount"].astype("int64"), ~mappable)
        wrong = {one.pfn: one.cls.value for one in self.audit.findings if one.pfn is not None}
        numbers = {text: at for at, text in enumerate(sorted(set(wrong.values())), 1)}
        ids = np.zeros(len(pfns), np.int8)
        ids[frame.index.get_indexer(list(wrong))] = [numbers[text] for text in wrong.values()]
        frame["finding"] = _named(ids, {at: text for text, at in numbers.items()})
        return frame

    @cached_property
    def ptes(self) -> pd.DataFrame:
        """One row a PTE or large leaf; `pid` is NA where no task uses the mm.

        `normal` ones map pages that the kernel counts; those of the zero page, vvar and device
        memory do not.  `comm` and `level` are categories.
        """
        pd = _pandas()
        pids = self.pte_columns["pid"]
        frame = pd.DataFrame(dict(self.pte_columns))
        frame["pid"] = pd.arrays.IntegerArray(pids.astype("int64"), pids < 0)
        for name in ("comm", "level"):
            frame[name] = frame[name].astype("category")
        return frame


def events_frame(events: Events) -> pd.DataFrame:
    """Return the events as `Run.events` describes them."""
    pd = _pandas()
    records, clock = in_order(events.records)
    known = {int(kind): kind.name.lower() for kind in Kind}
    columns: dict[str, Any] = {
        "kind": _named(records["kind"], known),
        "comm": _category([_text(one) for one in np.unique(records["comm"])], records["comm"]),
    }
    for name in _INTEGERS:
        columns[name] = _integers(records[name], ABSENT_VALUE[name])
    columns["mapcount"] = columns["raw_mapcount"] + 1
    columns["reason"] = _named(records["reason"], events.strings)
    columns["where"] = _named(records["site"], events.symbols)
    columns["origin"] = _named(
        records["origin"], {int(origin): origin.name.lower() for origin in Origin}
    )
    columns["stack"] = _named(records["stack"], _stacks(events))
    columns["timed"] = has_clock(records)
    time = pd.TimedeltaIndex(clock.astype("timedelta64[ns]"), name="time")
    return pd.DataFrame(columns, index=time)


def findings_frame(audit: AuditResult | None) -> pd.DataFrame:
    """Return the findings as `Run.findings` describes them."""
    pd = _pandas()
    found = audit.findings if audit else ()
    numbers = ("ptes", "mapcount", "raw_mapcount", "refcount")
    columns: dict[str, Any] = {
        "class": _texts([one.cls.value for one in found]),
        "pfn": _optional([one.pfn for one in found], "UInt64"),  # as in events: they are joined
    }
    for name in numbers:
        columns[name] = _optional([getattr(one, name) for one in found])
    owners = [next(iter(one.mappings), None) for one in found]
    columns["pid"] = _optional([owner.pid if owner else None for owner in owners])
    columns["comm"] = _texts([owner.comm if owner else None for owner in owners])
    columns["address"] = _optional([owner.address if owner else None for owner in owners], "UInt64")
    columns["vma"] = pd.array([owner.vma if owner else None for owner in owners], dtype="string")
    columns["mappings"] = _optional([len(one.mappings) for one in found])
    columns["flags"] = pd.array(["|".join(one.flags) for one in found], dtype="string")
    columns["note"] = pd.array([one.note for one in found], dtype="string")
    return pd.DataFrame(columns)


def pages_frame(events: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return the pages as `Run.pages` describes them."""
    pd = _pandas()
    about = events[events["pfn"].notna()].reset_index()
    by_page = about.groupby("pfn", sort=True, observed=True)
    pages = by_page.agg(
        first=("time", "min"),
        last=("time", "max"),
        events=("kind", "size"),
        raw_mapcount=("raw_mapcount", "last"),
        refcount=("refcount", "last"),
        comm=("comm", "last"),
        pid=("pid", "last"),
    )
    kinds = pd.crosstab(about["pfn"], about["kind"].astype("object"))
    wanted = [kind.name.lower() for kind in (Kind.RMAP_REMOVE, *TROUBLE)]
    pages = pages.join(kinds.reindex(columns=wanted, fill_value=0))
    wrong = findings[findings["pfn"].notna()].drop_duplicates("pfn").set_index("pfn")
    pages = pages.join(wrong[["class", "ptes"]].rename(columns={"class": "finding"}), how="outer")
    counts = ["events", *wanted]
    pages[counts] = pages[counts].fillna(0).astype("int64")
    pages.index = pages.index.astype("uint64").rename("pfn")
    for name in ("comm", "finding"):
        texts = pages[name].astype("object")
        pages[name] = _texts(texts.where(texts.notna(), None).tolist())
    return pages


def _stacks(events: Events) -> dict[int, str]:
    """Return each stack as one line, innermost first."""
    return {
        number: " < ".join(events.symbols.get(one, f"{one:#x}") for one in stack)
        for number, stack in events.stacks.items()
    }


def _integers(values: Any, absent: int) -> Any:
    """Return a nullable column of the record's own width, in the machine's byte order."""
    pd = _pandas()
    native = values.astype(values.dtype.newbyteorder("="))
    arrays = pd.arrays.IntegerArray
    return arrays(native, np.asarray(native == native.dtype.type(absent)))


def _optional(values: list[int | None], dtype: str = "Int64") -> Any:
    """Return a nullable column out of few numbers."""
    return _pandas().array(values, dtype=dtype)


def _named(ids: Any, names: dict[int, str]) -> Any:
    """Return a category for each id; NA for ids without a name."""
    pd = _pandas()
    distinct, codes = np.unique(ids, return_inverse=True)
    texts = [names.get(int(one)) for one in distinct]
    return _coded(pd, texts, codes)


def _category(texts: list[str], values: Any) -> Any:
    """Return a category for each distinct value, whose texts are given in ascending order of
    value."""
    _, codes = np.unique(values, return_inverse=True)
    return _coded(_pandas(), [text or None for text in texts], codes)


def _texts(texts: Sequence[str | None]) -> Any:
    """Return a category for each of few texts."""
    return _coded(_pandas(), texts, np.arange(len(texts)))


def _coded(pd: Any, texts: Sequence[str | None], codes: Any) -> Any:
    """Texts by code as a categorical; two codes may have one text."""
    categories = sorted({text for text in texts if text is not None})
    place = {text: at for at, text in enumerate(categories)}
    where = np.array([-1 if text is None else place[text] for text in texts], np.int64)
    # Typed, so that a column without any text is still one of texts in Parquet.
    index = pd.Index(categories, dtype="str")
    return pd.Categorical.from_codes(where[codes] if len(where) else codes, index)


def _text(comm: bytes) -> str:
    return bytes(comm).decode("utf-8", "replace")


def _pandas() -> Any:
    """pandas, which only those need who ask for frames: guests have none.

    Raises:
        Missing: it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise Missing(
            "data frames need pandas, which is not installed", "pip install 'zaptrace[frames]'"
        ) from None
    return pandas
