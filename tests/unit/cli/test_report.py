"""`zaptrace report`: each format goes where it should, from what the run has."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from tests.documents import validate
from tests.sentences import sentences
from tests.unit.report.builders import INFO, VERDICT, VERDICTS
from zaptrace import demo, open_run
from zaptrace.cli.main import main
from zaptrace.model.errors import BadInput
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.report.document import summary
from zaptrace.report.saved_verdict import verdict_of
from zaptrace.report.text import render
from zaptrace.runs.folder import RunFacts, RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    facts = RunFacts("s390x", "image", "vmlinux", "initrd", "batch", INFO.command, INFO.machine)
    folder.save_facts(facts)
    folder.save_verdict(summary(VERDICT, INFO), "old words")
    shutil.copy(demo.path(), folder.capture)
    return folder


def report(run: RunFolder, *args: str) -> int:
    return main(["report", str(run.path), *args])


def test_text_goes_to_standard_output(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run) == 1
    assert capsys.readouterr().out == render(VERDICT, INFO)


@pytest.mark.parametrize("args", [["--json"], ["--format", "json"]])
def test_json_is_the_run_s_document(
    run: RunFolder, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert report(run, *args) == 1
    document = json.loads(capsys.readouterr().out)
    validate(document, "run")
    assert document["verdict"]["pfn"] == VERDICT.pfn


def test_html_lies_in_the_run(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run, "--format", "html") == 1
    written = run.path / "report.html"
    assert VERDICT.summary in written.read_text("utf-8")
    said = capsys.readouterr()
    assert said.out == "" and str(written) in said.err


@pytest.mark.parametrize("named", ["on the command line", "by the run"])
def test_html_shows_the_lines_of_a_tree(run: RunFolder, tmp_path: Path, named: str) -> None:
    (tmp_path / "tree/mm").mkdir(parents=True)
    lines = [""] * 1500
    lines[1440] = "static int try_zap_anon_pte_range(struct page *page)"
    lines[1446] = "__tlb_remove_page(too_early);"
    lines[1450] = "}"
    lines[1490] = "static unsigned long zap_pte_range(struct mmu_gather *tlb)"
    lines[1498] = "try_zap_anon_pte_range(page);"
    (tmp_path / "tree/mm/memory.c").write_text("\n".join(lines))
    out = tmp_path / "bug.html"
    args = ["--format", "html", "-o", str(out)]
    if named == "by the run":
        run.save_facts(dataclasses.replace(run.facts(), kernel_tree=str(tmp_path / "tree")))
    else:
        args += ["--source", str(tmp_path / "tree")]
    assert report(run, *args) == 1
    assert "__tlb_remove_page(too_early);" in out.read_text("utf-8")


def test_parquet_reads_as_it_was(run: RunFolder, tmp_path: Path) -> None:
    import pandas as pd

    assert report(run, "--format", "parquet", "-o", str(tmp_path / "out")) == 1
    frames = open_run(run.path)
    for name in ("events", "pages", "findings"):
        read = pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        pd.testing.assert_frame_equal(read, getattr(frames, name), check_categorical=False)


def test_perfetto_has_the_events(run: RunFolder, tmp_path: Path) -> None:
    assert report(run, "--format", "perfetto", "-o", str(tmp_path / "t")) == 1
    told = protos.Trace()
    told.ParseFromString((tmp_path / "t").read_bytes())
    assert any(one.track_event.name == "bad_page" for one in told.packet)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--format", "parquet", "-o", "-"], "three files"),
        (["--format", "html", "--source", "/nowhere"], "no such source tree"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: RunFolder, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    assert report(run, *args) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_events_has_no_trace(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.capture.unlink()
    assert report(run, "--format", "perfetto") == 2
    assert "has no events" in capsys.readouterr().err
    assert report(run, "--format", "html") == 1


def test_a_clean_run_is_a_success(run: RunFolder) -> None:
    run.save_verdict(summary(Verdict(VerdictKind.CLEAN, sentences("All is well.")), INFO), "")
    assert report(run, "--format", "html") == 0


@pytest.mark.parametrize("broken", ["[]", "{}", '{"verdict": {"kind": "?"}}', '{"verdict": []}'])
def test_an_invalid_verdict_is_refused(
    run: RunFolder, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    (run.path / "verdict.json").write_text(broken)
    assert report(run) == 2
    assert "zaptrace explain" in capsys.readouterr().err


@settings(max_examples=60, deadline=None)
@given(VERDICTS)
def test_a_stored_verdict_is_the_same_verdict(verdict: Verdict) -> None:
    document = json.loads(json.dumps(summary(verdict, INFO)))
    assert verdict_of(document) == verdict


def test_a_half_verdict_is_no_verdict() -> None:
    document = summary(VERDICT, INFO)
    del document["verdict"]["order"][0]["what"]
    with pytest.raises(BadInput):
        verdict_of(document)
