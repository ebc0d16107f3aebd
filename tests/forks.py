"""The quick tests in several processes, forked once everything is imported and collected.

Three of xdist's processes spend 9 CPU seconds in importing and collecting the same, and 3 in
reporting each step of each test.  Here a file's tests are run by one process, which has what they
share set up once: `pytest --forks N`.
"""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

END_SECONDS = 30
"""In which a process that is interrupted takes down what its tests set up."""
_CONTEXT = multiprocessing.get_context("fork")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, metavar="N", help="share the tests out to N")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    option = session.config.option
    if not option.forks or option.collectonly or session.testsfailed:
        return None
    # Each process has a folder of its own in this one.
    session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    gc.freeze()
    left = dict(enumerate(session.items))
    while left:
        before = len(left)
        _Round(session, left).run(option.forks)
        assert len(left) < before, "processes end before their first test"
    return True


@dataclass
class _Child:
    process: multiprocessing.process.BaseProcess
    running: int | None = None
    """The test that it has begun."""


@dataclass
class _Round:
    """All tests that are left, until they are done or all processes have ended.

    Attributes:
        left: the tests by their number; those that are done are taken out.
    """

    session: pytest.Session
    left: dict[int, pytest.Item]
    children: dict[Connection, _Child] = field(default_factory=dict)

    def run(self, count: int) -> None:
        """Share the tests out to some processes."""
        files = [
            [number for number, _ in group]
            for _, group in itertools.groupby(self.left.items(), lambda one: one[1].path)
        ]
        jobs: multiprocessing.SimpleQueue[list[int]] = _CONTEXT.SimpleQueue()
        try:
            for number in range(count):
                receiver, sender = _CONTEXT.Pipe(duplex=False)
                work = _Worker(self.session, jobs, sender, f"fork{number}-{len(self.left)}")
                process = _CONTEXT.Process(target=work.run)
                process.start()
                sender.close()
                self.children[receiver] = _Child(process)
            for job in (*files, *([] for _ in range(count))):
                jobs.put(job)
            while self.children:
                for one in wait([*self.children]):
                    self._hear(one)  # type: ignore[arg-type]  # nothing but connections
        finally:
            self._end()

    def _hear(self, connection: Connection) -> None:
        child = self.children[connection]
        try:
            what, *told = connection.recv()
        except EOFError:
            del self.children[connection]
            self._ended(child)
            return
        hook = self.session.config.hook
        match what:
            case "begun":
                child.running = told[0]
                item = self.left[told[0]]
                hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            case "done":
                config = self.session.config
                self._done(
                    child,
                    [
                        hook.pytest_report_from_serializable(config=config, data=one)
                        for one in told[0]
                    ],
                )
            case "warned":
                nodeid, *words = told
                warned = warnings.WarningMessage(*words)
                hook.pytest_warning_recorded.call_historic(
                    kwargs={
                        "warning_message": warned,
                        "when": "runtest",
                        "nodeid": nodeid,
                        "location": None,
                    }
                )

    def _done(self, child: _Child, reports: Iterable[pytest.TestReport]) -> None:
        assert child.running is not None
        item, child.running = self.left.pop(child.running), None
        hook = self.session.config.hook
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(self.session.shouldstop)

    def _ended(self, child: _Child) -> None:
        """A test that ends its process has failed; those after it are for the next round."""
        child.process.join()
        if child.running is not None:
            item = self.left[child.running]
            said = f"its process ended with {child.process.exitcode}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
            self._done(child, [report])

    def _end(self) -> None:
        processes = [child.process for child in self.children.values()]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGINT)
        for process in processes:
            process.join(END_SECONDS)
            process.kill()


@dataclass(eq=False)
class _Worker:
    """What a forked process does."""

    session: pytest.Session
    jobs: multiprocessing.SimpleQueue[list[int]]
    sender: Connection
    name: str
    reports: list[Any] = field(default_factory=list)
    settled: bool = False
    """What was warned of before was sent by others."""

    def run(self) -> None:
        """Take files until there are no more."""
        self._settle()
        session = self.session
        job = self.jobs.get()
        try:
            while job:
                number, *rest = job
                job = rest or self.jobs.get()
                # What the next test does not share is taken down after this one.
                after = session.items[job[0]] if job else None
                self._do(number, session.items[number], after)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            session._setupstate.teardown_exact(None)

    def _do(self, number: int, item: pytest.Item, after: pytest.Item | None) -> None:
        self.sender.send(("begun", number))
        self.reports.clear()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        self.sender.send(("done", self.reports))

    def _settle(self) -> None:
        """Nothing of this process's goes where the others' goes."""
        config = self.session.config
        plugins = config.pluginmanager
        plugins.register(self, "fork")
        plugins.getplugin("terminalreporter")._tw._file = io.StringIO()
        capture = plugins.getplugin("capturemanager")
        capture.stop_global_capturing()
        capture.start_global_capturing()
        capture.suspend_global_capture()
        factory = config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = factory.getbasetemp() / self.name
        factory._basetemp.mkdir(mode=0o700)
        self.settled = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what is to be sent when the test is done."""
        config = self.session.config
        self.reports.append(config.hook.pytest_report_to_serializable(config=config, report=report))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str
    ) -> None:
        """Send a test's warning."""
        one = warning_message
        if when == "runtest" and self.settled:
            said = (str(one.message), one.category, one.filename, one.lineno)
            self.sender.send(("warned", nodeid, *said))
