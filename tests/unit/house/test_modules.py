"""Modules of the product: none too long, and a base name stands for one noun."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]
LONGEST = 500
SHARED = {
    # Base name -> the one noun that it stands for in each of its layers.
    "clues": "what stands out in a console: the data (model), its words (report)",
    "findings": "what an audit found: the data (model), how it is put together (audit)",
    "format": "how a thing is laid out: page tables (audit), text on the screen (tui)",
    "inspect": "`zaptrace inspect`: the command (cli), what it looks up (audit)",
    "life": "a page's life: the command (cli), its text (report)",
    "page_checks": "whether a kernel checks pages: the running one (kernel), a dump's (memory)",
    "parser": "bytes to plain data: a capture's frames (capture), a console's reports (splat)",
    "plan": "the probe plan: the data (model), how it is made (kernel)",
    "pte_window": "128 PTEs around an address: the data (model), how it is read (audit)",
    "reader": "reads a capture file (capture), reads a source in the TUI's thread (tui.feed)",
    "references": "references to a page: counted (audit), as a verdict's proof (explain)",
    "replay": "`zaptrace replay`: the command (cli), the clock (capture)",
    "repro": "`zaptrace repro`: the command (cli), its steps (runs)",
    "running": "the running kernel: its probe plan (kernel), its audit (audit)",
    "s390x": "the architecture: its row (arch), its instructions (kernel.machinecode)",
    "splats": "a kernel's reports: the data (model), their text (report)",
    "symbols": "names by number: of the kernel (audit), of a capture (tui.feed)",
    "text": "text: of a run's report (report), of a console (splat)",
    "timeline": "a page's life by time: on the screen (tui), in HTML (report.html)",
    "x86_64": "the architecture: its row (arch), its instructions (kernel.machinecode)",
}


def modules() -> list[Path]:
    return [
        path
        for folder in ("zaptrace", "probes", "vm", "tui")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_no_module_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules()
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


def test_a_base_name_repeats_only_where_both_mean_the_same_noun() -> None:
    by_name = defaultdict(list)
    for path in modules():
        if not path.stem.startswith("__"):
            by_name[path.stem].append(str(path.relative_to(ROOT)))
    repeated = {name: paths for name, paths in by_name.items() if len(paths) > 1}
    assert repeated.keys() == SHARED.keys(), {
        name: repeated.get(name) for name in repeated.keys() ^ SHARED.keys()
    }
    assert all(len(paths) == 2 for paths in repeated.values()), repeated
