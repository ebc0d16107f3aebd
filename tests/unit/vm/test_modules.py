"""Which modules of a package go into a guest's initramfs, and in which order."""

from __future__ import annotations

import lzma

import pytest

from tests.unit.vm.module_files import DISKS, module
from vm import modules
from zaptrace.model.errors import CannotTell


def test_dependencies_go_first_and_nothing_else_goes() -> None:
    order = modules.in_order(DISKS, [])
    assert set(order) == set(DISKS) - {"unrelated"}
    assert order.index("crc16") < order.index("jbd2") < order.index("ext4")
    assert order.index("mbcache") < order.index("ext4")
    assert len(order) == len(set(order))


def test_what_the_kernel_has_inside_is_not_loaded() -> None:
    only = {"virtio_blk": module("virtio_ring")}
    inside = ["virtio_ring", "virtio_console", "ext4"]
    assert modules.in_order(only, inside) == ["virtio_blk"]


def test_a_dash_in_a_dependency_is_an_underscore_in_its_name() -> None:
    found = {**DISKS, "virtio_blk": module("crc-t10dif"), "crc_t10dif": module()}
    assert modules.in_order(found, [])[0] == "crc_t10dif"
    assert modules.name_of("/lib/modules/1/kernel/lib/crc-t10dif.ko.xz") == "crc_t10dif"


def test_what_is_needed_and_nowhere_is_said() -> None:
    with pytest.raises(CannotTell, match="crc16"):
        modules.in_order({name: file for name, file in DISKS.items() if name != "crc16"}, [])


@pytest.mark.parametrize(
    "path",
    [
        "/lib/modules/6.1.0-50-s390x/kernel/fs/mbcache.ko",
        "/usr/lib/modules/6.12/kernel/drivers/block/virtio_blk.ko.xz",
        "/usr/lib/modules/7.3/kernel/lib/crc/crc16.ko.xz",
    ],
)
def test_modules_for_disks_are_unpacked(path: str) -> None:
    assert modules.MODULE.search(path)


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/modules/6.12/kernel/drivers/net/virtio_net.ko.xz",
        "/usr/lib/modules/6.12/kernel/fs/xfs/xfs.ko.xz",
        "/usr/lib/debug/usr/lib/modules/6.12/kernel/fs/mbcache.ko.debug",
    ],
)
def test_others_stay_packed(path: str) -> None:
    assert not modules.MODULE.search(path)


def test_compressed_modules_come_out_as_they_went_in() -> None:
    assert modules.unpacked("a.ko.xz", lzma.compress(b"module")) == b"module"
    assert modules.unpacked("a.ko", b"module") == b"module"
