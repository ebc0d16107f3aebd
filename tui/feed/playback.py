"""What a source must also have to be driven like a tape: a replay."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from zaptrace.model.events import Events


@runtime_checkable
class Clocked(Protocol):
    """A source with a clock of its own.

    Unlike the rest of a source, these may be used from any thread at any time.
    After a seek, increments carry another `meta["generation"]`: what was seen
    before is void.
    """

    speed: float
    """Seconds of event clock a second."""

    @property
    def paused(self) -> bool:
        """Whether the clock is paused."""
        ...

    @property
    def position(self) -> int:
        """ns since the first event."""
        ...

    @property
    def duration(self) -> int:
        """ns from the first event to the last."""
        ...

    def pause(self) -> None:
        """Stop the clock."""
        ...

    def resume(self) -> None:
        """Let the clock run."""
        ...

    def step(self, n: int = 1) -> None:
        """Let `n` more events through, and stand."""
        ...

    def seek(self, ns: int) -> None:
        """Move the clock to `ns` since the first event."""
        ...

    def read(self, seconds: float) -> Events | None:
        """See `Source.read`."""
        ...

    def close(self) -> None:
        """See `Source.close`."""
        ...
