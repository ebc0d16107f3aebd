"""The steps of one row, in guests: each returns how it was done, or raises why it was not."""

from __future__ import annotations

import base64
import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.slab import slab_cache_for_each_allocated_object

from tests.guest import lab, mappings, struck
from tests.guest import test_audit_live as checks
from tests.guest.builders import PAGES, ROUNDS, Lines, removed_in_each_zap, touch
from tests.guest.lab import Lab
from tests.guest.perpage import no_call_per_page
from tests.matrix import fault, load
from tests.matrix.rows import NotPossible, Row
from vm import live_guest, stock
from zaptrace.arch import arch_named
from zaptrace.audit.state import read_state
from zaptrace.kernel import plan_for
from zaptrace.memory.open import open_program
from zaptrace.model.errors import BadInput, CannotTell, Missing
from zaptrace.model.progress import ignore
from zaptrace.runs.folder import RunFacts, RunFolder

EVENTS = {"zap", "rmap_remove", "page_free", "bad_page", "bad_pte"}
BOOT_SECONDS = 240
BUSY_DUMPS = 8
KEPT_NEWEST = "7"
"""What the newest kernel's release begins with, where no mirror answers."""


class Steps:
    """The steps of one row.

    Args:
        folder: for everything that they leave; empty.
    """

    def __init__(self, row: Row, folder: Path) -> None:
        self._row, self._folder = row, folder
        self.kernel = _kernel(row)
        self._why_no_symbols = "" if self.kernel.vmlinux.exists() else _symbols(row)
        self._plans = folder / "plans"
        self._plans.mkdir()
        if self.kernel.vmlinux.exists():
            plan_for(self.kernel.vmlinux, self._plans)
        self._guest: Lab | None = None
        self._damage: fault.Damage | None = None

    @contextlib.contextmanager
    def booted(self) -> Iterator[None]:
        """The live guest, for every step but `repro`."""
        programs = {"holder.py": fault.HOLDER, "load.py": load.PROGRAM}
        for name, text in programs.items():
            (self._folder / name).write_text(text)
        request = live_guest.Request(
            arch_named(self._row.arch),
            self.kernel,
            self._plans,
            smp=self._row.smp,
            read_only=self._row.read_only,
            files={name: self._folder / name for name in programs},
        )
        with lab.running(request, self._folder) as self._guest:
            yield
        self._guest = None

    @property
    def guest(self) -> Lab:
        """The live guest."""
        assert self._guest is not None, "no guest is running"
        return self._guest

    def plan(self) -> str:
        """The guest's plan: from debug info where that is kept, else from BTF and kallsyms."""
        plan = json.loads(self.guest.output("zaptrace probes --json"))
        _need_arguments(plan)
        sites = [site for site in plan["sites"] if site["event"] in EVENTS]
        missing = EVENTS - {site["event"] for site in sites}
        assert not missing, f"no site for {', '.join(sorted(missing))}"
        if not self.kernel.vmlinux.exists():
            return "from BTF and kallsyms"
        return "from debug info; " + " ".join(plan["notes"]) if plan["notes"] else "from debug info"

    def live_bcc(self) -> str:
        """Live through bcc, and its filters by page."""
        self._live("bcc")
        return self._filters()

    def _filters(self) -> str:
        """The page filters, on anonymous pages alone and on large folios where there are any.

        They need to know a tail page's head, for which 7.1 has another member.
        """
        pid, lines = self._filtered("--anonymous", lambda: touch(self.guest))
        counted = removed_in_each_zap(lines, pid, PAGES)
        assert counted == [PAGES] * ROUNDS, f"--anonymous: {counted}"
        small, lines = self._filtered("--large-only", lambda: touch(self.guest))
        counted = removed_in_each_zap(lines, small, PAGES)
        assert not any(counted), f"--large-only, of single pages: {counted}"
        if self.guest.run(f"echo always >{load.MTHP}").status:
            return "no large folios of 16 pages"
        large, lines = self._filtered(
            "--large-only", lambda: int(self.guest.output(f"python3 -c {shlex.quote(load.FOLIOS)}"))
        )
        pages = sum(
            max(1, line.get("nr", 1))
            for line in lines
            if line["kind"] == "rmap_remove" and line.get("pid") == large
        )
        self.guest.output(f"echo never >{load.MTHP}")
        assert pages >= load.FOLIO_PAGES, f"--large-only: {pages} pages of large folios"
        return f"--large-only: {pages} pages of large folios"

    def _filtered(self, option: str, work: Callable[[], int]) -> tuple[int, Lines]:
        recording, pid = self.guest.recorded(f"--source bcc {option}", work)
        assert recording.status == 0, recording.errors[-300:]
        return pid, recording.lines

    def live_tracefs(self) -> None:
        """Live through tracefs."""
        self._live("tracefs")

    def _live(self, source: str) -> None:
        recording, pid = self.guest.recorded(f"--source {source}", lambda: touch(self.guest))
        if "without arguments" in recording.errors or "arguments lie is not known" in (
            recording.errors
        ):
            raise NotPossible(recording.errors.strip().splitlines()[-1])
        assert recording.status == 0, recording.errors[-300:]
        counted = removed_in_each_zap(recording.lines, pid, PAGES)
        assert counted == [PAGES] * ROUNDS, f"counted {counted}"
        removed = [line for line in recording.lines if line["kind"] == "rmap_remove"]
        assert all(line.get("pfn") for line in removed), "pages without a PFN"

    def dump(self) -> str:
        """A vmcore of the guest with one page damaged."""
        vmlinux = self._vmlinux()
        self._damage = fault.damage(self.guest, self._folder, vmlinux)
        core = fault.dumped(self.guest, self._vmcore)
        prog = open_program(core, vmlinux)
        release = prog["init_uts_ns"].name.release.string_().decode()
        assert release == self.kernel.release, release
        return f"page {self._damage.pfn:#x} damaged through QEMU's gdbstub"

    def audit(self) -> str:
        """That page is found, and no other, in every mm that drgn finds, and not page by page."""
        _same_mms(open_program(self._vmcore, self._vmlinux()))
        told = self._inspected(self._vmcore)
        said = f"{told['findings'][0]['class']}, among {told['ptes']} PTEs"
        busy = self._folder / "busy"
        with load.running(self.guest):
            for _ in range(BUSY_DUMPS):
                fault.dumped(self.guest, busy)
                self._inspected(busy)
                busy.unlink()
        return f"{said}; the same in {BUSY_DUMPS} dumps under load; {self._every_kind()}"

    def _inspected(self, vmcore: Path) -> dict[str, Any]:
        """What `inspect` says, and that the damaged page is all that is wrong."""
        told = self._zaptrace("inspect", vmcore, "--vmlinux", self.kernel.vmlinux)
        bugs = [one for one in told["findings"] if one["class"] != "in_flight"]
        assert self._damage is not None
        pfns = {one["pfn"] for one in bugs}
        wrong = "; ".join(f"{one['class']} {one['pfn']} {one['note']}" for one in bugs[:3])
        assert pfns == {self._damage.pfn}, f"{len(bugs)} findings: {wrong}"
        return told

    def _every_kind(self) -> str:
        """Each kind of mapping, in a guest of its own, against what it says page by page."""
        folder = self._folder / "mappings"
        folder.mkdir()
        machine = mappings.Machine(self._row.arch, frozenset(), smp=self._row.smp)
        guest = mappings.boot(machine, folder, self.kernel)
        guest.vmcore.unlink()
        kinds = {name for name, pages in guest.told.maps.items() if pages}
        missing = checks.EVERYWHERE - kinds - {checks.NO_MEMORY}
        assert not missing, f"not built: {', '.join(sorted(missing))}"
        assert checks.bugs(guest.result) == [], f"{checks.bugs(guest.result)[:2]}"
        checks.test_swap_entries_are_as_many_as_pagemap_says(guest)
        checks.test_every_page_is_where_pagemap_says(guest)
        checks.test_every_mapcount_is_what_kpagecount_says(guest)
        checks.test_every_page_has_the_kind_that_kpageflags_says(guest)
        checks.test_what_is_shared_is_counted_for_each_who_maps_it(guest)
        checks.test_who_is_inside_execve_is_in_flight(guest)
        checks.test_the_walk_finds_what_drgn_finds_at_every_page_of_every_vma(guest)
        pages = sum(len(pages) for pages in guest.told.maps.values())
        lacking = ", ".join(sorted(name for name in guest.told.lacking if "/" not in name))
        return f"{len(kinds)} kinds of mapping, {pages} pages; this guest has no {lacking}"

    def explain(self) -> str:
        """That page is unmapped, recorded, and explained."""
        self._vmlinux()
        damage = self._damage
        assert damage is not None, "no page was damaged"
        guest = self.guest
        recorder = "zaptrace record /run/fault.zap --source tracefs --comm python3"
        guest.output(
            f"{{ {recorder} >/run/words 2>&1; echo $? >/run/recorded; }} & echo $! >/run/recorder"
        )
        guest.until("grep -q '\"sites\"' /run/fault.zap || test -e /run/recorded")
        guest.output("touch /run/go")
        guest.until("grep -qx 0 /run/holder")
        guest.until("dmesg | grep -q 'BUG: Bad page map' && sleep 1")
        guest.output("pkill -INT -P $(cat /run/recorder)")
        guest.until("test -e /run/recorded")
        run = RunFolder.create(self._row.arch, self._folder / "run")
        text = guest.output("base64 -w0 /run/fault.zap")
        run.capture.write_bytes(base64.b64decode(text))
        shutil.copy(guest.console, run.console)
        self._vmcore.rename(run.vmcore)
        plan = plan_for(self.kernel.vmlinux, self._plans)
        run.save_plan(plan)
        image, vmlinux = str(self.kernel.image), str(self.kernel.vmlinux)
        facts = RunFacts(self._row.arch, image, vmlinux, "", None, "make matrix", ended="exit")
        run.save_facts(facts)
        told = self._zaptrace("explain", run.path)
        verdict = told["verdict"]
        run.vmcore.unlink()
        words = f"{told['events']} events, {told['splats']} splats, {verdict['kind']} of page "
        words += f"{verdict['pfn']}: {verdict['summary']}"
        # No zap removed it twice: the count was changed from outside the kernel, without an
        # event.  To name a culprit would be a false verdict.
        assert verdict["kind"] == "unexplained", words
        assert verdict["pfn"] == damage.pfn, words
        assert "removed more often than it was added" in verdict["summary"], words
        return "the page, and that its count went below 0; no zap is blamed for it"

    def repro(self) -> str:
        """Two repro boots on this kernel: a clean one, and one that is struck."""
        vmlinux = self._vmlinux()
        run = self._folder / "repro"
        told = self._zaptrace(
            *("repro", self._row.arch, "--kernel", self.kernel.image, "--vmlinux", vmlinux),
            *("--smp", self._row.smp, "--timeout", BOOT_SECONDS, "--run", run),
        )
        kind = told["verdict"]["kind"]
        assert kind == "clean", f"{kind}: {told['verdict']['summary']}"
        assert told["events"], "no events were recorded"
        shutil.rmtree(run)
        return f"{told['events']} events at boot, {told['lost']} lost; {self._struck()}"

    def _struck(self) -> str:
        """A page's _mapcount is lowered from outside the guest, which must be stopped at it."""
        run = RunFolder(self._folder / "struck")
        told = self._document(
            "tests.guest.struck",
            *(self._row.arch, "--kernel", self.kernel.image, "--vmlinux", self._vmlinux()),
            *("--smp", self._row.smp, "--timeout", BOOT_SECONDS, "--run", run.path),
        )
        said = struck.SAYS.search(run.console.read_bytes())
        assert said is not None, "the guest did not say which page it has"
        pfn, ended, verdict = int(said[2], 16), run.facts().ended, told["verdict"]
        assert ended == "bad_page", f"the struck guest was not stopped: it ended by {ended}"
        named = f"{verdict['kind']} of page {verdict['pfn']}"
        assert verdict["pfn"] == pfn, f"page {pfn:#x} was struck, and the verdict is {named}"
        # With the page's life: no recorded store has lowered it, which is so.
        kinds = ("unexplained", "rmap_underflow", "scribbled")
        assert verdict["kind"] in kinds, verdict["summary"]
        shutil.rmtree(run.path)
        return f"a struck page stops it, and is named ({verdict['kind']})"

    @property
    def _vmcore(self) -> Path:
        return self._folder / "vmcore"

    def _vmlinux(self) -> Path:
        if not self.kernel.vmlinux.exists():
            raise NotPossible(f"needs debug symbols: {self._why_no_symbols}")
        return self.kernel.vmlinux

    def _zaptrace(self, *words: object) -> dict[str, Any]:
        """What a command prints with --json; 1 (a bug) is a success."""
        return self._document("zaptrace", *words)

    def _document(self, module: str, *words: object) -> dict[str, Any]:
        argv = [sys.executable, "-m", module, *map(str, words), "--json"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=600)
        assert done.returncode in (0, 1), f"{module} {words[0]}: {done.stderr.strip()[-300:]}"
        told: dict[str, Any] = json.loads(done.stdout)
        return told


def _kernel(row: Row) -> stock.StockKernel:
    """The one that is kept, else the newest of its suite; of the newest, what the mirror has."""
    arch = arch_named(row.arch)
    if not row.version:
        with contextlib.suppress(CannotTell, Missing):
            return stock.fetch(row.suite, arch, ignore)
    with contextlib.suppress(Missing):
        return stock.find(arch, row.version or KEPT_NEWEST)
    return stock.fetch(row.suite, arch, ignore, row.version)


def _symbols(row: Row) -> str:
    """Fetch the debug symbols; why they are not available, or ""."""
    try:
        stock.fetch(row.suite, arch_named(row.arch), ignore, row.version, debug=True)
    except (BadInput, Missing, CannotTell) as error:
        return str(error)
    return ""


def _same_mms(prog: drgn.Program) -> None:
    """Our reading of the slab cache beside drgn's, which looks at every page."""
    with no_call_per_page():
        ours = {mm.address for mm in read_state(prog, None).mms}
    theirs = {
        mm.value_()
        for mm in slab_cache_for_each_allocated_object(prog["mm_cachep"], "struct mm_struct")
        if mm.mm_count.counter > 0 and mm.pgtables_bytes.counter > 0
    }
    assert ours == theirs, f"{len(ours)} mms, drgn finds {len(theirs)}"


def _need_arguments(plan: dict[str, Any]) -> None:
    """A plan without BTF and debug info says where events are, not where arguments lie."""
    if not any(arg["location"] for site in plan["sites"] for arg in site["args"].values()):
        raise NotPossible(plan["notes"][0])
