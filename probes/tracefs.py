"""The tracefs source: the plan's events as kprobe events, with no compiler and no bcc.

Everything happens in a group of kprobe events and a tracing instance of our
own, so that no one else's tracing is touched; both bear our pid and the time
at which we started, so that the next start removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from probes.attach import attach
from probes.dynevents import DynamicEvents, Refused, clean_leftovers, own_name, remove_instance
from probes.filters import Filters
from probes.increments import Increments
from probes.instance import Instance
from probes.losses import Misses, lost
from probes.merging import Merger
from probes.preflight import TRACING, check, check_filters, check_tracefs_filters
from probes.rawpipes import ORDER, RawPipe
from probes.tgids import Tgids, threads
from probes.vmemmap import find_vmemmap
from zaptrace.ftrace.decoding import Decoder
from zaptrace.ftrace.formats import fields_of, parse_format, parse_header_page
from zaptrace.ftrace.record_array import joined, taken
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import Missing
from zaptrace.model.events import Events, Records
from zaptrace.model.plan import ProbePlan

CLOCK = "boot"

# Seconds between two looks, since to be woken by each event would slow the kernel down; longer
# where a look takes long, so that what is watched gets most of a slow machine.
_PAUSE, _LONGEST_PAUSE = 0.05, 0.5
_PAUSE_PER_LOOK = 2
_PAGE = 64  # bytes of struct page, where the plan does not say


class TracefsSource:
    """The events of the running kernel, through kprobe events; a model.source.Source.

    Once made, it records; `close()` (also after an exception in making it)
    leaves nothing after.

    Args:
        plan: of the running kernel.
        filters: which events are wanted; None: all.  Those of our own process
            are wanted only if its pid is named.
        symbols: the kernel's; read anew when None.
        buffer_kib: size of each CPU's ring buffer.
        root: where tracefs is mounted.
        control: the file that takes the definitions.

    Raises:
        Missing: tracefs, a permission, or what a filter needs is not there;
            or the kernel took none of the plan's events.
    """

    def __init__(
        self,
        plan: ProbePlan,
        filters: Filters | None = None,
        symbols: Kallsyms | None = None,
        *,
        buffer_kib: int = 4096,
        root: Path = TRACING,
        control: str = "kprobe_events",
    ) -> None:
        self._filters = filters or Filters()
        self._root = root
        # To read is to free memory: without end, if that were recorded in its turn.
        self._hides = os.getpid() not in self._filters.pids
        self._hidden: set[int] = set()
        self._next = 0.0
        self._clean_up = contextlib.ExitStack()
        self._closing = threading.Lock()
        self._ended = False
        try:
            check_tracefs_filters(self._filters)
            check_filters(self._filters)
            check(root, control)
            self._symbols = Kallsyms.of_this_kernel() if symbols is None else symbols
            self._start(plan, buffer_kib, control)
        except Refused as error:
            self.close()
            raise Missing(f"tracefs refuses to be set up: {error}") from error
        except OSError as error:
            self.close()
            raise Missing(f"tracefs cannot be used: {error}") from error
        except BaseException:
            self.close()
            raise

    def _start(self, plan: ProbePlan, buffer_kib: int, control: str) -> None:
        """Prepare, load, attach, activate."""
        leftovers = clean_leftovers(self._root, control)
        size = plan.offsets.get("sizeof page", _PAGE)
        self._pages = find_vmemmap(self._symbols, plan.arch, size)
        name = own_name()
        self._events = DynamicEvents(self._root, control, name)
        instance = self._instance = Instance(self._root / "instances" / name)
        self._clean_up.callback(self._events.remove)
        self._clean_up.callback(remove_instance, instance.folder)
        instance.create(clock=CLOCK, buffer_kib=buffer_kib)
        self._attached = attach(plan, self._events, instance, self._symbols, self._condition())
        if not self._attached.sites:
            why = [one.why for one in (*self._attached.missing, *plan.missing)]
            raise Missing(
                "the kernel takes none of the probes: " + (why or ["the plan is empty"])[0]
            )
        instance.follow([one for pid in self._filters.pids for one in threads(pid)])
        self._decoder = self._make_decoder()
        header = parse_header_page(instance.read("events/header_page"))
        self._pipes: list[RawPipe] = []
        for folder in instance.cpus():
            pipe = RawPipe(folder, header, frozenset(self._attached.with_stack))
            self._clean_up.callback(pipe.close)
            self._pipes.append(pipe)
        self._merger = Merger(plan)
        self._tasks = Tgids(self._root, certain=bool(self._filters.pids))
        self._news = Increments(self._decoder, self._symbols, self._describe(plan, leftovers))
        self._misses = Misses(self._events.missed, self._attached.names)
        self._hide()
        instance.set("tracing_on", "1")

    def read(self, seconds: float) -> Events | None:
        """See model.source.Source."""
        deadline = time.monotonic() + seconds
        if seconds <= 0:
            self._misses.hurry()
        while not self._ended:
            records = self._look(deadline)
            if len(records) or self._news.waiting or time.monotonic() >= deadline:
                return self._news.of(records)
        return None

    def close(self) -> None:
        """See model.source.Source.  From any thread, also while another one closes."""
        self._ended = True
        with self._closing:
            self._clean_up.close()

    def _look(self, deadline: float) -> Records:
        """Read a round, not too soon after the last: many records at once cost far less than
        each."""
        time.sleep(max(0.0, min(self._next, deadline) - time.monotonic()))
        began = time.monotonic()
        records, is_all = self._round()
        ended = time.monotonic()
        pause = max(_PAUSE, min((ended - began) * _PAUSE_PER_LOOK, _LONGEST_PAUSE))
        self._next = ended + pause if is_all else ended
        return records

    def _round(self) -> tuple[Records, bool]:
        """Return what every CPU recorded since the last round, and whether nothing more waits."""
        self._hide()
        horizon = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        parts = [self._misses.since(horizon)]
        now, is_all = horizon, True
        for pipe in self._pipes:
            try:
                ring, until = pipe.read()
            except OSError as error:
                raise Missing(
                    f"CPU {pipe.cpu}'s trace cannot be read any longer: {error}"
                ) from error
            if until is not None:
                horizon = min(horizon, until)
                is_all = False
            parts += [lost(ring, now), self._decoder.decode(ring)]
            self._news.note(ring.damage)
        return self._finished(self._merger.add(joined(parts), horizon)), is_all

    def _finished(self, records: Records) -> Records:
        """Add what the records do not say themselves; leave out those of other processes."""
        if not len(records):
            return records
        if self._pages is not None:
            records["pfn"] = self._pages.pfns(records["page"])
        records["tgid"] = self._tasks.tgids(records["pid"])
        if self._hides:
            records = taken(records, records["tgid"] != os.getpid())
        if not self._filters.pids:
            return records
        # What a process starts is followed by the kernel as well: a thread is wanted, a child not.
        return taken(records, np.isin(records["tgid"], (-1, *self._filters.pids)))

    def _hide(self) -> None:
        """Have the kernel leave out the thread that reads."""
        thread = threading.get_native_id()
        if self._hides and thread not in self._hidden:
            self._hidden.add(thread)
            self._instance.ignore(thread)

    def _condition(self) -> str:
        return " || ".join(f'comm == "{comm}"' for comm in self._filters.comms)

    def _make_decoder(self) -> Decoder:
        text = (self._root / "events/ftrace/kernel_stack/format").read_text()
        fields = fields_of(text)
        try:
            places = [fields[name].offset for name in ("common_pid", "size", "caller")]
        except KeyError as error:
            raise Missing(f"this kernel's trace describes stacks without {error}") from error
        pid_at, depth_at, stack_at = places
        stack_type = parse_format(text).id
        return Decoder(ORDER, self._attached.sites, pid_at, stack_type, depth_at, stack_at)

    def _describe(self, plan: ProbePlan, leftovers: list[str]) -> dict[str, Any]:
        """Return `meta` of the first increment."""
        attached = replace(
            plan,
            sites=tuple(self._attached.names.values()),
            missing=(*plan.missing, *self._attached.missing),
        ).to_json()
        notes = [f"removed what {name}, which is gone, left in tracefs" for name in leftovers]
        release = os.uname().release
        if plan.release not in (None, release):
            notes.append(f"the probe plan is for {plan.release}, but {release} is running")
        if self._pages is None:
            notes.append("pfns are not known: where the struct pages lie could not be found")
        return {
            **{key: attached[key] for key in ("arch", "build_id", "sites", "missing")},
            "release": release,
            "page_size": os.sysconf("SC_PAGE_SIZE"),
            "source": "tracefs",
            "clock": CLOCK,
            "notes": [*plan.notes, *notes, *self._attached.notes],
        }
