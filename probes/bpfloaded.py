"""A compiled program in the kernel: its maps made, each function loaded on first use."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probes import bpfcalls
from probes.bpflosses import COUNTS, Counts
from probes.bpfobject import Compiled

_ZERO = struct.pack("=i", 0)


class Loaded:
    """The maps of zap.bpf.c and its programs; no one else's.

    Raises:
        OSError: the kernel does not make the maps.
    """

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._clean_up = contextlib.ExitStack()
        self._maps: dict[str, bpfcalls.Map] = {}
        self._programs: dict[str, int] = {}
        bpfcalls.allow_locked_memory()
        try:
            for one in compiled.maps:
                sizes = (one.kind, one.key_size, one.value_size, one.entries, one.flags)
                self._maps[one.name] = bpfcalls.Map(one.name, *sizes)
                self._clean_up.callback(self._maps[one.name].close)
        except BaseException:
            self.close()
            raise

    def ring(self, name: str) -> int:
        """Return the descriptor of a ring buffer: `events` or `spare`."""
        return self._maps[name].fd

    def program(self, name: str, kind: int) -> int:
        """Return the descriptor of a function, which is loaded once.

        Args:
            kind: KPROBE or RAW_TRACEPOINT of `bpfcalls`.

        Raises:
            OSError: the kernel refuses it.
        """
        if name not in self._programs:
            descriptors = {key: one.fd for key, one in self._maps.items()}
            text = self._compiled.functions[name].relocated(descriptors)
            made = self._compiled
            fd = bpfcalls.load(kind, name, text, made.license, made.kernel_version)
            self._programs[name] = fd
            self._clean_up.callback(os.close, fd)
        return self._programs[name]

    def attach_raw_tracepoint(self, name: str, tracepoint: str) -> None:
        """Have a function run at a tracepoint from now on.

        Raises:
            OSError: the kernel refuses.
        """
        program = self.program(name, bpfcalls.RAW_TRACEPOINT)
        self._clean_up.callback(os.close, bpfcalls.attach_raw_tracepoint(program, tracepoint))

    def open_gate(self, *, opened: bool = True) -> None:
        """Take events from now on, but none of this process's own (struct gate of zap.bpf.c)."""
        self._maps["gate"].update(_ZERO, struct.pack("=II", int(opened), os.getpid()))

    def watch_cgroup(self, folder: Path) -> None:
        """Take those of tasks below a cgroup's folder only.

        Raises:
            OSError: it is not a BPF program.
        """
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            self._maps["cgroup"].update(_ZERO, struct.pack("=i", descriptor))
        finally:
            os.close(descriptor)

    def counts(self, sites: int) -> Counts:
        """Return what the programs counted; see `bpflosses.Counts`."""
        values = (self._maps["counts"].lookup(struct.pack("=i", at)) for at in range(sites))
        return np.stack([np.frombuffer(value, COUNTS) for value in values])

    def reason(self, address: int) -> bytes:
        """Return the text at a kernel address, which a program has kept.

        Raises:
            KeyError: there were more different ones than it keeps.
        """
        return self._maps["reasons"].lookup(struct.pack("=Q", address)).split(b"\0")[0]

    def stack(self, number: int) -> list[int]:
        """Return the addresses of a stack, the innermost first; none when it is not kept."""
        try:
            value = self._maps["stacks"].lookup(struct.pack("=i", number))
        except KeyError:
            return []
        addresses: npt.NDArray[np.uint64] = np.frombuffer(value, np.uint64)
        ends = np.flatnonzero(addresses == 0)
        return [int(one) for one in addresses[: ends[0] if len(ends) else None]]

    def close(self) -> None:
        """Detach, and close everything."""
        self._clean_up.close()
