"""Files out of Debian packages of any suite and architecture, whatever the host runs.

The mirror is the one that the host's own apt uses, and apt itself fetches and
verifies: with a private state folder, so that nothing on the host changes and
no root is needed.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from vm import host
from zaptrace.model.errors import Missing
from zaptrace.model.paths import cache_home, locked

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def fetch(package: str, suite: str, arch: str) -> Path:
    """A package's .deb, from the cache or from the mirror.

    Args:
        package: its name ("linux-source-6.1").
        suite: the release suite ("bookworm"); security and updates suites are
            not asked: a mirror can be half-way through a sync of those.
        arch: Debian's name of the architecture.

    Raises:
        Missing: the host has no apt, or apt knows no Debian mirror.
        CannotTell: apt cannot fetch or verify it.
    """
    folder = cache_home() / "debs" / f"{suite}-{arch}"
    with locked(folder / ".lock"):
        found = sorted(folder.glob(f"{package}_*.deb"))
        return found[-1] if found else _download(package, suite, arch, folder)


def _download(package: str, suite: str, arch: str, folder: Path) -> Path:
    incoming = folder / "incoming"
    for part in ("lists/partial", "archives/partial", "incoming"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
    settings = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    host.output("apt-get", *options, "update")
    host.output("apt-get", *options, "download", f"{package}:{arch}", cwd=incoming)
    fetched = next(incoming.glob(f"{package}_*.deb"))
    return fetched.rename(folder / fetched.name)


def host_arch() -> str:
    """Debian's name of the host's own architecture."""
    return host.output("dpkg", "--print-architecture").strip()


def mirror() -> str:
    """The address of the Debian mirror that the host's apt uses.

    Raises:
        Missing: apt knows no Debian mirror.
    """
    listed = host.output("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)")
    for line in listed.splitlines():
        origin, label, address = [*line.split(" ", 2), "", ""][:3]
        if origin == label == "Debian":
            return address
    raise Missing("the host's apt has no index of a Debian mirror", "apt-get update")


def member(deb: Path, path: str) -> bytes:
    """One regular file's content out of a .deb.

    Raises:
        Missing: the package has no such file.
    """
    unpacked = host.run("dpkg-deb", "--fsys-tarfile", str(deb))
    if unpacked.returncode:
        raise Missing(f"{deb} cannot be unpacked", f"rm {deb}")
    with tarfile.open(fileobj=io.BytesIO(unpacked.stdout)) as archive:
        for entry in archive:
            if entry.isfile() and entry.name.lstrip("./") == path.lstrip("/"):
                file = archive.extractfile(entry)
                assert file is not None  # it is a regular file
                return file.read()
    raise Missing(f"{deb.name} holds no {path}")
