"""The main job, as users run it: `zaptrace repro` from the outside."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.guest.builders import zaptrace
from tests.guest.conftest import Boot, boot
from tests.guest.lab import guests_of
from vm import debian, initramfs
from vm.cpio import Archive
from zaptrace.arch import ARCHES
from zaptrace.cli.repro import exit_code
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.repro import Request

pytestmark = pytest.mark.guest
CLEAN_BOOTS = 20
PATIENCE = 120.0
"""Seconds; a busy machine is no failure."""
SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/run.schema.json").read_text())


def repro(folder: Path, *args: str, arch: str = "s390x") -> tuple[int, dict[str, Any]]:
    patient = ("--timeout", "300")  # `args` may say less
    done = zaptrace("repro", arch, "--json", "--run", str(folder), *patient, *args)
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    return done.returncode, document


def test_the_founding_bug_is_found_and_explained(arch: str, tmp_path: Path) -> None:
    status, document = repro(tmp_path / "run", arch=arch)
    verdict = document["verdict"]
    assert status == 1
    assert verdict["kind"] == "freed_before_rmap_removed"
    proof = verdict["proof"][0]
    assert (proof["ptes"], proof["mapcount"], proof["refcount"]) == (0, 1, 0)
    assert proof["pfn"] == verdict["pfn"]
    assert proof["mappings"][0]["comm"] == verdict["comm"]
    freed = next(site for site in verdict["sites"] if site["role"] == "freed")
    assert freed["source"].startswith("mm/memory.c:") or any(
        "mm/memory.c:" in line for line in freed["inline_chain"]
    )
    assert any("try_zap_anon_pte_range" in line for line in freed["inline_chain"])
    # A free in an interrupt inside another probe may be missed: no more, and it is reported.
    lost = [doubt for doubt in verdict["doubts"] if " lost" in doubt]
    assert len(lost) == (document["lost"] > 0)
    assert all(doubt.startswith(f"{document['lost']} page_free event") for doubt in lost)


def test_the_kernel_itself_says_the_same(founding: Boot) -> None:
    """The report that the kernel prints when it is resumed names the page of the verdict."""
    document = founding.result.document
    assert document["splats"] >= 1
    said = f"pfn:{document['verdict']['pfn']:05x}"
    assert f"Bad page state in process {document['verdict']['comm']}  {said}" in (
        founding.console.read_text(errors="replace")
    )


def test_all_reports_of_a_whole_boot_are_explained(founding_exit: Boot) -> None:
    document = founding_exit.result.document
    assert document["verdict"]["kind"] == "freed_before_rmap_removed"
    assert document["splats"] > 100
    assert document["events"] > 1000


def test_a_healthy_kernel_is_clean(arch: str, tmp_path: Path) -> None:
    status, document = repro(tmp_path / "run", "--fault", "none", arch=arch)
    assert (status, document["verdict"]["kind"]) == (0, "clean")
    assert (document["findings"], document["splats"]) == (0, 0)
    assert document["events"] > 100


def test_twenty_healthy_boots_are_twenty_times_clean(arch: str, tmp_path: Path) -> None:
    kinds = []
    for number in range(CLEAN_BOOTS):
        found = boot(Request(arch, fault="none", folder=tmp_path / str(number)))
        document = found.result.document
        status = exit_code(found.result, None)
        kinds.append((status, document["verdict"]["kind"], document["findings"]))
        found.vmcore.unlink()
    assert kinds == [(0, "clean", 0)] * CLEAN_BOOTS


def test_never_stopping_still_explains_from_the_console(arch: str, tmp_path: Path) -> None:
    status, document = repro(tmp_path / "run", "--stop-at", "never", arch=arch)
    assert status == 1
    assert document["splats"] > 100
    assert not (tmp_path / "run" / "vmcore").exists()


def test_frees_that_interrupts_hide_take_no_verdict_away(tmp_path: Path) -> None:
    """Optimised kprobes run with interrupts on: frees in one are missed, and nothing else is."""
    optimised = ("--append", "sysctl.debug.kprobes-optimization=1")
    status, document = repro(tmp_path / "run", "--fault", "underflow", *optimised, arch="x86_64")
    assert status == 1
    assert document["lost"] > 0
    assert document["verdict"]["kind"] == "rmap_underflow"
    (doubt,) = document["verdict"]["doubts"]
    assert doubt.startswith(f"{document['lost']} page_free event")
    assert document["verdict"]["evidence"] == ["capture"]


def test_expect_turns_the_exit_code_round(founding: Boot, clean_exit: Boot) -> None:
    assert exit_code(founding.result, "freed_before_rmap_removed") == 0
    assert exit_code(founding.result, "clean") == 1
    assert exit_code(founding.result, None) == 1
    assert exit_code(clean_exit.result, None) == 0
    assert exit_code(clean_exit.result, "freed_before_rmap_removed") == 1


def test_explain_comes_to_the_same_verdict_again(founding: Boot) -> None:
    done = zaptrace("explain", str(founding.path), "--json")
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    assert done.returncode == 1
    assert document["verdict"] == founding.result.document["verdict"]


def test_the_report_fits_a_mail(founding: Boot) -> None:
    report = zaptrace("explain", str(founding.path)).stdout
    assert max(len(line) for line in report.splitlines()) <= 72
    assert "mm/memory.c:" in report
    assert f"zaptrace repro {founding.arch}" in report


def test_the_run_folder_is_private(founding: Boot) -> None:
    assert founding.path.stat().st_mode & 0o077 == 0
    for file in founding.path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def own_root(path: Path, last_command: str, arch: str = "s390x") -> Path:
    """A root file system without any helper of ours: busybox, a mount and a last command."""
    archive = Archive()
    deb = debian.fetch("busybox-static", initramfs.SUITE, ARCHES[arch].debian)
    archive.file("/bin/busybox", debian.member(deb, "/bin/busybox"), 0o755)
    archive.directory("/proc")
    archive.character_device("/dev/console", 5, 1)
    commands = ["#!/bin/busybox sh", "/bin/busybox mount -t proc proc /proc", last_command]
    archive.file("/init", "\n".join(commands).encode(), 0o755)
    path.write_bytes(gzip.compress(archive.finish()))
    return path


def test_your_own_kernel_and_root_file_system(founding: Boot, tmp_path: Path) -> None:
    arch = founding.arch
    rootfs = own_root(tmp_path / "rootfs.cpio.gz", "/bin/busybox poweroff -f", arch)
    own = ["--kernel", str(founding.vmlinux.parent / "image"), "--vmlinux", str(founding.vmlinux)]
    more = ["--initrd", str(rootfs), "--memory", "256M", "--smp", "1"]
    status, document = repro(tmp_path / "bug", *own, *more, "--append", "zapfault=batch", arch=arch)
    assert (status, document["verdict"]["kind"]) == (1, "freed_before_rmap_removed")
    status, document = repro(tmp_path / "clean", *own, *more, arch=arch)
    assert (status, document["verdict"]["kind"]) == (0, "clean")


def test_the_time_limit_is_a_natural_end_for_your_own_root_file_system(tmp_path: Path) -> None:
    rootfs = own_root(tmp_path / "rootfs.cpio.gz", "exec /bin/busybox sleep 1000")
    limit = ("--initrd", str(rootfs), "--timeout", "30")
    status, document = repro(tmp_path / "run", "--fault", "none", *limit)
    assert (status, document["verdict"]["kind"], document["ended"]) == (0, "clean", "timeout")


def test_a_guest_that_dies_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    argv = [sys.executable, "-m", "zaptrace", "repro", "s390x", "--fault", "none"]
    argv += ["--append", "zaptrace.do=idle", "--run", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + PATIENCE
        console = folder / "console.log"
        while not console.exists() or b"Run /init" not in console.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for process in guests_of(folder):
            os.kill(int(Path(process).parent.name), signal.SIGKILL)
        _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 125
    assert "QEMU ended by itself" in errors
    assert "Traceback" not in errors
    assert (folder / "run.json").exists()
    # The stores that it had recorded are ours; at most one of each CPU was not whole.
    facts = RunFolder(folder).facts()
    assert facts.life is not None, facts.life_unrecorded
    assert (facts.life["stores"] or 0) > 1000 and facts.life["words"] is None
    assert facts.life["missed"] in (0, 1, 2)
    said = zaptrace("life", str(folder))
    assert (said.returncode, said.stderr.count("\n")) == (2, 2)
    assert "there is no suspect: name a page" in said.stderr


def test_a_hung_guest_is_lost_and_not_clean(tmp_path: Path) -> None:
    done = zaptrace(
        *("repro", "s390x", "--fault", "none", "--append", "zaptrace.do=idle"),
        *("--timeout", "5", "--run", str(tmp_path / "run")),
    )
    assert done.returncode == 125
    assert "hung" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "console.log").stat().st_size > 0


def test_a_guest_that_panics_early_is_no_verdict(tmp_path: Path) -> None:
    done = zaptrace(
        *("repro", "s390x", "--fault", "none", "--append", "rdinit=/nothing init=/nothing"),
        *("--run", str(tmp_path / "run")),
    )
    assert done.returncode == 125
    assert "cannot tell: The kernel complained (Kernel panic" in done.stderr


def test_a_vmlinux_of_another_build_names_both_build_ids(founding: Boot, tmp_path: Path) -> None:
    from zaptrace.kernel import build_id

    ours = build_id(founding.vmlinux)
    assert ours is not None
    other = tmp_path / "vmlinux"
    data = founding.vmlinux.read_bytes()
    place = data.index(bytes.fromhex(ours))
    strange = bytes.fromhex(ours)[::-1]
    other.write_bytes(data[:place] + strange + data[place + 20 :])
    done = zaptrace(
        *("repro", founding.arch, "--kernel", str(founding.vmlinux.parent / "image")),
        *("--vmlinux", str(other), "--run", str(tmp_path / "run")),
    )
    assert done.returncode == 2
    assert ours in done.stderr
    assert strange.hex() in done.stderr


@pytest.mark.parametrize("after", [0.0, 0.4, 1.0, 1.6, 2.4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_at_any_moment_nothing_is_left(
    after: float, number: signal.Signals, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    argv = [sys.executable, "-m", "zaptrace", "repro", "s390x", "--run", str(folder)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    child.stderr.readline()  # the first step is done: we are well on our way
    time.sleep(after)
    child.send_signal(number)
    _, errors = child.communicate(timeout=PATIENCE)
    assert "Traceback" not in errors
    if number != signal.SIGKILL:
        assert child.returncode in (125, 1), errors
    deadline = time.monotonic() + PATIENCE
    while left := guests_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_qemu_missing_names_the_fix(founding: Boot, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("setpriv", "s390x-linux-gnu-gcc", "dpkg", "apt-get"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    done = zaptrace("repro", "s390x", "--run", str(tmp_path / "run"), PATH=str(tools))
    assert done.returncode == 2
    assert "qemu-system-s390x is not installed" in done.stderr
    assert "make setup" in done.stderr


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """A dump that does not fit: the file system of the run folder is 18 MiB.

    Half of it is removed: it would leave no room for what explains the rest.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=18m", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("mount is not permitted here")
    try:
        run = small / "run"
        done = zaptrace("repro", "s390x", "--run", str(run))
        assert done.returncode == 2
        assert f"No space left on device: {run}/vmcore\n" in done.stderr
        assert "Traceback" not in done.stderr
        assert (run / "console.log").stat().st_size > 0
        assert not (run / "vmcore").exists()
        again = zaptrace("explain", str(run), "--json")
        document = json.loads(again.stdout)
        jsonschema.validate(document, SCHEMA)
        assert (again.returncode, document["ended"]) == (1, "bad_page"), again.stderr
        assert document["verdict"]["kind"] == "unexplained"
    finally:
        subprocess.run(["umount", str(small)], check=True)
