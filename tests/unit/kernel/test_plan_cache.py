"""Plans are kept by build ID, privately, and never taken from another version of the code."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.kernel.conftest import Mimic
from zaptrace.kernel import build_id, plan_cache, plan_for
from zaptrace.kernel.plan import make_plan

ROOT = Path(__file__).parents[3]


def only(folder: Path) -> Path:
    (kept,) = folder.iterdir()
    return kept


def test_the_second_answer_comes_from_the_cache(
    bare: Mimic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plans"
    first = plan_for(bare.path, folder)
    assert first == make_plan(bare.path)
    assert only(folder).name.startswith(f"{first.build_id}-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(only(folder).stat().st_mode) == 0o600
    monkeypatch.setattr("zaptrace.kernel.plan.make_plan", None)
    assert plan_for(bare.path, folder) == first


def test_the_user_cache_is_the_default(
    bare: Mimic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan_for(bare.path)
    assert only(tmp_path / "zaptrace" / "plans").suffix == ".json"


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"sites": 5}', '{"build_id": "00"}'])
def test_a_damaged_entry_is_made_again(bare: Mimic, tmp_path: Path, content: str) -> None:
    plan = plan_for(bare.path, tmp_path)
    only(tmp_path).write_text(content)
    assert plan_for(bare.path, tmp_path) == plan
    assert json.loads(only(tmp_path).read_text())["build_id"] == plan.build_id


def test_another_kernels_plan_is_not_taken(bare: Mimic, tmp_path: Path) -> None:
    plan = plan_for(bare.path, tmp_path)
    other = plan.to_json() | {"build_id": "00" * 20}
    only(tmp_path).write_text(json.dumps(other))
    assert plan_for(bare.path, tmp_path) == plan


def test_other_code_makes_its_own_plans(
    bare: Mimic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_for(bare.path, tmp_path)
    monkeypatch.setattr(plan_cache, "_code_version", lambda: "other")
    plan_for(bare.path, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_that_cannot_be_written_costs_no_answer(bare: Mimic, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert plan_for(bare.path, tmp_path / "file" / "plans") == make_plan(bare.path)


def test_from_the_cache_nothing_heavy_is_imported(bare: Mimic, tmp_path: Path) -> None:
    plan_for(bare.path, tmp_path)
    script = (
        "import sys; from pathlib import Path; from zaptrace.kernel import plan_for;"
        f"plan_for(Path({str(bare.path)!r}), Path({str(tmp_path)!r}));"
        "print([name for name in ('elftools', 'numpy', 'drgn') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert said.stdout == b"[]\n"


def test_build_id_is_the_linkers(bare: Mimic) -> None:
    identity = build_id(bare.path)
    assert identity is not None
    assert bytes.fromhex(identity) in bare.path.read_bytes()
    assert len(identity) == 40


def test_a_home_that_cannot_be_written_costs_time_only(
    bare: Mimic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert plan_for(bare.path) == make_plan(bare.path)


def test_a_plan_is_made_anew_when_any_code_that_makes_it_changes() -> None:
    sources = {path.relative_to(ROOT).as_posix() for path in plan_cache.plan_sources()}
    assert {
        "zaptrace/kernel/plan.py",
        "zaptrace/kernel/dwarf/location.py",
        "zaptrace/kernel/machinecode/x86_64.py",
        "zaptrace/elf/symtab.py",
        "zaptrace/arch/s390x.py",
        "zaptrace/model/plan.py",
    } <= sources
