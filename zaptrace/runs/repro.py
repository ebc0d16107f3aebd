"""A repro boot from its first step to its verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from probes.boot_kprobes import BootTrace, append_bootconfig, render
from vm import accel
from vm.breakpoints import Stops
from vm.qemu import GuestConfig, command_line
from vm.serial_console import last_line
from zaptrace.arch import Arch, arch_named
from zaptrace.kernel import plan_for
from zaptrace.memory.vmcore import standardise
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput, GuestLost
from zaptrace.model.paths import write_whole
from zaptrace.model.plan import ProbePlan
from zaptrace.model.progress import Listener, step
from zaptrace.runs import boot_files, repro_guest, stops
from zaptrace.runs.asyncio_run import run_to_end
from zaptrace.runs.explain_run import Result, analyse
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.life_recorder import LifeRecorder, life_recorder

NOT_MOVED = "nokaslr"
"""The kernel argument of most boots: the addresses of one are those of the next."""
USER_SPACE_BEGINS = b"Run /"
"""Of "Run /init as init process" (init/main.c)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user requested; see `zaptrace repro --help`.

    Attributes:
        kernel, vmlinux: the user's own, or what was built of their tree.
        kernel_tree, config: that tree, and the configuration named for it.
        spent: step -> seconds that building it took.
    """

    arch: str
    fault: str | None = None
    kernel: Path | None = None
    vmlinux: Path | None = None
    initrd: Path | None = None
    append: str = ""
    memory: str = "512M"
    smp: int = 2
    cpu: str = ""
    timeout: float = 60.0
    stop_at: str = "bad_page"
    kaslr: bool = False
    no_probes: bool = False
    no_life: bool = False
    keep_life: bool = False
    folder: Path | None = None
    kernel_tree: Path | None = None
    config: Path | None = None
    spent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A guest that is ready to be booted in its run folder.

    Attributes:
        ours: its root file system is the lab's, whose init says when it is done.
        where: where it is to be stopped.
    """

    request: Request
    folder: RunFolder
    plan: ProbePlan
    config: GuestConfig
    facts: RunFacts
    ours: bool
    where: Stops


def prepared(request: Request, listener: Listener, room: bool = False) -> Prepared:
    """Build or find what is to be booted, and how; make the run folder.

    Args:
        room: leave room for a second boot id on the command line.

    Raises:
        ZaptraceError: what is missing or wrong.
    """
    timing = dict(request.spent)
    arch = arch_named(request.arch)
    boot = boot_files.prepare(
        arch,
        listener,
        timing,
        fault=request.fault,
        own_kernel=request.kernel,
        own_vmlinux=request.vmlinux,
        own_initrd=request.initrd,
    )
    with step("plan", "Resolve the probe sites", listener, timing) as current:
        plan = plan_for(boot.vmlinux)
        current.note = f"{len(plan.sites)} sites"
    if plan.arch != arch.name:
        raise BadInput(f"{boot.vmlinux} is a kernel for {plan.arch}, not for {arch.name}")
    folder = RunFolder.create(arch.name, request.folder)
    folder.save_plan(plan)
    trace = render(plan)
    arguments, unrecorded = _tracing(plan, trace, request.no_probes)
    boot_id = boot_ids.new()
    words = (boot_ids.argument(boot_id), *((boot_ids.room(),) if room else ()), *arguments)
    bootconfig = "" if request.no_probes else trace.bootconfig
    config = _guest_config(request, arch, boot, folder, words, bootconfig)
    facts = RunFacts(
        arch=arch.name,
        kernel=str(boot.kernel),
        vmlinux=str(boot.vmlinux),
        initrd=str(boot.initrd),
        fault=boot.fault,
        command=command(request),
        unrecorded=unrecorded,
        timing=timing,
        boot_id=boot_id,
        kernel_tree=str(request.kernel_tree.absolute()) if request.kernel_tree else None,
        stop_at=request.stop_at,
    )
    folder.save_facts(facts)
    stopping = stops.EVENTS.get(request.stop_at)
    where = stops.of_the_bug(plan, *stopping) if stopping else stops.nowhere(plan)
    proof = stops.on_every_way(plan) if stopping else accel.NOWHERE
    accelerator = run_to_end(accel.choose(config, proof))
    config = dataclasses.replace(config, accel=accelerator.name)
    facts.machine = (
        f"QEMU {config.arch.machine_type}, {config.memory}, {config.smp} CPUs, {accelerator}"
    )
    facts.qemu = _by_hand(config, facts.boot_id)
    folder.save_facts(facts)
    return Prepared(request, folder, plan, config, facts, boot.ours, where)


def repro(request: Request, listener: Listener) -> Result:
    """Boot, stop, dump, read the events, audit, explain.

    Raises:
        ZaptraceError: whatever kept a step from being done; the run folder
            keeps what the steps before it left.
    """
    one = prepared(request, listener)
    folder, facts = one.folder, one.facts
    life = contextlib.nullcontext() if request.no_life else _recorder(facts)
    with life as recorder:
        lost: GuestLost | None = None
        try:
            end, recorder = run_to_end(_boot(one, listener, recorder))
        except GuestLost as error:  # what was recorded until then is ours, and stands
            lost, end = error, repro_guest.End("lost")
        end_of(end, one, folder, facts)
        result = analyse(folder, facts, listener, recorder, request.keep_life)
        if lost is not None and not result.suspicious:
            raise lost
        return result


def end_of(end: repro_guest.End, one: Prepared, folder: RunFolder, facts: RunFacts) -> None:
    """Have a run's facts say how its guest ended."""
    facts.ended, facts.after = end.ended, end.after
    if end.ended == "timeout":
        facts.hung = _hung(one.ours, folder, one.request.timeout)
        facts.ended = "hang" if facts.hung else end.ended
    folder.save_facts(facts)


def _recorder(facts: RunFacts) -> contextlib.AbstractContextManager[LifeRecorder | None]:
    return life_recorder(facts.arch, Path(facts.vmlinux), facts.life_unrecorded)


def command(request: Request) -> str:
    """Return the command line that makes the same request again."""
    words = ["zaptrace", "repro", request.arch]
    untold = {"arch", "folder", "spent"}
    if request.kernel_tree is not None:  # it builds them
        untold |= {"kernel", "vmlinux"}
    for one in dataclasses.fields(request):
        value = getattr(request, one.name)
        if one.name not in untold and value != one.default:
            words += [f"--{one.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def _tracing(
    plan: ProbePlan, trace: BootTrace, no_probes: bool = False
) -> tuple[tuple[str, ...], list[str]]:
    """Return the kernel arguments that start the probes, and what they leave unrecorded."""
    if no_probes:
        return (), ["No events: --no-probes."]
    if plan.boot_tracing:
        return trace.arguments, list(trace.dropped)
    if trace.command_line is not None:
        filtered = (
            "No page_free (frees of mapped pages) was recorded: that needs CONFIG_BOOTTIME_TRACING."
        )
        return trace.command_line, [*trace.dropped, filtered]
    return (), ["No events: that needs CONFIG_BOOTTIME_TRACING in this kernel."]


def _guest_config(
    request: Request,
    arch: Arch,
    boot: boot_files.Boot,
    folder: RunFolder,
    arguments: tuple[str, ...],
    bootconfig: str,
) -> GuestConfig:
    """Return the guest; its image and initrd, with the probes after it, are in the run folder."""
    write_whole(folder.image, boot.kernel.read_bytes())
    initrd = append_bootconfig(boot.initrd.read_bytes(), bootconfig)
    write_whole(folder.initrd, initrd)
    fault = f"zapfault={boot.fault} {arch.lab_append}".rstrip() if boot.fault else ""
    placed = "" if request.kaslr else NOT_MOVED
    append = (arch.append, placed, *arguments, fault, request.append)
    return GuestConfig(
        arch=arch,
        kernel=folder.image,
        initrd=folder.initrd,
        append=" ".join(word for word in append if word),
        console=folder.console,
        memory=request.memory,
        smp=request.smp,
        cpu=request.cpu,
    )


async def _boot(
    one: Prepared, listener: Listener, recorder: LifeRecorder | None
) -> tuple[repro_guest.End, LifeRecorder | None]:
    """Boot and dump; says in `facts` what it did.  How the guest ended, and what recorded it."""
    config, folder, facts = one.config, one.folder, one.facts
    if recorder is not None and config.accel != "tcg":
        facts.life_unrecorded.append(
            f"Pages' lives were not recorded: {config.accel} has no plugins."
        )
        recorder = None
        folder.save_facts(facts)
    boot = functools.partial(
        repro_guest.run_guest,
        folder=folder,
        facts=facts,
        listener=listener,
        where=one.where,
        seconds=one.request.timeout,
        dump=one.request.stop_at != "never",
    )
    try:
        plugin = recorder.plugin if recorder else None
        end = await boot(dataclasses.replace(config, plugin=plugin), recorder=recorder)
    except BadInput as error:
        if recorder is None:
            raise
        # With the plugin QEMU did not even start: what it says of it is said, and it is left out.
        facts.life_unrecorded.append(f"Pages' lives were not recorded: {error}.")
        recorder = None
        end = await boot(config)
    proper_vmcore(folder, facts, listener)
    return end, recorder


def proper_vmcore(folder: RunFolder, facts: RunFacts, listener: Listener) -> None:
    """Make a run's dump one that others can read, too, where there is one."""
    if not folder.vmcore.exists():
        return
    with step("vmcore", "Make the dump a proper vmcore", listener, facts.timing) as current:
        try:
            standardise(folder.vmcore)
        except BadInput as error:  # most likely the kernel died before it had set that up
            folder.vmcore.unlink()
            facts.unrecorded.append(f"The dump is unusable: {error}.")
            current.note = "unusable"


def _by_hand(config: GuestConfig, boot_id: str | None) -> str:
    """Return the command that boots such a guest in a terminal, typed in the run folder.

    It is another boot: what names this one is left out.
    """
    own = boot_ids.argument(boot_id) if boot_id else None
    append = " ".join(word for word in config.append.split(" ") if word != own)
    here = dataclasses.replace(config, kernel=Path("image"), initrd=Path("initrd"), append=append)
    return shlex.join(command_line(here))


def _hung(ours: bool, folder: RunFolder, seconds: float) -> str | None:
    """Return what a guest did not do within the time limit; None where that is its natural end."""
    if ours:
        wanted = "its workload did not end"
    elif USER_SPACE_BEGINS in folder.console.read_bytes():
        return None
    else:
        wanted = "it did not reach user space"
    said = last_line(folder.console) or "(nothing)"
    return f"The guest hung: {wanted} within {seconds:g} s; its console ends with: {said}"
