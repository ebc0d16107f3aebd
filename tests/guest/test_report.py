"""Reports of real runs: each format says what the run says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import drgn
import pandas as pd
import pytest
from drgn.helpers.linux.mm import follow_pfn, for_each_vma
from drgn.helpers.linux.pid import for_each_task

import zaptrace
from tests import browser
from tests.guest.conftest import Boot
from tests.looks import clipped, sections
from zaptrace.audit.pagetables.pte_window import around
from zaptrace.cli.main import main
from zaptrace.explain.sites import zap_line
from zaptrace.memory.open import open_program
from zaptrace.model.events import Kind
from zaptrace.model.findings import Owner
from zaptrace.report.site_roles import places

pytestmark = pytest.mark.guest


def report(boot: Boot, kind: str, out: Path, *args: str) -> Path:
    assert main(["report", str(boot.path), "--format", kind, "-o", str(out), *args]) == 1
    return out


def test_the_page_table_is_what_drgn_follows(founding: Boot) -> None:
    """Every window with a VMA of every task, entry by entry."""
    prog = open_program(founding.vmcore, founding.vmlinux)
    seen = 0
    for task, mm in _mms(prog):
        for vma in for_each_vma(mm):
            address = vma.vm_start.value_()
            window = around(prog, Owner(task, None, address, None, mm.value_()), None)
            assert window.start <= address < window.start + len(window.pfns) * window.page_size
            for at, pfn in enumerate(window.pfns):
                told = _followed(mm, window.start + at * window.page_size)
                # drgn goes by the hardware's bit; s390x keeps old pages invalid but present.
                assert pfn == told or (told is None and founding.arch == "s390x")
                seen += told is not None
    assert seen > 50


def _mms(prog: drgn.Program) -> list[tuple[int, drgn.Object]]:
    tasks = for_each_task(prog)
    return [(task.pid.value_(), task.mm.read_()) for task in tasks if task.mm]


def _followed(mm: drgn.Object, address: int) -> int | None:
    try:
        return int(follow_pfn(mm, address).value_())
    except drgn.FaultError:
        return None


def test_the_page_shows_the_bug_at_its_lines(founding: Boot, tmp_path: Path) -> None:
    verdict = founding.result.verdict
    out = report(founding, "html", tmp_path / "report.html")
    text = out.read_text("utf-8")
    for said in ('id="story"', 'id="tables"', 'id="sources"', 'id="splat"', 'class="ring"'):
        assert said in text
    # The lab's own source, unpacked and patched: the very calls stand at the lines.
    for role, call, remark in (
        ("freed", "zapfault_remove_page", "the page is freed"),
        ("pte_cleared", "ptep_get_and_clear_full", "the PTE is cleared"),
    ):
        site = next(site for site in verdict.sites if site.role == role)
        line = zap_line(site)
        assert line and line.source and line.function == "try_zap_anon_pte_range"
        assert f"{line.source} in {line.function}()" in places(verdict)
        number = int(line.source.rpartition(":")[2])
        assert re.search(rf'class="it">▸ +{number}  [^<]*{call}\([^<]*<[^>]+>  ◄ {remark}', text)
    assert f"{verdict.pfn:#x}" in text


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_all_of_it(founding: Boot, tmp_path: Path, width: int) -> None:
    program = browser.program()
    if program is None:
        pytest.skip("Chromium is not installed (make setup-tests): no browser looked at the page")
    out = report(founding, "html", tmp_path / "report.html")
    with browser.opened(program) as chromium:
        chromium.show(out, width)
        assert chromium.said == [] and chromium.asked == [out.resolve().as_uri()]
        assert clipped(chromium) == []
        shown = sections(chromium)
        wanted = {"story", "counters", "tables", "sources", "splat", "life", "rates", "reproduce"}
        assert wanted | {"environment"} == set(shown) - {"unseen"}
        assert all(height > 40 for height in shown.values())


def test_another_tree_is_not_shown_for_the_kernel_s(founding: Boot, tmp_path: Path) -> None:
    tree = tmp_path / "linux"
    (tree / "mm").mkdir(parents=True)
    (tree / "mm/memory.c").write_text("".join(f"source line {at}\n" for at in range(1, 9000)))
    out = report(founding, "text", tmp_path / "report.txt", "--source", str(tree))
    text = " ".join(out.read_text("utf-8").split())
    assert "mm/memory.c is not shown: in the tree, line" in text and "source line" not in text


def test_the_splat_alone_gives_the_lines_that_the_dump_gives(
    founding: Boot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run.json", "console.log"):
        shutil.copy(founding.path / name, tmp_path / name)
    assert main(["explain", str(tmp_path), "--json"]) == 1
    told = {one["role"]: one for one in json.loads(capsys.readouterr().out)["verdict"]["sites"]}
    sites = {one.role: one for one in founding.result.verdict.sites}
    for role in ("freed", "pte_cleared"):
        assert tuple(told[role]["inline_chain"]) == sites[role].inline_chain


def test_a_whole_boot_is_reported_in_every_format(founding_exit: Boot, tmp_path: Path) -> None:
    document = founding_exit.result.document
    assert "Rmap removed" in report(founding_exit, "html", tmp_path / "r.html").read_text("utf-8")
    assert report(founding_exit, "perfetto", tmp_path / "t.pftrace").stat().st_size > 100_000
    frames = zaptrace.open_run(founding_exit.path)
    assert len(frames.events) == document["events"]
    pages = frames.pages
    refused = frames.recorded.of_kind(Kind.BAD_PAGE)["pfn"]
    assert set(pages.index[pages["bad_page"] > 0]) == set(refused.tolist())
    into = report(founding_exit, "parquet", tmp_path / "parquet")
    read = pd.read_parquet(into / "events.parquet", columns=["kind", "mapcount"])
    bad = read[read["kind"] == "bad_page"]
    assert len(bad) == len(refused) and (bad["mapcount"].dropna() > 0).all()
    assert len(pd.read_parquet(into / "findings.parquet")) == len(frames.findings)
