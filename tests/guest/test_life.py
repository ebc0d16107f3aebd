"""Pages' lives, recorded in real boots: nothing missed, nothing made up, the right authors."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.guest.conftest import Boot, boot
from tests.guest.shared_runs import SharedRuns
from tests.verdict_check import objections
from tests.victims import victims, was_struck_again
from vm import initramfs, lab_kernel, plugin, qemu
from vm.qemu import Guest, GuestConfig
from zaptrace.arch import arch_named
from zaptrace.audit.leaks import MAY_BE_HELD
from zaptrace.cli.main import main
from zaptrace.life.calls import author
from zaptrace.life.completeness import Completeness
from zaptrace.life.left_over import What
from zaptrace.life.named_life import NamedWrite
from zaptrace.memory.open import open_program
from zaptrace.memory.pages import page_layout
from zaptrace.memory.vmcore import standardise
from zaptrace.model.progress import ignore
from zaptrace.runs.explain_run import analyse
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.keep_lives import keep_lives
from zaptrace.runs.life_recorder import life_recorder
from zaptrace.runs.repro import Request
from zaptrace.runs.run_life import RunLife, open_life

pytestmark = pytest.mark.guest
PAGES = 131072
"""Of a guest of 512 MB; each struct page has 8 words."""
SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/life.schema.json").read_text())


def opened(some: Boot) -> RunLife:
    return open_life(RunFolder(some.path))


def authors(writes: tuple[NamedWrite, ...], role: str) -> list[tuple[str, ...]]:
    """Each store of that role: its functions, inlined ones too, innermost first."""
    return [one.functions() for one in writes if one.role == role]


def last(writes: tuple[NamedWrite, ...], role: str) -> int:
    return max(at for at, one in enumerate(writes) if one.role == role)


def shows_the_founding_bug(writes: tuple[NamedWrite, ...]) -> None:
    """Allocated and mapped by the page fault, freed by the zap, and only then unmapped."""
    assert writes[0].role == "allocated"
    assert "post_alloc_hook" in writes[0].functions()
    assert ["page_add_new_anon_rmap" in one for one in authors(writes, "mapped")] == [True]
    freed = writes[last(writes, "freed")]
    assert {"zapfault_remove_page", "unmap_vmas"} <= set(freed.functions())
    assert author(freed).file == "mm/memory.c"
    removed = [one for one in writes if "page_remove_rmap" in one.functions()]
    assert [one.role for one in removed] == ["unmapped"]
    assert writes.index(removed[0]) > writes.index(freed)
    assert "folio_remove_rmap_range" in removed[0].functions()
    assert removed[0].write.after_stop and not freed.write.after_stop


def test_the_founding_bug_is_in_the_pages_life(founding: Boot) -> None:
    lives = opened(founding)
    assert lives.complete == Completeness(PAGES * 8, 0)
    assert lives.unseen == ()
    pfn = founding.result.verdict.pfn
    assert pfn is not None and lives.suspect() == pfn
    shows_the_founding_bug(lives.page(pfn).writes)
    facts = RunFolder(founding.path).facts()
    assert facts.life is not None and (facts.life["missed"], facts.life["differ"]) == (0, 0)


def test_a_clean_boot_is_complete_and_has_no_suspect(clean_exit: Boot) -> None:
    lives = opened(clean_exit)
    assert lives.complete == Completeness(PAGES * 8, 0)
    assert lives.life.pfns == () and lives.suspect() is None
    assert 100 < len(lives.life.writers) < 1000


def test_its_command_prints_it(
    founding: Boot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["life", str(founding.path)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert f"pfn {founding.result.verdict.pfn:#x}: " in text
    assert "the guest was stopped and dumped here" in text
    assert main(["life", str(founding.path), "--stack", "--since", "boot", "--newest-first"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "memmap_init_range" in text
    assert main(["life", str(founding.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert document["complete"]["differ"] == 0
    assert main(["life", str(founding.path), "--perfetto", str(tmp_path / "page.pftrace")]) == 0
    assert b"page_add_new_anon_rmap mm/rmap.c" in (tmp_path / "page.pftrace").read_bytes()
    capsys.readouterr()
    assert main(["life", str(founding.path), "0x1ffff"]) == 2
    assert "--keep-life" in capsys.readouterr().err


OF_THE_ZAP = {
    # Fault, evidence -> what is left over of the page, and the function that is named for it.
    ("leak", "quiet"): (What.PTE_CLEARED, "zapfault_zap_pte"),
    ("leak", "loud"): (What.PTE_CLEARED, "zapfault_zap_pte"),
    ("underflow", "quiet"): (What.NO_PTE, "zapfault_zap_pte"),
    ("underflow", "loud"): (What.NO_PTE, "zapfault_zap_pte"),
    ("stale", "loud"): (What.PTE_STAYS, "zapfault_zap_pte"),
    ("overput", "quiet"): (What.PUT_WITHOUT_GET, "zapfault_zap_pte"),
    ("overput", "loud"): (What.PUT_WITHOUT_GET, "zapfault_zap_pte"),
}
ELSEWHERE = {
    ("cow", "quiet"): (What.PTE_CLEARED, "wp_page_copy"),
    ("cow", "loud"): (What.PTE_CLEARED, "wp_page_copy"),
    ("fork", "loud"): (What.PTE_WITHOUT_RMAP, "copy_present_pte"),
    ("mprotect", "quiet"): (What.PTE_CLEARED, "change_pte_range"),
    ("mremap", "quiet"): (What.PTE_CLEARED, "move_ptes"),
    ("pipe", "loud"): (What.PUT_WITHOUT_GET, "page_cache_pipe_buf_release"),
    ("read", "loud"): (What.PUT_WITHOUT_GET, "shmem_file_read_iter"),
    ("scribble", "quiet"): (What.STRAY, "zapfault_stray_store"),
    ("scribble", "loud"): (What.STRAY, "zapfault_stray_store"),
    ("flag", "loud"): (What.STRAY, "zapfault_stray_store"),
    ("hold", "quiet"): (What.GET_WITHOUT_PUT, "iter_to_pipe"),
    ("hold", "lost"): (What.GET_WITHOUT_PUT, "iter_to_pipe"),
    ("driver", "loud"): (What.MAPPED_WITHOUT_GET, "do_set_pte"),
    ("swap", "quiet"): (What.PTE_CLEARED, "try_to_unmap_one"),
    ("swap", "loud"): (What.PTE_CLEARED, "try_to_unmap_one"),
}
MOVING = {
    ("migrate", "quiet"): (What.PTE_WITHOUT_RMAP, "remove_migration_pte"),
    ("migrate", "loud"): (What.PTE_WITHOUT_RMAP, "remove_migration_pte"),
}
"""These move the pages of other victims as well."""
_FOLLOWS = {What.FREED_WHILE_MAPPED, What.GET_WITHOUT_PUT}


@pytest.mark.parametrize(
    "blames", [OF_THE_ZAP, ELSEWHERE, MOVING], ids=["zap", "elsewhere", "moving"]
)
def test_each_fault_leaves_what_it_did_in_the_ledger(
    arch: str, blames: dict[tuple[str, str], tuple[What, str]], tmp_path: Path
) -> None:
    """From the life and the audit alone, no kprobe: what has no partner, by whom."""
    faults = ",".join(dict.fromkeys(fault for fault, _ in blames))
    request = Request(arch, fault=faults, stop_at="exit", no_probes=True, folder=tmp_path / "run")
    found = boot(request)
    lives = opened(found)
    assert lives.complete == Completeness(PAGES * 8, 0)
    audit = lives.folder.audit()
    seen = set()
    said = victims(found.console.read_text(errors="replace"))
    for victim in said:
        blamed = blames.get((victim.fault, victim.evidence))
        if blamed is None or victim.pfn not in (lives.life.pfns or ()):
            continue
        seen.add((victim.fault, victim.evidence))
        if was_struck_again(victim.pfn, said):
            continue
        account = lives.account(victim.pfn, audit)
        assert account is not None and account.whole and account.over
        assert account.ledger.unpaired is None
        left = {one.what: one for one in account.facts}
        assert blamed[0] in left, (victim, account.ledger)
        assert f"{blamed[1]} " in left[blamed[0]].sentence(), (victim, account.ledger)
        assert not {*left} - {blamed[0]} - _FOLLOWS, (victim, account.ledger)
    # What a task may hold that was running when the guest was dumped is no finding, and not kept.
    unsure = audit is not None and any(one.what.startswith(MAY_BE_HELD) for one in audit.unseen)
    missing = set(blames) - seen
    assert not missing or (unsure and {fault for fault, _ in missing} == {"hold"}), missing
    assert objections(found.result.verdict, found.result.evidence) == []


VERDICTS = {
    "cow": ("mapping_leaked", "wp_page_copy"),
    "fork": ("mapped_without_rmap", "copy_present_pte"),
    "mremap": ("mapping_leaked", "move_ptes"),
    "read": ("refcount_overput", "shmem_file_read_iter"),
    "scribble": ("scribbled", "zapfault_stray_store"),
}
"""Fault -> kind and function, where only the life shows both."""


@pytest.mark.parametrize("fault", VERDICTS)
def test_the_verdict_names_the_function_whatever_it_is(
    arch: str, fault: str, shared: SharedRuns
) -> None:
    """With kprobes beside: the life says what they do not see."""
    folder = RunFolder(shared.run(arch, fault))
    found = analyse(folder, folder.facts(), ignore)
    kind, function = VERDICTS[fault]
    verdict = found.verdict
    assert verdict.kind.value == kind
    assert f"{function}() at " in verdict.facts and not verdict.readings
    assert "life" in found.document["verdict"]["evidence"] or fault in ("cow", "mremap")
    assert objections(verdict, found.evidence) == []


@pytest.fixture(scope="module")
def by_life_alone(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    folder = tmp_path_factory.mktemp("life") / "run"
    return boot(Request(arch, no_probes=True, keep_life=True, folder=folder))


def test_without_any_kprobe_it_is_all_there(by_life_alone: Boot) -> None:
    console = by_life_alone.console.read_text(errors="replace")
    assert "bootconfig" not in console.partition("Run /init")[0]
    assert not by_life_alone.capture.exists() or by_life_alone.result.document["events"] <= 1
    pfn = by_life_alone.result.verdict.pfn
    assert pfn is not None
    lives = opened(by_life_alone)
    assert lives.life.pfns is None
    shows_the_founding_bug(lives.page(pfn).writes)


def test_every_page_of_a_kept_recording_is_as_the_dump_has_it(by_life_alone: Boot) -> None:
    """Replayed store by store, the counters are those in memory at the stop.

    What never changed since the first store to its word is in no store's changes.
    """
    lives = opened(by_life_alone)
    prog = open_program(by_life_alone.vmcore, by_life_alone.vmlinux)
    layout = page_layout(prog)
    kind = prog.type("struct page")
    for pfn in range(0x100, PAGES, 4999):
        found = lives.page(pfn, since_boot=True)
        mine = [one.write for one in found.writes if not one.write.after_stop]
        changes = [change for write in mine for change in write.changes]
        counts = {change.name: change.after for change in changes}
        assert "_refcount" in counts
        page = prog.read(layout.address(pfn), kind.size)
        for field in lives.life.fields.fields:
            if field.name in counts and field.size == 4:
                raw = page[field.offset : field.offset + field.size]
                assert counts[field.name] == _signed(lives, raw), hex(pfn)


def _signed(lives: RunLife, raw: bytes) -> int:
    return int.from_bytes(raw, lives.life.fields.endian, signed=True)


@pytest.fixture
def sanitized(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The plugin with sanitizers, and the environment that QEMU needs for it."""
    library = tmp_path / "life.so"
    flags = [one for one in plugin.FLAGS if one != "-O2"]
    flags += ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    sources = [str(one) for one in plugin.sources()]
    argv = ["gcc", *flags, "-o", str(library), *sources, *plugin.LIBRARIES]
    subprocess.run(argv, check=True)
    runtimes = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    if not all(Path(one).is_absolute() for one in runtimes):
        pytest.skip("gcc has no sanitizers")
    # QEMU's own memory is not ours to judge, and it switches stacks.
    options = "detect_leaks=0:detect_stack_use_after_return=0:exitcode=66"
    yield library, {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": options}


def test_sanitizers_find_nothing_in_the_plugin(
    arch: str,
    sanitized: tuple[Path, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library, environment = sanitized
    monkeypatch.setattr(plugin, "build", lambda: library)
    wrapper = tmp_path / "bin" / "setpriv"
    wrapper.parent.mkdir()
    exports = " ".join(f"{name}='{value}'" for name, value in environment.items())
    setpriv = shutil.which("setpriv")
    wrapper.write_text(
        f'#!/bin/sh\na=$1; b=$2; shift 2\nexec {setpriv} "$a" "$b" env {exports} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    found = boot(Request(arch, folder=tmp_path / "run"))
    log = (found.path / "qemu.log").read_text()
    assert "ASan" in log, "it did not run under the sanitizers"
    assert "runtime error" not in log and "ERROR: AddressSanitizer" not in log
    assert opened(found).complete == Completeness(PAGES * 8, 0)


def squeezed(text: str) -> str:
    """Without the blanks that a line break may have put in."""
    return "".join(text.split())


@pytest.mark.parametrize("library", [b"no plugin", None])
def test_a_plugin_that_qemu_refuses_costs_the_life_alone(
    library: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "life.so"
    if library is not None:
        path.write_bytes(library)
    monkeypatch.setattr(plugin, "build", lambda: path)
    found = boot(Request("s390x", folder=tmp_path / "run"))
    assert found.result.verdict.kind.value == "freed_before_rmap_removed"
    facts = RunFolder(found.path).facts()
    assert facts.life is None
    assert not facts.unrecorded and len(facts.life_unrecorded) == 1
    assert facts.life_unrecorded[0].startswith("Pages' lives were not recorded: QEMU refuses")
    assert squeezed(facts.life_unrecorded[0]) in squeezed(found.result.report)
    assert main(["life", str(found.path)]) == 2


def test_without_a_compiler_a_clean_boot_is_clean_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "COMPILER", "no-such-gcc")
    found = boot(Request("s390x", fault="none", folder=tmp_path / "run"))
    assert found.result.verdict.kind.value == "clean"
    (why,) = RunFolder(found.path).facts().life_unrecorded
    assert why == "Pages' lives were not recorded: no-such-gcc is not installed."


def test_what_a_debugger_wrote_is_named(arch: str, tmp_path: Path) -> None:
    """A word of a struct page that was changed by no CPU."""
    lab = arch_named(arch)
    built = lab_kernel.build(lab, ignore)
    folder = RunFolder.create(arch, tmp_path / "run")
    facts = RunFacts(arch, str(built.image), str(built.vmlinux), "", None, "zaptrace repro")
    folder.save_facts(facts)
    pfn, written = 0x1F000, 0x1234567

    with life_recorder(arch, built.vmlinux, facts.life_unrecorded) as recorder:
        assert recorder is not None

        async def go() -> None:
            config = GuestConfig(
                *(lab, built.image, initramfs.build(lab), f"{lab.append} nokaslr zapfault=none"),
                console=folder.console,
                plugin=recorder.plugin,
            )
            async with qemu.running(config, folder.qemu_log) as guest:
                assert await recorder.arm(guest, 60) is None
                assert await guest.run_until((), 120) == "exit"
                await poke(guest)
                recorder.mark_stop()
                await guest.dump(folder.vmcore)

        async def poke(guest: Guest) -> None:
            assert recorder.base is not None
            await guest.write(recorder.base + pfn * 64 + 40, written.to_bytes(8, "big"))

        asyncio.run(go())
        standardise(folder.vmcore)
        prog = open_program(folder.vmcore, built.vmlinux)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:  # a full disk: the run goes on without, and says so
            keep_lives(folder, facts, recorder, prog, prog, (pfn,), ignore)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert facts.life_unrecorded == ["Pages' lives were not kept: File too large."]
        assert facts.life is None and not folder.life.exists()
        keep_lives(folder, facts, recorder, prog, prog, (pfn,), ignore)
    folder.save_facts(facts)
    complete = open_life(folder).complete
    assert complete is not None and complete.differ == 1
    (word,) = complete.named
    raw = written.to_bytes(8, "big")
    memory = int.from_bytes(raw, "big" if arch == "s390x" else "little")
    assert (word.pfn, word.offset, word.memory) == (pfn, 40, memory)
