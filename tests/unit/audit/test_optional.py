"""What is the dump's fault becomes a message; what is ours keeps its traceback."""

from __future__ import annotations

from collections.abc import Callable

import drgn
import pytest
from drgn import Architecture, Platform, Program, TypeMember

from zaptrace.audit.optional import as_bad_input, optional_step
from zaptrace.model.errors import BadInput


def missing_member() -> object:
    prog = Program(Platform(Architecture.S390X))
    kind = prog.struct_type(
        "mm_struct", 8, [TypeMember(prog.int_type("unsigned long", 8, False), "pgd")]
    )
    return drgn.Object(prog, kind, value={"pgd": 0}).rss_stat


def missing_key() -> object:
    vmcoreinfo: dict[str, str] = {}
    return vmcoreinfo["NUMBER(PG_swapbacked)"]


def libelf() -> object:
    raise Exception("libelf says no")


def ours() -> object:
    return missing_key.no_such_thing  # type: ignore[attr-defined]


def ours_too() -> object:
    raise AssertionError("a bug")


@pytest.mark.parametrize("fault", [missing_member, missing_key, libelf])
def test_the_dumps_faults_are_one_message_and_what_can_be_spared_is_reported(
    fault: Callable[[], object],
) -> None:
    with pytest.raises(BadInput, match="cannot be read"), as_bad_input():
        fault()
    told: list[str] = []
    with optional_step(lambda: told.append("a gap")):
        fault()
    assert told == ["a gap"]


@pytest.mark.parametrize("fault", [ours, ours_too])
def test_our_own_faults_are_not_taken_for_the_dumps(fault: Callable[[], object]) -> None:
    for guard in (as_bad_input, optional_step):
        with pytest.raises((AttributeError, AssertionError)), guard():
            fault()
