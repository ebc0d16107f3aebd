"""Stock kernels out of real packages, made here with dpkg-deb."""

from __future__ import annotations

import json
import lzma
import subprocess
from pathlib import Path

import pytest

from tests.unit.vm.module_files import DISKS
from vm import debian, stock
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput, CannotTell, Missing
from zaptrace.model.progress import State, Update, ignore

RELEASE = "7.9.1+deb99-cloud-amd64"
MODULES = f"usr/lib/modules/{RELEASE}"


class Mirror(debian.Apt):
    """An apt whose mirror holds packages that the test has made.

    Args:
        packages: name -> the files in it.
        depends: name -> what it depends on.
    """

    def __init__(
        self, folder: Path, packages: dict[str, dict[str, bytes]], depends: dict[str, list[str]]
    ) -> None:
        self.folder = folder
        self._packages, self._depends = packages, depends

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._depends if name.startswith(prefix)]

    def depends(self, package: str) -> list[str]:
        return self._depends[package]

    def download(self, package: str) -> Path:
        if package not in self._packages:
            raise CannotTell(f"{package} is not found")
        tree = self.folder / package
        control = (
            f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n"
        )
        for path, data in {"DEBIAN/control": control.encode(), **self._packages[package]}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(data)
        deb = self.folder / f"{package}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(deb)],
            check=True,
            capture_output=True,
        )
        return deb


def in_one(release: str) -> dict[str, bytes]:
    """The files of a package as Debian 12 and 13 have them."""
    files = {
        f"boot/vmlinuz-{release}": b"image",
        f"boot/config-{release}": b"CONFIG_X=y\n",
        f"boot/System.map-{release}": b"ffffffffffffffff B The real System.map is elsewhere",
        f"usr/lib/modules/{release}/modules.builtin": b"kernel/drivers/char/virtio_console.ko\n",
        f"usr/lib/modules/{release}/kernel/fs/xfs/xfs.ko.xz": b"not even compressed",
    }
    for name, data in DISKS.items():
        if name != "virtio_console":
            path = f"usr/lib/modules/{release}/kernel/drivers/block/{name}.ko.xz"
            files[path] = lzma.compress(data)
    return files


def in_parts() -> dict[str, dict[str, bytes]]:
    """The same files as packages have them since 7.0."""
    files = in_one(RELEASE)
    return {
        f"linux-image-{RELEASE}": {},
        f"linux-binary-{RELEASE}": {f"{MODULES}/vmlinuz": b"image"},
        f"linux-base-{RELEASE}": {
            f"{MODULES}/config": b"CONFIG_X=y\n",
            f"{MODULES}/modules.builtin": files[f"{MODULES}/modules.builtin"],
        },
        f"linux-modules-{RELEASE}": {p: d for p, d in files.items() if p.endswith(".ko.xz")},
    }


@pytest.mark.parametrize("packages", [{f"linux-image-{RELEASE}": in_one(RELEASE)}, in_parts()])
def test_only_what_a_guest_needs_is_kept(
    tmp_path: Path, packages: dict[str, dict[str, bytes]]
) -> None:
    whole, *parts = packages
    mirror = Mirror(tmp_path, packages, {whole: [*parts, "linux-base", "<linux-initramfs-tool>"]})
    kernel = stock.StockKernel(tmp_path / "kernels" / "kernel")
    stock._make(kernel, mirror, arch_named("x86_64"), RELEASE)
    assert kernel.image.read_bytes() == b"image"
    assert kernel.config.read_bytes() == b"CONFIG_X=y\n"
    assert kernel.release == RELEASE
    names = [path.stem.partition("-")[2] for path in kernel.modules]
    assert sorted(names) == sorted(set(DISKS) - {"virtio_console", "unrelated"})
    assert names.index("crc16") < names.index("jbd2") < names.index("ext4")
    assert [path.read_bytes() for path in kernel.modules] == [DISKS[name] for name in names]
    assert not list(tmp_path.glob("*.deb"))
    assert sorted(path.name for path in kernel.folder.parent.iterdir()) == ["kernel"]


def test_a_package_without_an_image_leaves_nothing(tmp_path: Path) -> None:
    files = in_one(RELEASE)
    del files[f"boot/vmlinuz-{RELEASE}"]
    name = f"linux-image-{RELEASE}"
    mirror = Mirror(tmp_path, {name: files}, {name: []})
    kernel = stock.StockKernel(tmp_path / "kernels" / "kernel")
    with pytest.raises(CannotTell, match="no kernel image"):
        stock._make(kernel, mirror, arch_named("x86_64"), RELEASE)
    assert not list((tmp_path / "kernels").iterdir())


def test_symbols_come_on_request_and_modules_symbols_never(tmp_path: Path) -> None:
    debug = {
        f"usr/lib/debug/boot/vmlinux-{RELEASE}": b"vmlinux",
        f"usr/lib/debug/boot/System.map-{RELEASE}": b"map",
        f"usr/lib/debug/{MODULES}/kernel/fs/ext4/ext4.ko": b"much",
    }
    mirror = Mirror(tmp_path, {f"linux-image-{RELEASE}-dbg": debug}, {})
    kernel = stock.StockKernel(tmp_path / "kernel")
    kernel.folder.mkdir()
    stock._add_symbols(kernel, mirror, RELEASE)
    assert kernel.vmlinux.read_bytes() == b"vmlinux"
    assert kernel.system_map.read_bytes() == b"map"
    assert sorted(path.name for path in kernel.folder.iterdir()) == ["System.map", "vmlinux"]


def releases(*names: str, gone: str = "") -> Mirror:
    depends = {f"linux-image-{name}": [f"linux-base-{name}"] for name in names}
    depends |= {f"linux-image-{gone}": [f"<linux-modules-{gone}>"]} if gone else {}
    return Mirror(Path(), {}, depends)


def test_the_newest_whole_kernel_of_the_flavour_is_taken() -> None:
    mirror = releases("6.12.94-s390x", "6.12.107-s390x", "7.0-other", gone="6.13.1-s390x")
    newest_first = ["6.12.107-s390x", "6.12.94-s390x"]
    assert stock._newest_first(mirror, "s390x", "", "13") == newest_first


def test_the_newest_that_the_mirror_hands_out_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index may be ahead of its packages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old, new = "6.12.107-s390x", "6.12.117-s390x"
    there = {f"linux-image-{old}": in_one(old)}
    mirror = Mirror(tmp_path, there, {f"linux-image-{name}": [] for name in (old, new)})
    arch = arch_named("s390x")
    said: list[Update] = []
    assert stock._first_that_is_had(mirror, arch, [new, old], said.append).release == old
    (failed,) = (update for update in said if update.state is State.FAILED)
    assert new in failed.title
    assert new in failed.note  # apt's words
    with pytest.raises(CannotTell, match=new):
        stock._first_that_is_had(mirror, arch, [new], ignore)


def test_a_version_is_not_the_beginning_of_another() -> None:
    mirror = releases("6.12.10-s390x", "6.12.107-s390x")
    assert stock._newest_first(mirror, "s390x", "6.12.10", "13") == ["6.12.10-s390x"]
    assert stock._newest_first(mirror, "s390x", "6.12", "13")[0] == "6.12.107-s390x"
    with pytest.raises(BadInput, match=r"13 has no whole kernel 6\.1 "):
        stock._newest_first(mirror, "s390x", "6.1", "13")


def test_kernels_are_found_by_release_and_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arch = arch_named("s390x")
    for release in ("6.12.94-s390x", "6.12.107-s390x"):
        folder = stock._place(arch, release)
        folder.mkdir(parents=True)
        (folder / "image").touch()
        (folder / "facts.json").write_text(json.dumps({"release": release}))
    assert stock.find(arch, "6.12").release == "6.12.107-s390x"
    assert stock.find(arch, "6.12.94").release == "6.12.94-s390x"
    assert stock.find(arch, str(stock._place(arch, "6.12.94-s390x"))).release == "6.12.94-s390x"
    for absent in ("5.10", "6.1", ""):
        with pytest.raises(Missing) as error:
            stock.find(arch, absent)
        assert "vm kernel fetch" in str(error.value.hint)
