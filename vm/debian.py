"""Files out of Debian packages of any suite and architecture, whatever the host runs.

The mirror is the one that the host's own apt uses, or the one that is named where
apt is another distribution's.  apt itself fetches and verifies: with a private
state folder, so that nothing on the host changes and no root is needed.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from vm import host
from zaptrace.model.errors import Missing
from zaptrace.model.paths import cache_home, locked

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
VARIABLE = "ZAPTRACE_DEBIAN_MIRROR"
"""Names a mirror to hosts that are not Debian's."""


def fetch(package: str, suite: str, arch: str) -> Path:
    """Return a package's .deb, from the cache or from the mirror.

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
        if found:
            return found[-1]
        apt = Apt(suite, arch, folder)
        apt.update()
        return apt.download(package)


class Apt:
    """apt with a state of its own, for one suite and one architecture.

    Attributes:
        folder: where that state lies; hold a lock on it.
    """

    def __init__(self, suite: str, arch: str, folder: Path) -> None:
        for part in ("lists/partial", "archives/partial", "incoming"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._arch = arch
        sources = folder / "sources.list"
        sources.write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
        settings = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            "APT::Sandbox::User": "",
            "APT::Update::Error-Mode": "any",
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
        self._options = [w for key, value in settings.items() for w in ("-o", f"{key}={value}")]

    def update(self) -> None:
        """Fetch the suite's index.

        Raises:
            CannotTell: the mirror does not have it whole.
        """
        host.output("apt-get", *self._options, "update")

    def codename(self) -> str:
        """Return the name of the release that the suite was, by its index."""
        form = ("--format", "$(CODENAME)")
        return host.output("apt-get", *self._options, "indextargets", *form).split("\n")[0]

    def names(self, prefix: str) -> list[str]:
        """Return the packages whose names begin so."""
        return host.output("apt-cache", *self._options, "pkgnames", prefix).split()

    def depends(self, package: str) -> list[str]:
        """Return what a package depends on; what the suite does not have stands in <>."""
        quiet = ("--no-recommends", "--no-suggests", "--no-breaks", "--no-conflicts")
        lines = host.output("apt-cache", *self._options, "depends", *quiet, package).splitlines()
        return [line.split()[-1] for line in lines[1:] if "epends:" in line]

    def download(self, package: str) -> Path:
        """Fetch a package's .deb and verify it; it then lies in the state's folder.

        Raises:
            CannotTell: the mirror does not have it.
        """
        incoming = self.folder / "incoming"
        host.output("apt-get", *self._options, "download", f"{package}:{self._arch}", cwd=incoming)
        fetched = next(incoming.glob(f"{package}_*.deb"))
        return fetched.rename(self.folder / fetched.name)


def host_arch() -> str:
    """Return Debian's name of the host's own architecture."""
    return host.output("dpkg", "--print-architecture").strip()


def mirror() -> str:
    """Return the address of the Debian mirror that was named, or that the host's apt uses.

    Raises:
        Missing: none was, and apt knows none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    form = "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)"
    return mirror_in(host.output("apt-get", "indextargets", "--format", form))


def mirror_in(listed: str) -> str:
    """Return the Debian mirror among apt's indexes: origin, label and address, with tabs between.

    Raises:
        Missing: not available, and why.
    """
    origins = []
    for line in listed.splitlines():
        origin, label, address = [*line.split("\t"), "", ""][:3]
        if origin == label == "Debian":
            return address
        origins += [origin] if origin else []
    if origins:
        why = f"the host's apt knows no Debian mirror, only {origins[0]}'s"
        raise Missing(why, f"export {VARIABLE}=http://MIRROR/debian (any mirror of Debian's)")
    raise Missing("the host's apt has no index of a Debian mirror", "apt-get update")


def member(deb: Path, path: str) -> bytes:
    """Return one regular file's content out of a .deb.

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
