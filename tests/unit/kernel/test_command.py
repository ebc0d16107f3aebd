"""`zaptrace probes`: what it prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from tests.documents import validate
from tests.unit.kernel.conftest import Mimic
from zaptrace.cli import probes
from zaptrace.kernel.plan import make_plan
from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbePlan, ProbeSite


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*words: str) -> Exit:
    parser = argparse.ArgumentParser()
    probes.configure(parser)
    return probes.run(parser.parse_args(words))


def test_json_is_the_plan_and_valid(bare: Mimic, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(bare.path), "--json") is Exit.OK
    printed = json.loads(capsys.readouterr().out)
    validate(printed, "probes")
    assert ProbePlan.from_json(printed) == make_plan(bare.path)


def test_the_table_names_everything_in_80_columns(
    bare: Mimic, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(bare.path)) is Exit.OK
    lines = capsys.readouterr().out.splitlines()
    plan = make_plan(bare.path)
    assert f"build ID {plan.build_id}" in lines
    for site in plan.sites:
        head = next(at for at, line in enumerate(lines) if line.split()[:2] == words(site))
        for name, arg in site.args.items():
            row = next(line for line in lines[head:] if line.startswith(f"  {name} "))
            assert (arg.location or "-") in row
    # The source's path is this test's own and may be long.
    assert all(len(line) <= 80 for line in lines if "/" not in line)


def words(site: ProbeSite) -> list[str]:
    return [site.event, f"{site.symbol}+{site.offset:#x}" if site.offset else site.symbol]


def test_what_is_special_about_an_argument_is_said() -> None:
    args = {
        "addr": ProbeArg("%r7", "x64", addend=4096),
        "vma": ProbeArg("%r3", "x64", at_entry=True, note="a note " * 20),
        "pmd": ProbeArg(None, note="optimised out"),
    }
    site = ProbeSite("zap", "unmap_page_range", 0x322, 1, True, "mm/memory.c:1653", args, "zap")
    plan = ProbePlan(None, "s390x", None, (site,), (MissingEvent("bad_pte", "no such function"),))
    text = "\n".join(probes.table(plan, 0.5))
    assert "build ID (none)" in text
    assert "resolved in 500 ms" in text
    assert "x64 + 4096" in text
    assert "x64 at entry" in text
    assert "- optimised out" in text
    assert "bad_pte       no such function" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_file_that_is_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no kernel")
    with pytest.raises(BadInput, match="not an ELF file"):
        run(str(tmp_path / "text"))
