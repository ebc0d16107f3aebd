"""Many console logs read at once: a process for each CPU."""

from __future__ import annotations

import concurrent.futures
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from zaptrace.model.errors import ZaptraceError
from zaptrace.model.splats import Splat
from zaptrace.runs.log_files import LogFile
from zaptrace.splat import parse
from zaptrace.triage.boot import BootReader
from zaptrace.triage.console import BootFacts
from zaptrace.triage.fingerprint import fingerprint
from zaptrace.triage.groups import LogOrigin

MOST_PROCESSES = 16
_CHUNK = 4
"""Logs that a process is given at a time."""

_TIME = re.compile(rb"\d\d:\d\d:\d\d")
_HOST = re.compile(rb"(?:^|\s)([A-Za-z0-9][\w.-]{0,63})(?: \w{2,8}\.\w{2,8})?$")
_FACILITY = re.compile(rb"(?:kern|user|daemon|syslog)\.\w{2,8}")
_JSON = re.compile(rb'"_HOSTNAME" {0,2}: {0,2}"([\w.-]{1,64})"')
_TALOS = re.compile(rb"^([A-Za-z0-9][\w.-]{0,63}): kern: ", re.MULTILINE)
_LOGGER = b" kernel: "
_MOST_TRIES = 32
_MOST_BLOCKS = 4
"""Blocks that are looked at: a logger names its host in every line."""


@dataclass(frozen=True, slots=True)
class LogReports:
    """What one log holds.

    Attributes:
        splats: with the log's name and their fingerprints.
        copies: the lines where one of them stands once more, word for word.
        problem: why it could not be read; None when it was.
    """

    origin: LogOrigin
    boot: BootFacts
    splats: tuple[Splat, ...] = ()
    copies: tuple[int, ...] = ()
    problem: str | None = None


def read_all(files: Sequence[LogFile]) -> Iterator[LogReports]:
    """Yield each log's reports, in the order of the files."""
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, len(files))
    if processes < 2 or any(file.held is not None for file in files):
        yield from map(_tolerant, files)
        return
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_tolerant, files, chunksize=_CHUNK if len(files) > 64 else 1)


def read_one(file: LogFile) -> LogReports:
    """Return one log's reports.

    Raises:
        BadInput, Missing: it cannot be read.
    """
    boot, host = BootReader(), _HostReader()
    copies: list[int] = []
    splats = parse(boot.through(host.through(file.blocks())), copies=copies)
    reports = tuple(replace(one, log=file.name, fingerprint=fingerprint(one)) for one in splats)
    facts = boot.facts()
    releases = (one.kernel_release for one in splats if one.kernel_release)
    release = facts.release or next(releases, None)
    return LogReports(LogOrigin(file.name, host.host, release), facts, reports, tuple(copies))


def _tolerant(file: LogFile) -> LogReports:
    try:
        return read_one(file)
    except ZaptraceError as error:
        return LogReports(LogOrigin(file.name), BootFacts(), problem=str(error))


class _HostReader:
    """Passes blocks on, and keeps the host that loggers put before the kernel's name."""

    def __init__(self) -> None:
        self.host: str | None = None
        self._tries = self._blocks = 0

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks, looked through on the way until a host is found."""
        for block in blocks:
            self._blocks += 1
            if self.host is None and self._blocks <= _MOST_BLOCKS:
                found = self._host(block)
                self.host = found.decode("ascii", "replace") if found else None
            yield block

    def _host(self, block: bytes) -> bytes | None:
        if found := _JSON.search(block) or _TALOS.search(block):
            return found[1]
        at = block.find(_LOGGER)
        while at >= 0 and self._tries < _MOST_TRIES:
            self._tries += 1
            before = block[block.rfind(b"\n", 0, at) + 1 : at][-200:]
            named = _HOST.search(before)
            if named and _TIME.search(before) and not _FACILITY.fullmatch(named[1]):
                return named[1]
            at = block.find(_LOGGER, at + 1)
        return None
