"""The kernel series that lab kernels are built from: the source package and our patches for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from zaptrace.model.errors import BadInput

DEFAULT = "6.1"
"""The series of every test and repro boot that names none."""
_PACKAGE = re.compile(r"linux-source-(?P<name>[\d.]+)_[\w.+~-]+_all\.deb")


@dataclass(frozen=True, slots=True)
class Series:
    """One kernel series.

    Attributes:
        name: its version, and the folder of its patches: `vm/patches/NAME`, with those of one
            flavour alone in `vm/patches/NAME/FLAVOUR`.  The kernel options that this series
            needs beyond the others' are in `vm/kconfig/NAME.config`, `NAME-FLAVOUR.config` and
            `NAME-FLAVOUR-ARCH.config`.
        suite: the Debian suite that has its source package.
        flavour: the flavour that is built where none is named (`vm.lab_kernel.FLAVOURS`).
    """

    name: str
    suite: str
    flavour: str = "repro"

    @property
    def package(self) -> str:
        """The Debian package of its source."""
        return f"linux-source-{self.name}"

    def patches(self, flavour: str | None = None) -> list[Path]:
        """Return our patches for it, in the order to apply them: a flavour's own come last."""
        folder = Path(str(resources.files("vm"))) / "patches" / self.name
        own = (folder / flavour).glob("*.patch") if flavour else ()
        return [*sorted(folder.glob("*.patch")), *sorted(own)]


SERIES = {
    row.name: row
    for row in (
        Series("6.1", "bookworm", "live"),
        Series("6.12", "trixie"),
        Series("7.3", "trixie-backports"),
    )
}


def series_named(name: str) -> Series:
    """Return the row of a series.

    Raises:
        BadInput: there is not one of that name.
    """
    try:
        return SERIES[name]
    except KeyError:
        raise BadInput(
            f"there are no lab kernels of a series {name!r}", f"use one of: {', '.join(SERIES)}"
        ) from None


def series_of(package: str) -> Series | None:
    """Return the series that a source package's file belongs to, None when it belongs to none."""
    match = _PACKAGE.fullmatch(package)
    return SERIES.get(match["name"]) if match else None
