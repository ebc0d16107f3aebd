"""The console pane: what stands out in a report stands below its headline."""

from __future__ import annotations

from tests.unit.triage.builders import Dump, bad_map, log
from tui.panes.console_pane import read_log


def test_clues_stand_below_the_headline_of_their_report() -> None:
    text = log(["Run /init"], Dump(mapcount=1), bad_map(), bad_map(pfn=9)).decode()
    shown = read_log(text)
    heads = [at for at, _ in shown.splats]
    assert [shown.lines[at].split("] ")[1][:19] for at in heads] == [
        "BUG: Bad page state",
        *["BUG: Bad page map i"] * 2,
    ]
    for head in heads[:2]:
        assert head + 1 in shown.clues
        assert "likely: " in shown.lines[head + 1]
    # A clue is said once, at the first report that it is seen in.
    assert heads[2] + 1 not in shown.clues
    kept = [line for at, line in enumerate(shown.lines) if at not in shown.clues]
    assert kept == text.splitlines()


def test_a_log_without_reports_is_as_it_was() -> None:
    shown = read_log("[    0.000000] a\n[    0.000001] b\n")
    assert (len(shown.lines), shown.clues, shown.splats) == (2, frozenset(), ())
