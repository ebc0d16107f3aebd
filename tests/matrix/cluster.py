"""Rows on the workers of a Dask cluster: one worker a machine, one row at a time on each.

What is scheduled is a row, not a cell: a row is one guest through all steps, and
each step needs what those before it have left.  Nothing is shared between the
machines but the checkout, which each has for itself: what a row left comes back
with its result.  docs/cluster.md says how a cluster is set up.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed import Client, Future, KilledWorker

from tests.matrix.process import Outcome
from tests.matrix.rows import Row
from tests.matrix.worker import RESOURCE, checkout
from zaptrace.model.errors import CannotTell, Missing

CONNECT_SECONDS = 10
WORKER_SECONDS = 120.0
"""How long it is waited for a worker where there is none."""
LOOK_SECONDS = 1.0
_LONGEST_REASON = 300


def outcomes(
    scheduler: str,
    rows: Sequence[Row],
    words: Callable[[Row], Sequence[str]],
    seconds: float,
    patience: float = WORKER_SECONDS,
) -> Iterator[tuple[Row, Outcome]]:
    """Do rows on a cluster; each is given back when it is done.

    A row whose worker is lost is done again on another one, by the scheduler;
    after some losses (`distributed.scheduler.allowed-failures`, 3) it is failed.

    Args:
        scheduler: its address ("tcp://host:8786").
        words: what Python is given to do a row.
        seconds: what a row may take.
        patience: seconds that it is waited for a worker where there is none.

    Raises:
        Missing: no scheduler answers there, or it has no worker with this checkout.
        CannotTell: the scheduler went away.
    """
    waiting = collections.deque(rows)
    running: dict[Future[Any], Row] = {}
    with _connected(scheduler) as client:
        topic = f"zaptrace-{uuid.uuid4()}"
        client.subscribe_topic(topic, lambda event: print(event[1], flush=True))
        workers = _Workers(client, scheduler, patience)
        work = _shipped()
        while waiting or running:
            # No row waits behind another on a worker: Dask blames all that a lost one had.
            free = workers.look() - len(running)
            for row in [waiting.popleft() for _ in range(min(free, len(waiting)))]:
                task = (words(row), seconds, workers.resource, topic)
                need = {workers.resource: 1}
                running[client.submit(work, *task, resources=need, pure=False)] = row
            for future in [one for one in running if one.done()]:
                yield running.pop(future), _outcome(future)
            time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    start = ".venv/bin/dask scheduler"
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Missing(f"no Dask scheduler answers at {scheduler}: {error}", start) from error
    try:
        yield client
    except OSError as error:
        raise CannotTell(f"the scheduler at {scheduler} went away: {error}", start) from error
    finally:
        client.close()  # what nobody waits for any more is ended: see worker.row()


class _Workers:
    """The cluster's workers: those with our checkout take rows, the others are told of.

    Args:
        patience: seconds to wait for one, whenever there is none.
    """

    def __init__(self, client: Client, scheduler: str, patience: float) -> None:
        self.resource = RESOURCE + checkout()
        self._client = client
        self._scheduler = scheduler
        self._patience = patience
        self._known: dict[str, bool] = {}
        self._seen = time.monotonic()

    def look(self) -> int:
        """How many take rows.

        Raises:
            Missing: there has been none for too long.
            OSError: the scheduler went away; it has forgotten our rows.
        """
        scheduler = self._client.scheduler
        if self._client.status != "running" or scheduler is None:
            raise OSError("the connection was lost")
        # Not scheduler_info(): the client's own thread replaces what it returns by one without
        # workers now and then.
        here = self._client.sync(scheduler.identity, n_workers=-1)["workers"]
        for address in self._known.keys() - here.keys():
            if self._known.pop(address):
                print(f"worker {address} is lost", flush=True)
        for address in sorted(here.keys() - self._known.keys()):
            self._known[address] = self._fits(address, here[address]["resources"])
        fit = sum(self._known.values())
        if fit:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > self._patience:
            raise Missing(
                f"the scheduler at {self._scheduler} has no worker with this checkout "
                f"({self.resource})",
                f"on each machine, in its checkout: make matrix-worker SCHEDULER={self._scheduler}",
            )
        return fit

    def _fits(self, address: str, resources: dict[str, float]) -> bool:
        if self.resource in resources:
            print(f"worker {address} takes rows", flush=True)
            return True
        theirs = [name for name in resources if name.startswith(RESOURCE)]
        reason = (
            f"its checkout is not this one ({theirs[0]}, not {self.resource})"
            if theirs
            else "it was not started with make matrix-worker"
        )
        print(f"worker {address} is not used: {reason}", file=sys.stderr, flush=True)
        return False


def _outcome(future: Future[Any]) -> Outcome:
    if future.cancelled():
        raise OSError("it has forgotten a row")
    try:
        return Outcome(*future.result())
    except KilledWorker as error:
        return Outcome({}, f"its worker was lost {error.allowed_failures + 1} times")
    except Exception as error:  # noqa: BLE001  its cells say it
        return Outcome({}, " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON])


def _shipped() -> Callable[..., Any]:
    """What a worker does.  The scheduler unpickles it too, and has no checkout: so it goes by
    value, as functions inside functions do, and imports where it is run."""

    def work(*task: Any) -> Any:
        from tests.matrix import worker

        return worker.row(*task)

    return work
