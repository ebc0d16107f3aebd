"""Run a coroutine to its end, so that a signal unwinds it like any cancelled task."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Do what `asyncio.run` does, interruptible at any moment.

    An exception that a signal handler raises inside the event loop lands in
    whichever callback happens to run, and some libraries' tasks then end
    unheard, with a traceback on stderr.  Here a signal cancels the coroutine.

    Raises:
        KeyboardInterrupt: a signal came.
        Exception: whatever the coroutine raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)  # signals go to the main thread, and their handlers with them
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interrupted = False

    async def cancellable() -> T:
        nonlocal interrupted
        task = asyncio.current_task()
        assert task is not None  # we are one

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, interrupt)
        return await main

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        main.close()
        for number, handler in before.items():
            signal.signal(number, handler)
