"""The first process of a live guest, once its root is there: waits, then serves the host.

It imports what zaptrace imports of Debian's, says that it is ready, and waits; there a guest is
saved, and restored as often as one is wanted (vm/saved_guest.py).  What must not be the same twice
comes from the host then, in one line: the time, entropy, an id, the checkout's disk.  From there
on it takes commands, one line of shell each, and forks a `zaptrace` from itself when the client
(client.c) asks: whose imports are done.

Lines on the console that begin with "zaptrace:" are read by the host.  It is Python 3.13's, and
imports nothing of ours before the checkout is mounted.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

NAME = "zaptrace-agent"
RUN = Path("/run/zaptrace")
PORT = Path("/dev/virtio-ports/zaptrace.agent")
CHECKOUT, SITE = "/zaptrace/checkout", "/zaptrace/site"
CACHE = Path("/root/.cache/zaptrace")
IMPORTED = (
    *("argparse", "asyncio", "bcc", "collections", "concurrent.futures", "dataclasses"),
    *("datetime", "enum", "functools", "gettext", "hashlib", "html", "importlib.metadata"),
    *("importlib.resources", "inspect", "ipaddress", "itertools", "logging", "mmap", "numpy"),
    *("numpy.typing", "platform", "queue", "re", "resource", "shlex", "subprocess", "tempfile"),
    *("textwrap", "threading", "traceback", "typing", "unicodedata", "urllib.parse", "uuid"),
    "zlib",
)
"""What of Debian's is in memory when the guest is saved."""
OURS = (
    *("zaptrace.cli.main", "zaptrace.cli.live", "zaptrace.cli.record", "zaptrace.cli.event_stream"),
    *(
        "zaptrace.cli.show_events",
        "zaptrace.cli.stdout_pipe",
        "zaptrace.report.event_lines",
        "zaptrace.capture.writer",
    ),
    *("zaptrace.kernel", "probes.open_source", "probes.bccsource", "probes.tracefs"),
)
"""What of the checkout a `zaptrace` imports: done once, before the first one is forked."""
SHELL = (
    "exec env TERM=xterm-256color setsid -w -c env --default-signal=INT,QUIT"
    " bash -i </dev/{0} >/dev/{0} 2>&1"
)
"""A shell with a terminal of its own, so that Ctrl-C goes to what runs in it."""
_HANG_UP_MS = 50
"""How often a port is looked at that no one is at the other end of."""
_IDLE_MS = 20
"""So long nothing is wanted of it before it imports the next module ahead."""
_HEADER = struct.Struct("=IIIIQ")
"""struct header of client.c."""
_MOST_WORDS = 4 << 20
_RANDOM_ADD, _RANDOM_RESEED = 0x40085203, 0x5207  # RNDADDENTROPY, RNDRESEEDCRNG
_READ_ONLY, _REMOUNT = 1, 32
_POWER_OFF = 0x4321FEDC
_SIGNALS = range(1, 32)

libc = ctypes.CDLL(None, use_errno=True)


class Forked(BaseException):
    """This is a new process, which is to run a `zaptrace`: unwind to where that is done."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class Job:
    """A `zaptrace` that a client has requested."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(5.0)
        data, self.descriptors, _, _ = socket.recv_fds(connection, _HEADER.size, 3)
        if len(data) != _HEADER.size or len(self.descriptors) != 3:
            raise ValueError("no whole request")
        size, arguments, self.mask, _, self.ignored = _HEADER.unpack(data)
        if not 0 < size <= _MOST_WORDS:
            raise ValueError(f"a request of {size} bytes")
        words = b""
        while len(words) < size:
            piece = connection.recv(size - len(words))
            if not piece:
                raise ValueError("no whole request")
            words += piece
        texts = [os.fsdecode(word) for word in words.split(b"\0")[:-1]]
        self.folder, self.arguments = texts[0], texts[1 : 1 + arguments]
        pairs = (text.partition("=") for text in texts[1 + arguments :])
        self.environment = {name: value for name, _, value in pairs if name}
        who = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid, self.user, _ = struct.unpack("=iII", who)

    def is_one_of_us(self) -> bool:
        """Return whether it would see what we see: else Python is started where the client is."""
        ours, theirs = Path("/proc/self"), Path(f"/proc/{self.pid}")
        places = ("ns/mnt", "ns/net", "ns/uts", "root")
        same = all(link(ours / place) == link(theirs / place) for place in places)
        return self.user == 0 and same

    def become(self) -> None:
        """Take over what a process inherits."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            ignored = self.ignored >> (number - 1) & 1
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python has it
        if not self.ignored >> (signal.SIGINT - 1) & 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, descriptor in enumerate(self.descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{self.pid}/cgroup").read_text()
            group = text.strip().rpartition("::")[2]
            if group != "/":
                Path(f"/sys/fs/cgroup{group}/cgroup.procs").write_text("0")
        os.umask(self.mask)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        Path("/proc/self/comm").write_text("python3")
        random.seed()
        for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
            line = number == 2 or os.isatty(number)
            errors = "backslashreplace" if number == 2 else "strict"
            buffering = 1 if line else -1
            stream = os.fdopen(number, mode, buffering, encoding="utf-8", errors=errors)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)

    def run(self) -> None:
        """Run `python3 -m zaptrace` in this process."""
        self.become()
        sys.argv = ["zaptrace", *self.arguments]
        sys.path.insert(0, self.folder)
        runpy.run_module("zaptrace", run_name="__main__", alter_sys=True)


class Client:
    """Who waits for a `zaptrace` that runs."""

    def __init__(self, connection: socket.socket, child: int) -> None:
        self.connection = connection
        self.child = child

    def heard(self) -> bool:
        """Pass on the client's signals; return whether the client is still connected."""
        try:
            numbers = self.connection.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            numbers = b""
        for number in numbers or bytes([signal.SIGTERM]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, number)
        return bool(numbers)


class Agent:
    """The loop: one command of the host at a time, and any number of clients."""

    def __init__(self) -> None:
        self._port = os.open(PORT, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._line = b""
        self._hung_up = True
        self._command = 0
        """The process of the host's command; 0 without one."""
        self._ahead: list[str] = []
        """Modules to import while there is nothing else to do."""
        self._shell = 0
        self._clients: dict[int, Client] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(RUN / "socket"))
        (RUN / "socket").chmod(0o600)
        self._listener.listen(8)
        self._woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> NoReturn:
        """Serve for ever; a fork of it leaves with Forked."""
        while True:
            ready = self._ready()
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            self._reap()
            if self._port in ready or self._hung_up:
                self._hear()
            if self._listener.fileno() in ready:
                self._accept()
            for number, client in list(self._clients.items()):
                if number in ready and not client.heard():
                    self._clients.pop(number).connection.close()
            if self._ahead and not ready:
                imported(self._ahead.pop(0))

    def _ready(self) -> set[int]:
        """Return descriptors that have something to read."""
        poll = select.poll()
        for number in (self._woken, self._listener.fileno(), *self._clients):
            poll.register(number, select.POLLIN)
        if not self._hung_up and not self._command:
            poll.register(self._port, select.POLLIN)
        patience = _IDLE_MS if self._ahead else _HANG_UP_MS if self._hung_up else None
        return {number for number, _ in poll.poll(patience)}

    def _hear(self) -> None:
        """Read the port; run the command when its line is whole."""
        if self._command:
            return
        try:
            piece = os.read(self._port, 1 << 16)
        except BlockingIOError:
            self._hung_up = False
            return
        self._hung_up = not piece
        self._line += piece
        line, end, rest = self._line.partition(b"\n")
        if not end:
            return
        self._line = rest
        words = os.fsdecode(line)
        if words.startswith("begin {"):
            self._begin(json.loads(words.partition(" ")[2]))
        elif words == "programs":
            self._tell(json.dumps(programs()))
        else:
            self._command = spawned(words, "/run/out", "/run/err")

    def _begin(self, given: dict[str, Any]) -> None:
        begin(given)
        if given["shell"]:
            self._shell = spawned(SHELL.format(given["shell"]))
        self._ahead = list(OURS)
        self._tell("")

    def _tell(self, words: str) -> None:
        """Answer without a command."""
        Path("/run/out").write_text(words)
        Path("/run/err").write_text("")
        self._answer(0)

    def _answer(self, status: int) -> None:
        """Send "STATUS OUT ERR" (bytes), then both."""
        both = [Path(path).read_bytes() for path in ("/run/out", "/run/err")]
        sizes = " ".join(str(len(one)) for one in both)
        self._send(f"{status} {sizes}\n".encode() + b"".join(both))

    def _send(self, data: bytes) -> None:
        view, poll = memoryview(data), select.poll()
        poll.register(self._port, select.POLLOUT)
        while view:
            try:
                view = view[os.write(self._port, view[: 1 << 15]) :]
            except BlockingIOError:
                for _, events in poll.poll(1000):
                    if events & select.POLLHUP:
                        return  # no one is there any more

    def _reap(self) -> None:
        """Reap processes that have ended; orphans are ours, too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._command:
                self._command = 0
                self._answer(code_of(status))
            elif pid == self._shell:
                power_off()
            for number, client in list(self._clients.items()):
                if client.child == pid:
                    with contextlib.suppress(OSError):
                        client.connection.send(struct.pack("=i", status))
                    self._clients.pop(number).connection.close()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        try:
            job = Job(connection)
            wanted = job.is_one_of_us()
        except (OSError, ValueError):
            connection.close()
            return
        if wanted:
            for name in OURS:
                imported(name)
        child = os.fork() if wanted else -1
        if child == 0:
            for number in (self._port, self._woken):
                os.close(number)
            self._listener.close()
            connection.close()
            for client in self._clients.values():
                client.connection.close()
            raise Forked(job)
        for descriptor in job.descriptors:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            connection.send(b"y" if wanted else b"n")
        if wanted:
            self._clients[connection.fileno()] = Client(connection, child)
        else:
            connection.close()


def imported(name: str) -> None:
    """Import a module of the checkout, if it is there."""
    with contextlib.suppress(Exception):
        importlib.import_module(name)


def begin(given: dict[str, Any]) -> None:
    """Set what a guest must not have of the one that it was restored from.

    Args:
        given: clock (ns since 1970), seed (hex), note (for the kernel's log, or ""), and
            programs (name -> base64) that are compiled already.
    """
    time.clock_settime_ns(time.CLOCK_REALTIME, given["clock"])
    seed = bytes.fromhex(given["seed"])
    with Path("/dev/urandom").open("wb") as device:
        request = struct.pack("=ii", 8 * len(seed), len(seed)) + seed
        fcntl.ioctl(device, _RANDOM_ADD, request)
        with contextlib.suppress(OSError):  # kernels before 4.14 do that by themselves, later
            fcntl.ioctl(device, _RANDOM_RESEED)
    if given["note"]:
        Path("/dev/kmsg").write_text(f"<5>zaptrace: {given['note']}\n")
    mount(os.environ["ZAPTRACE_CHECKOUT"], "/zaptrace", _ext(), _READ_ONLY)
    read_only = os.environ.get("ZAPTRACE_ROOT") == "ro"
    if not read_only:
        mount("", "/", "", _REMOUNT)
    install(read_only=read_only)
    for name, text in given["programs"].items():
        keep(CACHE / "programs" / Path(name).name, base64.b64decode(text))
    say(f"user space on {os.uname().release}")


def _ext() -> str:
    """Return the driver for our disks: the lab kernels' of ext2, or others' of ext4."""
    names = Path("/proc/filesystems").read_text().split()
    return "ext4" if "ext4" in names else "ext2"


def install(*, read_only: bool) -> None:
    """Install `zaptrace` as on a real machine; the disk's Python packages come last."""
    if read_only:
        os.environ["PYTHONPATH"] = f"{CHECKOUT}:{SITE}"
        os.environ["PATH"] = f"/run/bin:{os.environ['PATH']}"
        program = Path("/run/bin/zaptrace")
    else:
        packages = Path("/usr/lib/python3/dist-packages/zaptrace.pth")
        packages.write_text(f"{CHECKOUT}\n{SITE}\n")
        program = Path("/usr/bin/zaptrace")
    program.parent.mkdir(exist_ok=True)
    program.unlink(missing_ok=True)
    program.symlink_to(RUN / "client")
    sys.path += [CHECKOUT, SITE]
    CACHE.mkdir(parents=True, exist_ok=True)
    CACHE.chmod(0o700)
    shutil.copytree("/zaptrace/plans", CACHE / "plans", dirs_exist_ok=True)


def programs() -> dict[str, str]:
    """Return the BPF programs that were compiled here: name -> base64."""
    found = sorted((CACHE / "programs").glob("[0-9a-f]*"))
    return {path.name: base64.b64encode(path.read_bytes()).decode() for path in found}


def link(path: Path) -> str:
    """Return where a link leads; "" without one: a kernel may have no namespaces."""
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""


def keep(path: Path, data: bytes) -> None:
    """Write a private file."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def mount(device: str, place: str, kind: str, flags: int) -> None:
    """Call mount(2)."""
    words = (device.encode() or None, place.encode(), kind.encode() or None)
    if libc.mount(*words, ctypes.c_ulong(flags), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), device or place)


def spawned(command: str, out: str = "/dev/null", errors: str = "/dev/null") -> int:
    """Return a line of shell, begun; its process."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", command],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, errors, flags, 0o600),
        ],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD],
    )


def code_of(status: int) -> int:
    """Return the status that a shell has in `$?`."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def name_ports() -> None:
    """Make /dev/virtio-ports/NAME for each port to the host, as udev would."""
    PORT.parent.mkdir(exist_ok=True)
    for port in Path("/sys/class/virtio-ports").iterdir():
        with contextlib.suppress(OSError):
            if name := (port / "name").read_text().strip():
                (PORT.parent / name).symlink_to(f"../{port.name}")


def say(words: str) -> None:
    """Print on the console."""
    sys.stdout.write(f"zaptrace: {words}\n")
    sys.stdout.flush()


def power_off() -> None:
    """End the guest."""
    say("power off")
    os.sync()
    libc.reboot(_POWER_OFF)


def main() -> None:
    """Live the guest's life: begin, then serve."""
    os.environ.update(HOME="/root", PATH="/usr/sbin:/usr/bin:/sbin:/bin", LANG="C.UTF-8")
    os.chdir("/root")
    Path("/proc/self/comm").write_text(NAME)
    Path("/proc/sys/kernel/hostname").write_text(f"lab-{os.uname().machine}")
    name_ports()
    for name in IMPORTED:
        importlib.import_module(name)
    agent = Agent()
    say("ready")
    try:
        agent.serve()
    except Forked as forked:
        job = forked.job
    job.run()


if __name__ == "__main__":
    main()
