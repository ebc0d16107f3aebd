"""Where a VMA maps a page, by the page's index."""

from __future__ import annotations

from types import SimpleNamespace

import drgn
import pytest

from tests.unit.audit.partial import partial
from zaptrace.audit.rmap import Owners, Place
from zaptrace.audit.state import KernelState

MM = 0x129F800
SINCE_7 = ("__vm_anon_pgoff_lo", "__vm_anon_pgoff_hi")


def vma(**members: int) -> drgn.Object:
    """A struct vm_area_struct that has these members alone."""
    prog = drgn.Program(drgn.Platform(drgn.Architecture.S390X))
    word = prog.int_type("unsigned long", 8, False)
    half = prog.int_type("unsigned int", 4, False)
    types = {name: half if name in SINCE_7 else word for name in members}
    area = prog.struct_type(
        "vm_area_struct",
        8 * len(members),
        [drgn.TypeMember(types[name], name, at * 64) for at, name in enumerate(members)],
    )
    return drgn.Object(prog, area, value=members)


def owners() -> Owners:
    state = partial(
        KernelState,
        mms=[SimpleNamespace(address=MM)],
        counted=[],
        walked=SimpleNamespace(large=0),
        fmt=SimpleNamespace(page_shift=12),
    )
    return Owners(state)


# /bin/victim's .data, as a boot of 7.3.4 on s390x was stopped in a COW of its second page.
BEFORE_7 = {"vm_mm": MM, "vm_start": 0x1091000, "vm_end": 0x1094000, "vm_pgoff": 0x91}
OF_7_3 = BEFORE_7 | {"__vm_anon_pgoff_lo": 0x1091, "__vm_anon_pgoff_hi": 0}


@pytest.mark.parametrize(("members", "index"), [(BEFORE_7, 0x92), (OF_7_3, 0x1092)])
def test_a_copy_of_a_file_s_page_has_an_index_of_its_own(
    members: dict[str, int], index: int
) -> None:
    """Else a page whose COW is under way is found in no VMA, and looks leaked."""
    here = [Place(0, 0x1092000)]
    assert owners().places(vma(**members), index, anonymous=True) == here
    assert owners().places(vma(**members), 0x92, anonymous=False) == here


def test_an_index_beyond_the_vma_is_nowhere_in_it() -> None:
    assert not owners().places(vma(**OF_7_3), 0x92, anonymous=True)
    assert not owners().places(vma(**OF_7_3), 0x1092, anonymous=False)
