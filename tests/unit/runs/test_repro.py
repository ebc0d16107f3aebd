"""What a request turns into before anything is booted."""

from __future__ import annotations

from pathlib import Path

from probes.boot_kprobes import BootTrace
from vm.qemu import GuestConfig
from zaptrace.arch import arch_named
from zaptrace.model import boot_ids
from zaptrace.model.plan import ProbePlan
from zaptrace.runs.repro import Request, _by_hand, _tracing, command

BOOT = BootTrace("text", ("bootconfig",), ("kprobe_event=p",), ("one was dropped",))
TOO_LONG = BootTrace("text", ("bootconfig",), None, ())


def plan(*, boot_tracing: bool) -> ProbePlan:
    return ProbePlan(None, "s390x", None, (), boot_tracing=boot_tracing)


def test_the_command_makes_the_same_request_again() -> None:
    assert command(Request("s390x", folder=Path("/elsewhere"))) == "zaptrace repro s390x"
    request = Request("s390x", kernel=Path("a b"), append="x=1 y", stop_at="exit", smp=1, cpu="max")
    assert command(request) == (
        "zaptrace repro s390x --kernel 'a b' --append 'x=1 y' --smp 1 --cpu max --stop-at exit"
    )


def test_what_was_built_of_a_tree_is_built_again() -> None:
    built = Path("/home/me/.cache/zaptrace/trees/linux-s390x/objects")
    request = Request(
        "s390x",
        kernel=built / "arch/s390/boot/bzImage",
        vmlinux=built / "vmlinux",
        kernel_tree=Path("linux"),
        config=Path("my.config"),
        spent={"compile": 780.0},
    )
    assert command(request) == "zaptrace repro s390x --kernel-tree linux --config my.config"


def test_probes_go_after_the_initrd_where_the_kernel_reads_them_there() -> None:
    assert _tracing(plan(boot_tracing=True), BOOT) == (("bootconfig",), ["one was dropped"])


def test_else_on_the_command_line_and_what_that_costs_is_said() -> None:
    arguments, unrecorded = _tracing(plan(boot_tracing=False), BOOT)
    assert arguments == ("kprobe_event=p",)
    assert "one was dropped" in unrecorded
    assert any("CONFIG_BOOTTIME_TRACING" in sentence for sentence in unrecorded)


def test_else_there_are_no_events_and_that_is_said() -> None:
    arguments, unrecorded = _tracing(plan(boot_tracing=False), TOO_LONG)
    assert arguments == ()
    assert "No events" in unrecorded[0]


def test_the_command_by_hand_is_another_boot() -> None:
    own = boot_ids.new()
    append = f"console=ttyS0 nokaslr {boot_ids.argument(own)} bootconfig x='a  b'"
    config = GuestConfig(arch_named("s390x"), Path("/i"), Path("/r"), append, Path("/c"))
    assert "zaptrace.boot" not in _by_hand(config, own)
    assert "console=ttyS0 nokaslr bootconfig" in _by_hand(config, own)
    assert boot_ids.argument(own) in _by_hand(config, None)
