"""`pytest --forks N`: the quick tests in N processes, forked once all is imported and collected.

Each of xdist's processes imports and collects everything anew, and reports each step of each test.
Here the tests of one file run in one process, which sets up once what they share.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import multiprocessing
import os
import signal
import struct
import sys
import traceback
import warnings
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

END_SECONDS = 30
"""For what an interrupted process takes down."""
_INDEX = struct.Struct("i")
_NONE = -1
_Left = dict[int, pytest.Item]
"""The tests that are not done, by their index among all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, metavar="N", help="share files out to N")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    option = session.config.option
    if not option.forks or option.collectonly or session.testsfailed:
        return None
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all
    left = dict(enumerate(session.items))
    while left:  # another round only where a test has ended its process
        before = len(left)
        _run(session, left, option.forks)
        assert len(left) < before, "processes end before their first test"
    return True


def _run(session: pytest.Session, left: _Left, count: int) -> None:
    """Run what is left in so many processes, and take out of it what is done."""
    files = [[*indices] for _, indices in itertools.groupby(left, lambda one: left[one].path)]
    # Those late in the alphabet wait for other processes, and would be the last to end.
    files.reverse()
    # A pipe needs no lock, which a process that is killed could hold.
    jobs, fill = os.pipe()
    assert len(files) * _INDEX.size <= 1 << 16, "more files than a pipe has room for"
    os.write(fill, b"".join(map(_INDEX.pack, range(len(files)))))
    os.close(fill)
    workers: dict[int, _Worker] = {}
    try:
        for number in range(count):
            one = _Worker(session, files, jobs, f"fork{number}-{len(left)}")
            workers[one.pidfd] = one
        while workers:
            # By its pidfd: a pipe stays open while anything that a test has left runs.
            for ready in wait([*workers, *(one.results for one in workers.values())]):
                if isinstance(ready, int):
                    workers.pop(ready).end(left)
            for one in workers.values():
                one.take(left)
    finally:
        os.close(jobs)
        for one in workers.values():
            one.stop()


class _Worker:
    """A forked process, as its parent sees it."""

    def __init__(
        self, session: pytest.Session, files: list[list[int]], jobs: int, name: str
    ) -> None:
        self._session, self._name = session, name
        self._running = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("i")
        """Shared: the index of the test that it runs."""
        self._running[0] = _NONE
        self.results, sender = multiprocessing.Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if not self._pid:
            status = 1
            self.results.close()  # so that it cannot write to a parent that is gone
            try:
                _Fork(session, sender, name).run(files, jobs, self._running)
                status = 0
            except BaseException:  # noqa: BLE001  nothing of it may reach the parent's frames
                traceback.print_exc()
            finally:
                os._exit(status)
        sender.close()
        self.pidfd = os.pidfd_open(self._pid)

    def take(self, left: _Left) -> None:
        """Report the tests that it has done."""
        with contextlib.suppress(EOFError):
            while self.results.poll():
                index, reports, warned = self.results.recv()
                self._report(left.pop(index), reports, warned)

    def end(self, left: _Left) -> None:
        """Report what it has done until its end: a test that ended it has failed."""
        self.take(left)
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self.pidfd)
        index = self._running[0]
        if status or index != _NONE:
            item = left.pop(index, self._session)
            where = (item.nodeid or self._name, getattr(item, "location", ("", None, self._name)))
            words = f"its process ended with {status}"
            report = pytest.TestReport(*where, {}, "failed", words, "call")
            self._session.config.hook.pytest_runtest_logreport(report=report)

    def stop(self) -> None:
        """Interrupt it; kill it where that is of no use."""
        os.kill(self._pid, signal.SIGINT)
        if not wait([self.pidfd], END_SECONDS):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _report(self, item: pytest.Item, reports: list[Any], warned: list[Any]) -> None:
        config = self._session.config
        hook = config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for words in warned:
            message = warnings.WarningMessage(*words)
            where = {"when": "runtest", "nodeid": item.nodeid, "location": None}
            hook.pytest_warning_recorded.call_historic(kwargs={"warning_message": message, **where})
        for data in reports:
            report = hook.pytest_report_from_serializable(config=config, data=data)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)


class _Fork:
    """The process itself; a plugin that collects what is said of a test."""

    def __init__(self, session: pytest.Session, results: Connection, name: str) -> None:
        self._session, self._results = session, results
        self._reports: list[Any] = []
        self._warned: list[Any] = []
        config = session.config
        capture = config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()  # into files that all would share
        capture.start_global_capturing()
        capture.suspend_global_capture()
        factory = config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = factory.getbasetemp() / name
        factory._basetemp.mkdir(mode=0o700)
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(self, "fork")
        self._warned.clear()  # of what came before

    def run(self, files: list[list[int]], jobs: int, running: memoryview[int]) -> None:
        """Run the tests of one file after the other, as long as there are files."""
        session = self._session
        try:
            while job := os.read(jobs, _INDEX.size):
                # After a file's last test, all but what the session shares is taken down.
                indices = files[_INDEX.unpack(job)[0]]
                tests = [session.items[index] for index in indices]
                for index, item, after in zip(indices, tests, (*tests[1:], session), strict=True):
                    running[0] = index
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                    self._results.send((index, self._reports, self._warned))
                    running[0] = _NONE
                    self._reports, self._warned = [], []
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        session._setupstate.teardown_exact(None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep it as plain data."""
        config = self._session.config
        self._reports.append(
            config.hook.pytest_report_to_serializable(config=config, report=report)
        )

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Keep it as plain data."""
        one = warning_message
        self._warned.append((str(one.message), one.category, one.filename, one.lineno))
