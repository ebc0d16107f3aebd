"""Probe plans, kept by build ID.  Nothing heavy is imported until a plan must be made."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from zaptrace import arch, elf
from zaptrace.elf.image import Image
from zaptrace.model import plan as model
from zaptrace.model.paths import cache_home, write_whole
from zaptrace.model.plan import ProbePlan


def build_id(elf: Path) -> str | None:
    """Return the GNU build ID of an ELF file in hex digits, None when it has none.

    Raises:
        BadInput: not an ELF file that we know, or truncated.
    """
    with Image(elf) as image:
        return image.build_id()


def plan_for(vmlinux: Path, cache: Path | None = None) -> ProbePlan:
    """Return the probe plan of a kernel.

    Args:
        vmlinux: the kernel's ELF file with symbols and debug info.
        cache: the folder that keeps plans; `zaptrace/plans` in the user's cache
            folder when None.

    Raises:
        BadInput: not a vmlinux of an architecture that we know, no debug info,
            truncated or damaged.
    """
    identity = build_id(vmlinux)
    if identity is not None:
        plan = cached_plan(identity, cache)
        if plan is not None:
            return plan

    from zaptrace.kernel.plan import make_plan

    plan = make_plan(vmlinux)
    if identity is not None:
        # A cache that cannot be written costs time, never the answer.
        with contextlib.suppress(OSError):
            write_whole(_place(identity, cache), json.dumps(plan.to_json()).encode())
    return plan


def cached_plan(identity: str, cache: Path | None = None) -> ProbePlan | None:
    """Return the plan that is kept of a build ID, None when this code made none."""
    try:
        plan = _load(_place(identity, cache))
    except OSError:  # no cache folder, and none can be made: a read-only home
        return None
    return plan if plan is not None and plan.build_id == identity else None


def _place(identity: str, cache: Path | None) -> Path:
    return (cache or cache_home() / "plans") / f"{identity}-{_code_version()}.json"


def _load(path: Path) -> ProbePlan | None:
    """Return a plan from the cache; None when it is not there or cannot be used."""
    try:
        return ProbePlan.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _code_version() -> str:
    """Return what changes with the code that makes plans, so that no older code's plan is used."""
    digest = hashlib.sha256()
    for source in plan_sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def plan_sources() -> list[Path]:
    """Return the modules that a plan depends on: this package, what reads ELF, the rows."""
    folders = (Path(__file__).parent, Path(elf.__file__).parent, Path(arch.__file__).parent)
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [*found, Path(model.__file__)]
