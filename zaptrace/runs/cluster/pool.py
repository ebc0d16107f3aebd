"""Tasks on the workers of a Dask cluster: one worker a machine, one task at a time on each."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from distributed import Client, Future, KilledWorker

from zaptrace.model.errors import CannotTell, Missing
from zaptrace.runs.cluster import worker
from zaptrace.runs.cluster.process import Outcome, Task
from zaptrace.runs.cluster.worker import LACKING, RESOURCE, checkout

CONNECT_SECONDS = 10
WORKER_SECONDS = 120.0
"""How long to wait for a first worker."""
LOOK_SECONDS = 0.2
PIECE_BYTES = 32 << 20
_LONGEST_REASON = 300
K = TypeVar("K", bound=Hashable)


class Pool(Generic[K]):
    """The cluster's workers with our checkout; made by `connected()`.

    A task whose worker is lost is done again on another one, by the scheduler; after some losses
    (`distributed.scheduler.allowed-failures`, 3) it has failed.
    """

    def __init__(
        self,
        client: Client,
        scheduler: str,
        tell: Callable[[str], object],
        lent: Mapping[str, Path],
        patience: float,
    ) -> None:
        self._client = client
        self._scheduler = scheduler
        self._tell = tell
        self._lent = lent
        self._patience = patience
        self._resource = RESOURCE + checkout()
        self._topic = f"zaptrace-{uuid.uuid4()}"
        self._known: dict[str, bool] = {}
        self._seen = time.monotonic()
        self._running: dict[Future[Any], tuple[K, Task]] = {}
        self._work = _shipped()
        client.subscribe_topic(self._topic, lambda event: tell(event[1]))

    @property
    def running(self) -> int:
        """How many tasks have been given and not ended."""
        return len(self._running)

    def workers(self) -> int:
        """Look for workers; how many take tasks.

        Raises:
            Missing: there has been none for too long.
            OSError: the scheduler went away; it has forgotten our tasks.
        """
        scheduler = self._client.scheduler
        if self._client.status != "running" or scheduler is None:
            raise OSError("the connection was lost")
        # Not scheduler_info(): the client's own thread replaces what it returns by one without
        # workers now and then.
        here = self._client.sync(scheduler.identity, n_workers=-1)["workers"]
        for address in self._known.keys() - here.keys():
            if self._known.pop(address):
                self._tell(f"worker {address} is lost")
        for address in sorted(here.keys() - self._known.keys()):
            self._known[address] = self._fits(address, here[address]["resources"])
        fit = sum(self._known.values())
        if fit:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > self._patience:
            raise Missing(
                f"the scheduler at {self._scheduler} has no worker with this checkout "
                f"({self._resource})",
                f"on each machine, in its checkout: make worker SCHEDULER={self._scheduler}",
            )
        return fit

    def free(self) -> int:
        """Return how many tasks can be begun now.

        No task waits for another one on a worker: Dask blames all that a lost one had.
        """
        return max(0, self.workers() - len(self._running))

    def give(self, key: K, task: Task) -> None:
        """Have a task done."""
        need = {self._resource: 1}
        # Nothing but builtins: the scheduler unpickles it, and may have no checkout.
        arguments = (dataclasses.asdict(task), self._resource, self._topic)
        future = self._client.submit(self._work, *arguments, resources=need, pure=False)
        self._running[future] = (key, task)

    def ended(self) -> Iterator[tuple[K, Outcome]]:
        """Tasks that have ended since, each once.

        Raises:
            OSError: the scheduler has forgotten one.
        """
        for future in [one for one in self._running if one.done()]:
            key, task = self._running.pop(future)
            outcome = _outcome(future)
            if outcome.why == LACKING:  # a lost worker's task, on a machine that is new
                self.workers()
                self.give(key, task)
            else:
                yield key, outcome

    def _fits(self, address: str, resources: dict[str, float]) -> bool:
        if self._resource in resources:
            self._lend(address)
            self._tell(f"worker {address} takes tasks")
            return True
        theirs = [name for name in resources if name.startswith(RESOURCE)]
        reason = (
            f"its checkout is not this one ({theirs[0]}, not {self._resource})"
            if theirs
            else "it was not started with make worker"
        )
        self._tell(f"worker {address} is not used: {reason}")
        return False

    def _lend(self, address: str) -> None:
        """Send a worker the files that its machine does not have."""
        run, here = self._client.run, [address]
        found = run(worker.lacking, list(self._lent), workers=here, on_error="return")
        lacking = found.get(address)
        for digest in lacking if isinstance(lacking, list) else []:
            with self._lent[digest].open("rb") as file:
                last = False
                while not last:
                    piece = file.read(PIECE_BYTES)
                    last = len(piece) < PIECE_BYTES
                    run(worker.take, digest, piece, last, workers=here, on_error="return")


@contextlib.contextmanager
def connected(
    scheduler: str,
    tell: Callable[[str], object],
    lent: Mapping[str, Path] | None = None,
    patience: float = WORKER_SECONDS,
) -> Iterator[Pool[Any]]:
    """Give a cluster; what it has not ended when the block is left is ended then.

    Args:
        scheduler: its address ("tcp://host:8786").
        tell: is called with each worker that comes or goes, and with what their tasks print.
        lent: SHA-256 -> a file that every worker's machine gets.
        patience: seconds to wait for a first worker.

    Raises:
        Missing: no scheduler answers there, or it has no worker with this checkout.
        CannotTell: the scheduler went away.
    """
    start = ".venv/bin/dask scheduler"
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Missing(f"no Dask scheduler answers at {scheduler}: {error}", start) from error
    try:
        yield Pool(client, scheduler, tell, lent or {}, patience)
    except OSError as error:
        raise CannotTell(f"the scheduler at {scheduler} went away: {error}", start) from error
    finally:
        client.close()  # tasks without a client end: see worker.do()


def only_workers(tell: Callable[[str], object]) -> Callable[[str], None]:
    """Return a listener that reports the lines on workers only: tasks' own lines come back with
    them."""

    def some(line: str) -> None:
        if line.startswith("worker "):
            tell(line)

    return some


def digest_of(path: Path) -> str:
    """Return the SHA-256 by which a file is lent."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _outcome(future: Future[Any]) -> Outcome:
    if future.cancelled():
        raise OSError("it has forgotten a task")
    try:
        return Outcome(*future.result())
    except KilledWorker as error:
        return Outcome(None, f"was lost with its worker {error.allowed_failures + 1} times")
    except Exception as error:  # noqa: BLE001  the task's outcome says it
        why = " ".join(f"failed: {type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        return Outcome(None, why)


def _shipped() -> Callable[..., Any]:
    """Return what a worker does. The scheduler unpickles it too, and has no checkout: so it goes by
    value, as functions inside functions do, and imports where it is run."""

    def work(*task: Any) -> Any:
        from zaptrace.runs.cluster import worker

        return worker.do(*task)

    return work
