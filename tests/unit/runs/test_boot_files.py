"""The faults' names, which Python, the kernel, the victims and the test of findings share."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from tests.victims import LEFT, STRIKING
from vm.series import DEFAULT, SERIES
from zaptrace.model.errors import BadInput
from zaptrace.model.lab_faults import FAULTS, OF_6_1
from zaptrace.runs.boot_files import check_faults

VM = Path(str(resources.files("vm")))
TASK_COMM_LEN = 16


def test_the_kernel_knows_the_same_names() -> None:
    for series in SERIES.values():
        text = "".join(patch.read_text() for patch in series.patches(series.flavour))
        named = re.findall(r'^\+\t\[ZAPFAULT_[^]]+\]\s*= "([^"]+)"', text, re.MULTILINE)
        wanted = FAULTS.keys() - (OF_6_1 if series.name != DEFAULT else set())
        assert sorted(named) == sorted(wanted), series.name


def test_every_fault_that_strikes_victims_has_one_and_a_test_of_what_it_leaves() -> None:
    source = (VM / "guest" / "victim.c").read_text()
    assert sorted(re.findall(r'^\t\{ "([^"]+)",', source, re.MULTILINE)) == sorted(STRIKING)
    assert {fault for fault, _ in LEFT} == set(STRIKING)


def test_a_fault_can_be_a_tasks_name() -> None:
    assert all(len(name) < TASK_COMM_LEN for name in STRIKING)


@pytest.mark.parametrize("names", ["batch", "none", "leak,rss-large", ",".join(FAULTS)])
def test_names_that_a_kernel_takes(names: str) -> None:
    check_faults(names)
    assert len(names) < 256, "the kernel's buffer"


@pytest.mark.parametrize("names", ["", "leek", "leak,", "leak leak", "leak, rss"])
def test_names_that_no_kernel_takes(names: str) -> None:
    with pytest.raises(BadInput, match="no fault is called"):
        check_faults(names)
