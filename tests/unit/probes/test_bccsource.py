"""The bcc source without bcc: what it says when nothing can be attached."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest

from probes.bccsource import BccSource
from probes.bpfprogram import FREED
from probes.dynevents import Refused
from zaptrace.model.errors import Missing
from zaptrace.model.plan import ProbeSite

ZAP = ProbeSite("zap", "unmap_page_range", 16, None, True, None)


class Bpf:
    """A program whose tracepoints attach."""

    def program(self, _name: str, _kind: int) -> int:
        return 5

    def attach_raw_tracepoint(self, _name: str, _tracepoint: str) -> None:
        """It works."""


class Kprobes:
    """Takes none; says why, as the kernel does."""

    def attach(self, _name: str, _place: str, _program: int) -> None:
        raise Refused("Invalid probed address or symbol")


def test_a_kernel_that_takes_no_kprobe_is_no_source_though_its_tracepoint_works() -> None:
    source: Any = BccSource.__new__(BccSource)
    source._bpf, source._kprobes, source._sites = Bpf(), Kprobes(), (ZAP, FREED)
    with pytest.raises(Missing) as raised:
        source._attach()
    assert "unmap_page_range+0x10 cannot be probed: Invalid probed address" in str(raised.value)
    assert raised.value.hint == "zaptrace doctor"


def test_who_closes_it_meanwhile_waits_until_all_is_detached() -> None:
    source: Any = BccSource.__new__(BccSource)
    source._used, source._closed = threading.Lock(), False
    source._clean_up = contextlib.ExitStack()
    detached = []

    def detach() -> None:
        time.sleep(0.2)
        detached.append(True)

    source._clean_up.callback(detach)
    seen = []

    def close() -> None:
        source.close()
        seen.append(len(detached))

    threads = [threading.Thread(target=close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1, 1, 1]
    assert source.read(0) is None
