"""The system calls bpf(2) and perf_event_open(2), as far as we need them: no library, no clang.

Both are part of the kernel's stable interface (include/uapi/linux/bpf.h, perf_event.h): the
kernel takes a shorter `union bpf_attr` than its own for one whose rest is zero.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

from zaptrace.arch import Arch, arch_named

KPROBE, RAW_TRACEPOINT = 2, 17
"""Program types: BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_RAW_TRACEPOINT."""
PER_CPU_ARRAY, STACK_TRACE, CGROUP_ARRAY = 6, 7, 8
_MAP_CREATE, _LOOKUP, _UPDATE, _PROG_LOAD, _RAW_TRACEPOINT_OPEN = 0, 1, 2, 5, 17
_PERF_TYPE_TRACEPOINT, _CLOSE_ON_EXEC = 2, 8
_PERF_ATTR_SIZE = 64  # PERF_ATTR_SIZE_VER0
_SET_BPF, _ENABLE = 0x40042408, 0x2400  # PERF_EVENT_IOC_*
_NAME_SIZE = 16
_LOG_BYTES = 1 << 20
_MOST_WORDS = 300
_TRIES = 5
_POSSIBLE = Path("/sys/devices/system/cpu/possible")
_libc = ctypes.CDLL(None, use_errno=True)


class Map:
    """A map of the kernel's, ours until it is closed.

    Args:
        kind: BPF_MAP_TYPE_*.
        key_size, value_size, entries, flags: as BPF_MAP_CREATE takes them.

    Raises:
        OSError: the kernel does not make it.
    """

    def __init__(
        self, name: str, kind: int, key_size: int, value_size: int, entries: int, flags: int
    ) -> None:
        self.key_size = key_size
        self.value_size = value_size
        if kind == PER_CPU_ARRAY:
            self.value_size = (value_size + 7 & ~7) * possible_cpus()
        sizes = struct.pack("=IIIIIII", kind, key_size, value_size, entries, flags, 0, 0)
        self.fd = _bpf(_MAP_CREATE, sizes + _name(name))

    def lookup(self, key: bytes) -> bytes:
        """Return the value of a key; of a per-CPU array, one after the other.

        Raises:
            KeyError: the key is not in the map.
            OSError: it cannot be read.
        """
        value = ctypes.create_string_buffer(self.value_size)
        try:
            self._element(_LOOKUP, key, value)
        except FileNotFoundError:
            raise KeyError(key) from None
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of a key.

        Raises:
            OSError: the kernel refuses.
        """
        self._element(_UPDATE, key, ctypes.create_string_buffer(value, len(value)))

    def close(self) -> None:
        """Let it go."""
        os.close(self.fd)

    def _element(self, command: int, key: bytes, value: ctypes.Array[ctypes.c_char]) -> None:
        if len(key) != self.key_size or len(value) != self.value_size:
            raise ValueError("a key or a value of another size")
        kept = ctypes.create_string_buffer(key, len(key))
        places = (ctypes.addressof(kept), ctypes.addressof(value))
        _bpf(command, struct.pack("=IIQQQ", self.fd, 0, *places, 0))


def load(kind: int, name: str, instructions: bytes, license_: str, kernel_version: int) -> int:
    """Load a program; its descriptor.

    Args:
        kind: KPROBE or RAW_TRACEPOINT.
        instructions: struct bpf_insn, 8 bytes each.
        kernel_version: LINUX_VERSION_CODE, which kernels before 5.0 compare with their own.

    Raises:
        OSError: the kernel refuses; with the last words of its verifier.
    """
    try:
        return _load(kind, name, instructions, license_, kernel_version, None)
    except OSError as error:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return _load(kind, name, instructions, license_, kernel_version, log)
        except OSError:
            words = " ".join(log.value.decode(errors="replace").split())[-_MOST_WORDS:]
            raise OSError(error.errno, f"{error.strerror} {words}".strip()) from None


def _load(
    kind: int,
    name: str,
    instructions: bytes,
    license_: str,
    kernel_version: int,
    log: ctypes.Array[ctypes.c_char] | None,
) -> int:
    text = ctypes.create_string_buffer(instructions, len(instructions))
    words = ctypes.create_string_buffer(license_.encode())
    attributes = struct.pack(
        "=IIQQIIQII",
        kind,
        len(instructions) // 8,
        ctypes.addressof(text),
        ctypes.addressof(words),
        *((1, len(log), ctypes.addressof(log)) if log else (0, 0, 0)),
        kernel_version,
        0,
    )
    return _bpf(_PROG_LOAD, attributes + _name(name))


def attach_raw_tracepoint(program: int, name: str) -> int:
    """Have a program run at a tracepoint; it does until the returned descriptor is closed.

    Raises:
        OSError: the kernel refuses.
    """
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QI", ctypes.addressof(text), program))


def attach_event(program: int, number: int) -> int:
    """Have a program run at an event of tracefs; it does until the returned descriptor is closed.

    Args:
        number: the event's `id`.

    Raises:
        OSError: the kernel refuses.
    """
    attributes = struct.pack("=IIQQ", _PERF_TYPE_TRACEPOINT, _PERF_ATTR_SIZE, number, 1)
    kept = ctypes.create_string_buffer(attributes, _PERF_ATTR_SIZE)
    # An event of tracefs runs its programs on all CPUs, whichever this one is opened on.
    event = _call(
        _here().perf_event_open_syscall, ctypes.addressof(kept), -1, 0, -1, _CLOSE_ON_EXEC
    )
    try:
        fcntl.ioctl(event, _SET_BPF, program)
        fcntl.ioctl(event, _ENABLE, 0)
    except BaseException:
        os.close(event)
        raise
    return event


def possible_cpus(path: Path = _POSSIBLE) -> int:
    """Return how many values a per-CPU map keeps for each key."""
    return max(int(part) for part in path.read_text().replace("-", ",").split(",")) + 1


def allow_locked_memory() -> None:
    """Lift the limit that kernels before 5.11 count BPF's memory against, where that is allowed."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return  # newer kernels do not ask for it


def _bpf(command: int, attributes: bytes) -> int:
    kept = ctypes.create_string_buffer(attributes, len(attributes))
    return _call(_here().bpf_syscall, command, ctypes.addressof(kept), len(attributes))


def _here() -> Arch:
    """Return the row of this machine's architecture."""
    return arch_named(platform.machine())


def _call(system_call: int, *arguments: int) -> int:
    """Make a system call by its number; return its descriptor, or 0."""
    words: Sequence[ctypes.c_long] = [ctypes.c_long(one) for one in arguments]
    error = 0
    for _ in range(_TRIES):
        outcome: int = _libc.syscall(ctypes.c_long(system_call), *words)
        if outcome >= 0:
            return outcome
        error = ctypes.get_errno()
        if error not in (errno.EINTR, errno.EAGAIN):  # the verifier gives way to signals
            break
    raise OSError(error, os.strerror(error))


def _name(name: str) -> bytes:
    return name.encode()[: _NAME_SIZE - 1].ljust(_NAME_SIZE, b"\0")
