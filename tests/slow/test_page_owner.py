"""What `inspect --pfn` says of a page where the kernel keeps a page_owner and memory cgroups.

On the 6.12 lab kernel of the flavour `zoo`, which `make zoo` builds as well.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.zoo.boot import boot
from tests.zoo.bugs import BUGS
from vm import lab_kernel
from zaptrace.arch import arch_named
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.slow


def test_a_page_of_the_swap_cache_has_owner_cgroup_and_swap_entry(tmp_path: Path) -> None:
    bug = dataclasses.replace(BUGS["uffd-move"], append="page_owner=on")
    kernel = lab_kernel.build(arch_named("x86_64"), ignore, flavour=bug.flavour, series=bug.series)
    _, document = boot(bug, "x86_64", kernel, tmp_path / "run")
    pfn = document["verdict"]["pfn"]
    use = inspected(tmp_path / "run/vmcore", kernel.vmlinux, pfn)["use"]
    assert (use["cgroup"], use["swap"]["file"], use["lost"]) == ("/", "/dev/ram0", [])
    owner = use["owner"]
    assert (owner["comm"], owner["allocated"], owner["order"]) == ("trigger", True, 0)
    faults = [frame for frame in owner["stack"] if frame.startswith("do_anonymous_page at ")]
    assert len(faults) == 1 and "mm/memory.c:" in faults[0]
    # makedumpfile's highest level leaves out the page alone, and nothing that is said of it.
    where = [str(tmp_path / "run/vmcore"), str(tmp_path / "filtered")]
    subprocess.run(["makedumpfile", "-c", "-d", "31", *where], check=True, capture_output=True)
    of_filtered = inspected(tmp_path / "filtered", kernel.vmlinux, pfn)["use"]
    assert of_filtered == use | {"content": False}


def inspected(vmcore: Path, vmlinux: Path, pfn: int) -> Any:
    argv = [sys.executable, "-m", "zaptrace", "inspect", str(vmcore), "--vmlinux", str(vmlinux)]
    done = subprocess.run(
        [*argv, "--pfn", str(pfn), "--json"], check=False, capture_output=True, timeout=300
    )
    assert done.returncode == 1, done.stderr  # the page has a finding
    return json.loads(done.stdout)["pages"][0]
