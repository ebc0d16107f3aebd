"""Pieces of two kernels or boots are refused; what a piece does not say counts for nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.explain.audits import audit
from tests.unit.explain.kernel import events_of
from tests.unit.explain.rows import PFN, finding, freed, refused, zap
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events, Origin
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.plan import ProbePlan
from zaptrace.model.splats import Splat
from zaptrace.runs.consistency import Pieces, check
from zaptrace.runs.dump_identity import Identity
from zaptrace.runs.folder import RunFacts, RunFolder

SECOND = 10**9
BOOT, OTHER = "0a77d9c2-1111-4222-8333-444455556666", "0b77d9c2-1111-4222-8333-444455556666"
META = {"arch": "s390x", "release": "6.1.0", "build_id": "aa"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder.create("s390x", tmp_path / "run")
    run.save_plan(ProbePlan("aa", "s390x", "6.1.0", ()))
    return run


def facts(ended: str = "bad_page", boot_id: str | None = BOOT) -> RunFacts:
    made = RunFacts("s390x", "image", "vmlinux", "initrd", None, "zaptrace", ended=ended)
    made.boot_id = boot_id
    return made


def console(*boot_ids: str) -> bytes:
    lines = [f"[    0.23] Kernel command line: nokaslr zaptrace.boot={one} x=1" for one in boot_ids]
    return "\r\n".join(["[    0.12] Linux version 6.1.0", *lines]).encode()


def events(**meta: Any) -> Events:
    rows = [zap(SECOND), freed(2 * SECOND), refused(3 * SECOND)]
    made = events_of(rows)
    made.meta.update({**META, **meta})
    return made


def state(**fields: Any) -> Splat:
    return Splat("bad_page_state", **{"pfn": PFN, "time": 3.1, "kernel_release": "6.1.0", **fields})


def found(pfn: int = PFN) -> AuditResult:
    one = finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0)
    return audit(type(one)(one.cls, pfn, 0, 1, 0))


def test_pieces_of_one_boot_belong_together(folder: RunFolder) -> None:
    check(Pieces(folder, facts(), events(), found(), [state()]))
    check(Pieces(folder, facts()))
    nothing = Events(meta={})
    unknown = state(kernel_release=None, time=None, pfn=None)
    check(Pieces(folder, facts(), nothing, None, [unknown]))


@pytest.mark.parametrize(
    ("meta", "splat", "pfn", "says"),
    [
        (
            {"arch": "x86_64"},
            {},
            PFN,
            r"run\.json and .*capture\.zap .*: architecture s390x and x86",
        ),
        ({"build_id": "bb"}, {}, PFN, r"plan\.json and .*capture\.zap .*: build ID aa and bb"),
        ({"release": "6.2"}, {}, PFN, r"plan\.json and .*capture\.zap .*: kernel 6\.1\.0 and 6\.2"),
        ({}, {"kernel_release": "6.3"}, PFN, r"plan\.json and .*console\.log .*6\.1\.0 and 6\.3"),
        ({}, {"time": 900.0}, PFN, r"events from 1\.000 s to 3\.000 s, reports from 900\.000 s"),
        ({}, {"pfn": 7}, PFN, r"pfn 0xa80 was refused in the one, pfn 0x7 is wrong in the other"),
        ({}, {}, 8, r"capture\.zap and .*vmcore .*pfn 0x8 is wrong"),
    ],
)
def test_pieces_of_two_are_refused(
    folder: RunFolder, meta: dict[str, Any], splat: dict[str, Any], pfn: int, says: str
) -> None:
    with pytest.raises(BadInput) as caught:
        check(Pieces(folder, facts(), events(**meta), found(pfn), [state(**splat)]))
    assert "do not belong together" in str(caught.value)
    assert re.search(says, str(caught.value))
    assert "\n" not in str(caught.value)


def test_reports_from_before_the_capture_and_dumps_of_later_are_not_compared(
    folder: RunFolder,
) -> None:
    check(Pieces(folder, facts(), events(), None, [state(pfn=7, time=0.5), state()]))
    check(Pieces(folder, facts("exit"), events(), found(8)))
    stop = events_of([refused(2**64 - 1, origin=Origin.REGISTERS)])  # --no-probes: without a time
    check(Pieces(folder, facts(), stop, None, [state(pfn=7, time=1.5)]))
    lossy = events_of([zap(SECOND), refused(3 * SECOND)], lost=1)
    check(Pieces(folder, facts(), lossy, found(8), [state(pfn=7)]))


def dump(build_id: str | None = "aa", boot_id: str | None = BOOT) -> Identity:
    return Identity(build_id, boot_id, 1 << 29, 7)


def test_one_boot_s_pieces_say_the_same_boot(folder: RunFolder) -> None:
    folder.save_audit(found(), dump())
    pieces = Pieces(
        folder, facts(), events(boot_id=BOOT), found(), [state()], console(BOOT), dump()
    )
    check(pieces)
    check(replace(pieces, console=console(BOOT, BOOT), life=BOOT))


def test_reports_may_come_long_after_the_events_of_the_boot(folder: RunFolder) -> None:
    """Seen on a busy machine: the last event at 8.353 s, a VM_BUG_ON at 13.252 s."""
    late = Pieces(folder, facts(), events(boot_id=BOOT), None, [state(time=13.2)], console(BOOT))
    check(late)
    with pytest.raises(BadInput, match="reports from 13\\.2"):
        check(replace(late, events=events()))


def test_a_boot_that_is_not_ours_has_no_id_to_compare(folder: RunFolder) -> None:
    folder.save_audit(found(), dump(boot_id=None))
    other = b"[    0.23] Kernel command line: root=/dev/vda console=ttyS0\n"
    check(Pieces(folder, facts(boot_id=None), events(), found(), [], other, dump(boot_id=None)))
    check(Pieces(folder, facts(), events(boot_id=7), None, [], b"zaptrace.boot=guess\n"))


@pytest.mark.parametrize(
    ("more", "audited", "says"),
    [
        ({"console": console(OTHER)}, dump(), rf"run\.json and .*console\.log .*{OTHER}"),
        ({"console": console(BOOT, OTHER)}, dump(), rf"console\.log .*{OTHER}"),
        ({"events": events(boot_id=OTHER)}, dump(), rf"capture\.zap .*boot id {BOOT} and {OTHER}"),
        ({"dump": dump(boot_id=OTHER)}, dump(), rf"run\.json and .*vmcore .*{OTHER}"),
        ({}, dump(boot_id=OTHER), rf"run\.json and .*audit\.json .*{OTHER}"),
        ({"dump": dump(build_id="bb")}, dump(), r"plan\.json and .*vmcore .*build ID aa and bb"),
        ({"life": OTHER}, dump(), rf"run\.json and .*life\.zap .*boot id {BOOT} and {OTHER}"),
        ({}, dump(build_id="bb"), r"plan\.json and .*audit\.json .*build ID aa and bb"),
    ],
)
def test_pieces_of_two_boots_of_one_kernel_are_refused(
    folder: RunFolder, more: dict[str, Any], audited: Identity, says: str
) -> None:
    """Every page and time fits; only the boot, or the build, does not."""
    folder.save_audit(found(), audited)
    pieces = Pieces(
        folder, facts(), events(boot_id=BOOT), found(), [state()], console(BOOT), dump()
    )
    with pytest.raises(BadInput) as caught:
        check(replace(pieces, **more))
    assert re.search(says, str(caught.value))


TRY, AGAIN = f"{BOOT}/1111-aaaa", f"{BOOT}/2222-bbbb"


def restored(boot_id: str) -> bytes:
    first, _, second = boot_id.partition("/")
    return console(first) + f"\n[    9.1] zaptrace: {boot_ids.note(first, second)}\n".encode()


def of_try(folder: RunFolder, boot_id: str) -> Pieces:
    return Pieces(
        folder,
        facts(boot_id=boot_id),
        events(boot_id=boot_id),
        found(),
        [state()],
        restored(boot_id),
        dump(boot_id=boot_id),
    )


@pytest.mark.parametrize("piece", ["facts", "events", "console", "dump", "audit"])
def test_two_tries_of_one_snapshot_are_never_one_boot(folder: RunFolder, piece: str) -> None:
    folder.save_audit(found(), dump(boot_id=AGAIN if piece == "audit" else TRY))
    mine, other = of_try(folder, TRY), of_try(folder, AGAIN)
    if piece != "audit":
        mine = replace(mine, **{piece: getattr(other, piece)})
    with pytest.raises(BadInput, match="do not belong together: boot id"):
        check(mine)


def test_one_try_s_pieces_belong_together(folder: RunFolder) -> None:
    """Also those that do not know the second id."""
    folder.save_audit(found(), dump(boot_id=TRY))
    mine = of_try(folder, TRY)
    check(mine)
    check(replace(mine, dump=dump(boot_id=BOOT), console=console(BOOT)))


def test_what_does_not_know_the_second_id_makes_no_two_tries_one(folder: RunFolder) -> None:
    folder.save_audit(found(), dump(boot_id=BOOT))
    mine = replace(of_try(folder, TRY), facts=facts(boot_id=BOOT), console=console(BOOT))
    check(mine)
    with pytest.raises(BadInput, match="do not belong together: boot id"):
        check(replace(mine, dump=dump(boot_id=AGAIN)))
