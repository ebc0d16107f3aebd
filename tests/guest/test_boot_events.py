"""Events read out of a dump, against the guest's own `cat trace` and its own reports."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.guest.conftest import Boot, boot
from vm import initramfs
from vm.cpio import Archive
from zaptrace.arch import ARCHES
from zaptrace.capture.reader import read
from zaptrace.model.events import ABSENT, NO_CPU, Events, Kind, Records
from zaptrace.model.kprobe_names import recorded_args, site_names
from zaptrace.runs.repro import Request

pytestmark = pytest.mark.guest

TELLTALE = b"""#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tracefs tracefs /sys/kernel/tracing
for number in 1 2 3; do ps | cat | wc; done
cd /sys/kernel/tracing
echo 0 >tracing_on
# The kernel prints into the middle of a line ("random: crng init done").
echo 1 >/proc/sys/kernel/printk
echo zaptrace: trace begins
cat trace
echo zaptrace: trace ends
cat per_cpu/cpu0/stats per_cpu/cpu1/stats kprobe_profile
echo zaptrace: stats end
poweroff -f
"""
LINE = re.compile(
    r"^ *(?P<comm>.+)-(?P<pid>\d+) +\[(?P<cpu>\d+)\] \S+ +(?P<seconds>\d+)\.(?P<us>\d{6}):"
    r" (?P<event>\w+): \((?P<place>\S+)\) (?P<fields>.*)$"
)
FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')


def booted(arch: str, folder: Path, append: str = "") -> Boot:
    """A boot whose init prints the guest's own view of the trace, then powers off."""
    archive = Archive()
    archive.file("/init", TELLTALE, 0o755)
    folder.mkdir()
    initrd = folder / "initrd"
    initrd.write_bytes(initramfs.build(ARCHES[arch]).read_bytes() + archive.finish())
    run = folder / "run"
    return boot(
        Request(
            arch,
            fault="none",
            initrd=initrd,
            stop_at="exit",
            append=append,
            folder=run,
            timeout=240,  # x86_64's UART takes a minute and a half for the trace
        )
    )


@pytest.fixture(scope="module")
def told(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    return booted(arch, tmp_path_factory.mktemp("told") / "told")


@pytest.fixture(scope="module")
def overrun(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """The same with ring buffers so small that most is overwritten."""
    folder = tmp_path_factory.mktemp("overrun") / "overrun"
    return booted(arch, folder, append="trace_buf_size=32K")


def console(run: Boot) -> str:
    return run.console.read_bytes().replace(b"\r", b"").decode(errors="replace")


def printed(run: Boot) -> list[re.Match[str]]:
    """The lines of the guest's own trace."""
    text = console(run).split("zaptrace: trace begins\n")[1].split("zaptrace: trace ends")[0]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [found for line in lines if (found := LINE.match(line))]


def lost(run: Boot) -> int:
    """What the guest's own counters say was overwritten or dropped."""
    counted = re.findall(r"^(?:overrun|commit overrun|dropped events): (\d+)$", stats(run), re.M)
    assert len(counted) == 6
    return sum(map(int, counted))


def missed(run: Boot) -> int:
    """How often the guest says that a probe could not run, because another was running."""
    counted = re.findall(r"^ +zt\d+_\w+ +\d+ +(\d+)$", stats(run), re.M)
    assert len(counted) >= 4
    return sum(map(int, counted))


def stats(run: Boot) -> str:
    return console(run).split("zaptrace: trace ends\n")[1].split("zaptrace: stats end")[0]


def kept(events: Events) -> Records:
    return events.of_kind(*(kind for kind in Kind if kind is not Kind.LOST))


def check_line(run: Boot, events: Events, line: re.Match[str], record: np.void) -> None:
    site = site_names(run.plan)[line["event"]]
    assert Kind(record["kind"]) is Kind[site.event.upper()]
    assert (record["pid"], record["cpu"]) == (int(line["pid"]), int(line["cpu"]))
    assert (int(record["clock"]) + 500) // 1000 == int(line["seconds"]) * 10**6 + int(line["us"])
    fields = {name: value.strip('"') for name, value in FIELD.findall(line["fields"])}
    assert set(recorded_args(site)) | {"comm"} == set(fields)
    assert record["comm"].decode() == fields.pop("comm")
    if "reason" in fields:
        assert events.strings[int(record["reason"])] == fields.pop("reason")
    for name, value in fields.items():
        assert int(record[name]) == int(value, 0), name


@pytest.mark.parametrize("name", ["told", "overrun"])
def test_every_event_is_the_guest_s_own(
    arch: str, name: str, request: pytest.FixtureRequest
) -> None:
    run: Boot = request.getfixturevalue(name)
    events = read(run.capture)
    assert events.meta["damage"] == []
    assert events.meta["clock"] == "boot"
    lines, records = printed(run), kept(events)
    assert len(lines) == len(records) > 300
    for line, record in zip(lines, records, strict=True):
        check_line(run, events, line, record)


def test_nothing_was_lost_or_it_is_counted(told: Boot, overrun: Boot) -> None:
    for run, least, most in ((told, 0, 0), (overrun, 1001, 2**32)):
        records = read(run.capture).of_kind(Kind.LOST)
        of_ring = records["cpu"] != NO_CPU
        assert least <= records["nr"][of_ring].sum() == lost(run) <= most
        # Probes still miss hits after the guest has reported them.
        assert records["nr"][~of_ring].sum() >= missed(run)


def test_each_zap_knows_its_vma_and_range(told: Boot) -> None:
    records = kept(read(told.capture))
    zaps = records[records["kind"] == Kind.ZAP]
    assert len(zaps) > 50
    for name in ("mm", "vma", "addr", "end"):
        assert (zaps[name] != ABSENT).all(), name
    assert (zaps["addr"] < zaps["end"]).all()
    # What a zap_enter promises is zapped piece by piece, up to its very end.
    enters = records[records["kind"] == Kind.ZAP_ENTER]
    assert set(zaps["vma"].tolist()) <= set(enters["vma"].tolist())


def test_the_founding_bug_s_last_moments(founding: Boot) -> None:
    """zap, free with one mapping left, bad_page, removal: the same thread, the same page."""
    events = read(founding.capture)
    records = kept(events)
    stop = records[records["kind"] == Kind.BAD_PAGE][0]
    assert events.strings[int(stop["reason"])] == "nonzero mapcount"
    mine = records[records["pid"] == stop["pid"]]
    at = int(np.flatnonzero(mine["kind"] == Kind.BAD_PAGE)[0])
    zap, freed, refused, *after = mine[at - 2 :]
    assert (Kind(zap["kind"]), Kind(freed["kind"])) == (Kind.ZAP, Kind.PAGE_FREE)
    assert freed["page"] == refused["page"]
    assert (freed["raw_mapcount"], freed["refcount"]) == (0, 0)
    assert refused["tgid"] == freed["tgid"]
    removed = next(one for one in after if one["kind"] == Kind.RMAP_REMOVE)
    assert removed["page"] == refused["page"]
    assert removed["raw_mapcount"] == -1  # bad_page() has reset it


def test_every_address_of_a_stack_has_a_name(founding_exit: Boot) -> None:
    """Also the return address of a call that does not return, past its function's end."""
    events = read(founding_exit.capture)
    met = {address for stack in events.stacks.values() for address in stack}
    assert met and met <= events.symbols.keys()


def test_bad_pages_are_the_console_s(founding_exit: Boot) -> None:
    """The kernel reports the first 60 of a minute: the same pages.

    In whatever order: of two CPUs, the one that came first may print last.  s390x's console can
    print a piece again, stamps and all.
    """
    events = read(founding_exit.capture)
    bad = events.of_kind(Kind.BAD_PAGE)
    reported = set(
        re.findall(
            r"\[ *([0-9.]+)\] BUG: Bad page state in process \S+ +pfn:([0-9a-f]+)",
            console(founding_exit),
        )
    )
    assert len(bad) >= len(reported) > 10
    assert sorted(bad["pfn"][: len(reported)]) == sorted(int(pfn, 16) for _, pfn in reported)
    freed = events.of_kind(Kind.PAGE_FREE)
    assert set(bad["page"].tolist()) <= set(freed["page"].tolist())
