"""What the doctor says of kernels and machines that the test has made up, and of this one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from zaptrace.cli import doctor as command
from zaptrace.kernel.running import debug_hint, running_build_id
from zaptrace.model.errors import Exit
from zaptrace.runs import doctor
from zaptrace.runs.doctor import Check, kernel, machine

ABLE = "".join(f"0000000000000000 T {one.function}\n" for one in kernel.ABILITIES)
KEYED = f"{ABLE}0000000000000000 d check_pages_enabled\n"
FILES = {
    "proc/kallsyms": ABLE,
    "proc/self/mounts": "tracefs /sys/kernel/tracing tracefs rw 0 0\n",
    "sys/kernel/btf/vmlinux": "x",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "proc/sys/kernel/kptr_restrict": "1\n",
    "proc/sys/kernel/tainted": "0\n",
    "proc/sys/kernel/osrelease": "6.12.0\n",
    "proc/cmdline": "root=/dev/sda quiet\n",
    "boot/config-6.12.0": "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\n",
}


def looked_at(root: Path, **changes: str | None) -> dict[str, Check]:
    """The checks of a kernel whose files are FILES with changes (by file name; None: no such)."""
    for name, usual in FILES.items():
        text = changes.get(Path(name).name, usual)
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return {check.name: check for check in kernel.checks(root)}


def test_an_able_kernel(tmp_path: Path) -> None:
    checks = looked_at(tmp_path)
    assert {one.name for one in checks.values() if one.works is False} == {"debug symbols"}
    assert all(one.fix is None for one in checks.values() if one.works)
    assert doctor.is_healthy(checks.values())


@pytest.mark.parametrize("ability", kernel.ABILITIES, ids=lambda one: one.name)
def test_what_a_kernel_lacks_is_said_with_its_option(
    tmp_path: Path, ability: kernel.Ability
) -> None:
    # A function whose name only begins so does not count.
    symbols = ABLE.replace(f" {ability.function}\n", f" {ability.function}_more\n")
    check = looked_at(tmp_path, kallsyms=symbols)[ability.name]
    assert check.works is False
    assert ability.option in str(check.fix)
    assert doctor.is_healthy([check]) is not ability.needed


@pytest.mark.parametrize(
    ("file", "text", "name", "works", "word"),
    [
        ("mounts", "proc /proc proc rw 0 0\n", "tracefs", False, "mount -t tracefs"),
        ("vmlinux", None, "BTF", False, "CONFIG_DEBUG_INFO_BTF=y"),
        ("lockdown", "none integrity [confidentiality]", "lockdown", False, "lockdown=none"),
        ("lockdown", "none [integrity] confidentiality", "lockdown", True, "None"),
        ("lockdown", None, "lockdown", True, "None"),
        ("kptr_restrict", "2\n", "kptr_restrict", False, "sysctl kernel.kptr_restrict=1"),
        ("tainted", str(1 << 5), "taint", False, "reboot"),
        ("tainted", str(1 << 12 | 1), "taint", True, "None"),
        ("kallsyms", None, "kprobes", None, "CONFIG_KALLSYMS=y"),
    ],
)
def test_each_trouble_has_its_cure(
    tmp_path: Path, file: str, text: str | None, name: str, works: bool | None, word: str
) -> None:
    check = looked_at(tmp_path, **{file: text})[name]
    assert check.works is works
    assert word in str(check.fix)


@pytest.mark.parametrize(
    ("symbols", "cmdline", "config", "on"),
    [
        (KEYED, "quiet", "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\n", True),
        (KEYED, "quiet init_on_alloc=0", "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\n", False),
        (KEYED, "init_on_alloc=0 page_poison=1", "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\n", True),
        (KEYED, "quiet", "CONFIG_DEBUG_VM=y\n", True),
        (KEYED, "quiet", "CONFIG_DEBUG_VM_PGTABLE=y\n# CONFIG_DEBUG_VM is not set\n", False),
        (KEYED, "no_page_poison=1", "CONFIG_SMP=y\n", False),
        (KEYED, "debug_pagealloc=on", None, True),
        (f"{ABLE}0000000000000000 t free_pcp_prepare\n", "quiet", "CONFIG_SMP=y\n", True),
        (f"{ABLE}0000000000000000 t free_pcp_prepare.isra.0\n", "", "CONFIG_SMP=y\n", True),
        (KEYED, "quiet", None, None),
        (ABLE, "quiet", "CONFIG_SMP=y\n", None),
        (None, "quiet", "CONFIG_SMP=y\n", None),
    ],
)
def test_whether_this_kernel_can_report_a_bad_page_is_said(
    tmp_path: Path, symbols: str | None, cmdline: str, config: str | None, on: bool | None
) -> None:
    changes = {"kallsyms": symbols, "cmdline": cmdline, "config-6.12.0": config}
    check = looked_at(tmp_path, **changes)["page checks"]
    assert check.works is on
    assert (check.fix is None) is (on is True)
    assert on is not False or "reports no bad page" in check.says


def test_taint_letters_are_the_kernels(tmp_path: Path) -> None:
    assert looked_at(tmp_path, tainted=str(1 << 12 | 1))["taint"].says == "PO"
    assert "a bad page" in looked_at(tmp_path, tainted=str(1 << 5))["taint"].says


def test_disk_and_memory(tmp_path: Path) -> None:
    assert machine.disk(tmp_path).says.endswith("8 are wanted")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    1048576 kB\n")
    low = machine.memory(meminfo)
    assert low.works is False
    assert low.says.startswith("1.0 GiB")
    assert low.fix
    meminfo.write_text("MemAvailable:    4194304 kB\n")
    assert machine.memory(meminfo).works


CHECKS = [
    Check("kernel", "kprobes", works=True, says="for every live event"),
    Check("kernel", "a name that is long", works=None, says="words " * 30, fix="x", needed=False),
    Check("lab", "QEMU s390x", works=False, says="not there", fix="apt-get install qemu"),
]


def test_the_page_says_it_in_words_and_in_80_columns() -> None:
    lines = command.page(CHECKS)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for words in ("✓ yes", "✗ no", "? not known", "fix: apt-get install qemu", "this kernel"):
        assert words in text
    assert "its probes" not in text  # no empty headings


def test_health_decides_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for checks, status in ((CHECKS, Exit.USAGE), (CHECKS[:2], Exit.OK)):
        monkeypatch.setattr(doctor, "examine", lambda checks=checks: checks)
        assert command.run(argparse.Namespace(json=True)) is status
        printed = json.loads(capsys.readouterr().out)
        assert printed["healthy"] is (status is Exit.OK)
        assert [Check(**one) for one in printed["checks"]] == checks


def test_this_machine_can_be_examined() -> None:
    """Whatever it is: nothing but checks comes of it."""
    found = {check.name: check for check in kernel.checks(Path("/"))}
    assert (found["BTF"].works is True) == Path("/sys/kernel/btf/vmlinux").exists()
    assert running_build_id(Path("/nowhere")) is None


def system(root: Path, distribution: str, *packages: str) -> Path:
    """A root file system on which these packages are installed."""
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text(f"ID={distribution}\n")
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    for package in packages:
        (root / f"var/lib/dpkg/info/{package}.list").touch()
    return root


def test_debug_symbols_are_called_as_the_distribution_calls_them(tmp_path: Path) -> None:
    (tmp_path / "debian").mkdir()
    (tmp_path / "ubuntu").mkdir()
    debian = system(tmp_path / "debian", "debian", "linux-image-6.1.0-50-amd64")
    wanted = "apt-get install linux-image-6.1.0-50-amd64-dbg"
    assert debug_hint("6.1.0-50-amd64", "ab12", debian) == wanted
    ubuntu = system(tmp_path / "ubuntu", "ubuntu", "linux-image-unsigned-6.8.0-31-generic")
    wanted = "linux-image-6.8.0-31-generic-dbgsym"
    assert wanted in debug_hint("6.8.0-31-generic", "ab12", ubuntu)


def test_a_distribution_s_kernel_that_was_not_installed_here_says_who_built_it(
    tmp_path: Path,
) -> None:
    """In a guest: the kernel comes from outside."""
    guest = system(tmp_path, "debian")
    (guest / "proc").mkdir()
    version = guest / "proc/version"
    version.write_text("Linux version 6.12.107+deb13-s390x (debian-kernel@lists.debian.org) (gcc)")
    wanted = "apt-get install linux-image-6.12.107+deb13-s390x-dbg"
    assert debug_hint("6.12.107+deb13-s390x", "ab12", guest) == wanted
    version.write_text(
        "Linux version 6.8.0-31-generic (b@l) (gcc) #31-Ubuntu SMP (Ubuntu 6.8.0-31)"
    )
    assert "dbgsym" in debug_hint("6.8.0-31-generic", "ab12", guest)


def test_no_package_is_named_for_a_kernel_that_came_in_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make install`, `vng`: linux-image-6.18.0-rc1+-dbg does not exist."""
    monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)
    own = system(tmp_path, "debian", "linux-image-6.1.0-50-amd64")
    said = debug_hint("6.18.0-rc1+", "ab12", own)
    assert "apt-get" not in said
    assert said == "--vmlinux FILE, of the tree it was built in"
    tree = tmp_path / "home/linux"
    tree.mkdir(parents=True)
    (tmp_path / "lib/modules/6.18.0-rc1+").mkdir(parents=True)
    (tmp_path / "lib/modules/6.18.0-rc1+/build").symlink_to(tree)
    assert str(tree) in debug_hint("6.18.0-rc1+", "ab12", own)
    monkeypatch.setenv("DEBUGINFOD_URLS", "https://debuginfod.example")
    assert debug_hint("6.18.0-rc1+", "ab12", own) == "--vmlinux $(debuginfod-find debuginfo ab12)"
    assert "debuginfod-find" not in debug_hint("6.18.0-rc1+", None, own)
