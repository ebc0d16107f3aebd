"""Which objects of a slab cache are allocated, in made-up memory of each layout."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import drgn
import numpy as np
import pytest
from drgn import Architecture, Platform, Program, Type, TypeMember

from tests.guest.perpage import no_call_per_page
from tests.unit.audit.page_layouts import LAYOUTS, Layout
from tests.unit.audit.struct_pages import BASE
from zaptrace.audit import slub
from zaptrace.audit.structpages.page_flags import Flags, of_type

SIZE, COUNT, NEXT = 0x200, 8, 0x40
"""Bytes of an object, objects of a slab, where a free one keeps its link."""
SECRET = 0x0123456789ABCDEF
DIRECT = 0xFFFF888000000000  # the direct map
CACHE, OTHER_CACHE = 0xFFFF888000100000, 0xFFFF888000100800
SLAB, OTHER_SLAB, TABLE = 5, 7, 9  # PFNs
TYPE_SLAB, TYPE_TABLE = 0xF5000000 - (1 << 32), 0xF2000000 - (1 << 32)

Members = dict[str, tuple[Type | Callable[[], drgn.Object], int]]


def of(number: int) -> int:
    """The address of one of the slab's objects."""
    return DIRECT + SLAB * 4096 + number * SIZE


class Kernel:
    """Types that a test names, and memory that it writes."""

    def __init__(self) -> None:
        self.prog = Program(Platform(Architecture.X86_64))
        self._types: dict[str, Type] = {}
        self._memory = bytearray(0x200000)
        self.prog.register_type_finder("made up", self._find, enable_index=0)
        self.prog.add_memory_segment(DIRECT, len(self._memory), self._read(DIRECT, self._memory))
        self.u64 = self.prog.int_type("unsigned long", 8, False)
        self.u32 = self.prog.int_type("unsigned int", 4, False)
        self.pointer = self.prog.pointer_type(self.prog.void_type())

    def struct(self, tag: str, size: int, members: Members) -> Type:
        made = [TypeMember(kind, name, bit_offset=at * 8) for name, (kind, at) in members.items()]
        self._types[tag] = self.prog.struct_type(tag, size, made)
        return self._types[tag]

    def to(self, kind: Type) -> Type:
        return self.prog.pointer_type(kind)

    def to_struct(self, tag: str) -> Callable[[], drgn.Object]:
        """A pointer to a type that is made later."""
        return lambda: drgn.Object(self.prog, self.to(self._types[tag]))

    def array(self, kind: Type, length: int | None) -> Type:
        return self.prog.array_type(kind, length)

    def words(self, address: int, *words: int) -> None:
        struct.pack_into(f"<{len(words)}Q", self._memory, address - DIRECT, *words)

    def pages(self, raw: Any) -> None:
        """The array of struct pages."""
        data = raw.tobytes()
        self.prog.add_memory_segment(BASE, len(data), self._read(BASE, data))

    def _find(self, _: Program, kinds: Any, name: str, __: str | None) -> Type | None:
        return self._types.get(name) if drgn.TypeKind.STRUCT in kinds else None

    @staticmethod
    def _read(base: int, memory: bytes | bytearray) -> Callable[[int, int, int, bool], bytes]:
        return lambda address, count, offset, physical: bytes(memory[offset : offset + count])


def free(kernel: Kernel, *numbers: int) -> int:
    """Link some objects into a hardened freelist; its start."""
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        at = of(number) + NEXT
        swapped = int.from_bytes(at.to_bytes(8, "little"), "big")
        kernel.words(at, (0 if following is None else of(following)) ^ SECRET ^ swapped)
    return of(numbers[0])


def add_cpu_slab(kernel: Kernel, members: Members) -> None:
    """Each CPU's own freelist: object 3 on CPU 1."""
    kind = kernel.struct("kmem_cache_cpu", 8, {"freelist": (kernel.pointer, 0)})
    members["cpu_slab"] = kernel.to(kind), 0
    kernel.words(CACHE, DIRECT + 0x1000)
    kernel.words(DIRECT + 0x1000, 0, free(kernel, 3))


def add_sheaves(kernel: Kernel, members: Members) -> Type:
    """Objects 4 and 5 on CPU 0, in main and spare; 6 in a full one in the barn.

    Returns:
        The barn's pointer type; the barn is at DIRECT + 0x4000.
    """
    link = kernel.struct("list_head", 16, {"next": (kernel.to_struct("list_head"), 0)})
    objects = kernel.array(kernel.pointer, None)
    sheaf = kernel.struct(
        "slab_sheaf",
        32,
        {"barn_list": (link, 0), "size": (kernel.u32, 24), "objects": (objects, 32)},
    )
    one = kernel.to(sheaf)
    mine = kernel.struct("slub_percpu_sheaves", 16, {"main": (one, 0), "spare": (one, 8)})
    members["cpu_sheaves"] = kernel.to(mine), 8
    kernel.words(CACHE + 8, DIRECT + 0x2000)
    main, spare, full, barn = (DIRECT + at for at in (0x3000, 0x3100, 0x3200, 0x4000))
    kernel.words(DIRECT + 0x2000, main, spare, main + 0x80, 0)
    kernel.words(main, 0, 0, 0, 1, of(4), of(7))  # after its size: what was there before
    kernel.words(main + 0x80, 0, 0, 0, 0, of(7))
    kernel.words(spare, 0, 0, 0, 1, of(5))
    kernel.words(barn, full, full)
    kernel.words(full, barn, barn, 0, 1, of(6))
    return kernel.to(kernel.struct("node_barn", 16, {"sheaves_full": (link, 0)}))


def slab_6_12(kernel: Kernel, members: Members) -> set[int]:
    add_cpu_slab(kernel, members)
    return {0, 1, 2, 3}


def slab_6_18(kernel: Kernel, members: Members) -> set[int]:
    add_cpu_slab(kernel, members)
    barn = add_sheaves(kernel, members)
    node = kernel.to(kernel.struct("kmem_cache_node", 8, {"barn": (barn, 0)}))
    members["node"] = kernel.array(node, 4), 64
    kernel.words(CACHE + 64, DIRECT + 0x5000, 0)
    kernel.words(DIRECT + 0x5000, DIRECT + 0x4000)
    return {0, 1, 2, 3, 4, 5, 6}


def slab_7_1(kernel: Kernel, members: Members) -> set[int]:
    barn = add_sheaves(kernel, members)
    node = kernel.struct(
        "kmem_cache_per_node_ptrs", 16, {"node": (kernel.pointer, 0), "barn": (barn, 8)}
    )
    members["per_node"] = kernel.array(node, 4), 64
    kernel.words(CACHE + 64, 0, DIRECT + 0x4000, 0, 0)
    return {0, 1, 2, 4, 5, 6}


def made(kernel: Kernel, layout: Any) -> tuple[drgn.Object, set[int]]:
    """The cache, and which of its objects are free: 0 to 2 are on the slab's own freelist."""
    order = kernel.struct("kmem_cache_order_objects", 4, {"x": (kernel.u32, 0)})
    members: Members = {
        "size": (kernel.u32, 16),
        "offset": (kernel.u32, 20),
        "oo": (order, 24),
        "random": (kernel.u64, 32),
    }
    kernel.words(CACHE + 16, SIZE | NEXT << 32, COUNT, SECRET)
    gone: set[int] = layout(kernel, members)
    kind = kernel.struct("kmem_cache", 256, members)
    slab: Members = {
        "slab_cache": (kernel.to(kind), 8),
        "freelist": (kernel.pointer, 32),
        "objects": (kernel.u32, 40),
    }
    kernel.struct("slab", 64, slab)
    kernel.struct("page", 64, {})
    return drgn.Object(kernel.prog, kernel.to(kind), value=CACHE), gone


def struct_pages(kernel: Kernel, layout: Layout) -> Any:
    memory = layout.pages(64)
    raw = memory.raw
    for pfn, owner in ((SLAB, CACHE), (OTHER_SLAB, OTHER_CACHE)):
        raw["raw_mapcount"][pfn] = TYPE_SLAB
        raw["compound_head"][pfn] = owner
        raw["index"][pfn] = free(kernel, 0, 1, 2)
        raw["private"][pfn] = COUNT
    # What overlies slab_cache in a page of another type means something else.
    raw["raw_mapcount"][TABLE] = TYPE_TABLE
    raw["compound_head"][TABLE] = CACHE
    kernel.pages(raw)
    return memory.gathered()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """What drgn's helpers need a whole kernel for is replaced; a walk page by page fails."""
    made_up = Kernel()
    monkeypatch.setattr(slub, "for_each_possible_cpu", lambda _: range(2))
    monkeypatch.setattr(slub, "per_cpu_ptr", lambda pointer, cpu: pointer + cpu)
    monkeypatch.setattr(slub, "nr_node_ids", lambda _: 2)
    monkeypatch.setattr(slub, "page_to_virt", lambda page: direct(made_up, page.value_()))
    with no_call_per_page():
        yield made_up


def direct(kernel: Kernel, page: int) -> drgn.Object:
    return drgn.Object(kernel.prog, kernel.pointer, value=DIRECT + (page - BASE) // 64 * 4096)


FLAGS = Flags(slab=None, swapbacked=17, buddy=-(1 << 28), slab_type=TYPE_SLAB)


@pytest.mark.parametrize("layout", [slab_6_12, slab_6_18, slab_7_1])
def test_objects_on_no_list_of_free_ones_are_allocated_and_no_page_is_asked_for(
    kernel: Kernel, layout: Any
) -> None:
    cache, gone = made(kernel, layout)
    pages, gaps = struct_pages(kernel, LAYOUTS["6.12"]), Counter[str]()
    found = slub.allocated_objects(cache, pages, FLAGS, gaps)
    assert found == [of(number) for number in range(COUNT) if number not in gone]
    assert not gaps


@pytest.mark.parametrize("layout", [slab_6_12, slab_6_18, slab_7_1])
def test_a_slab_has_as_many_objects_in_use_as_are_on_no_list(kernel: Kernel, layout: Any) -> None:
    cache, gone = made(kernel, layout)
    struct_pages(kernel, LAYOUTS["6.12"])
    slab = drgn.Object(cache.prog_, "struct slab *", value=BASE + 64 * SLAB)
    assert slub.allocated_in(slab) == (COUNT - len(gone), COUNT)


def test_where_a_list_cannot_be_read_it_is_not_known_how_many_are_in_use(kernel: Kernel) -> None:
    cache, _ = made(kernel, slab_6_18)
    kernel.words(CACHE, 0xFFFF999000000000)
    struct_pages(kernel, LAYOUTS["6.12"])
    slab = drgn.Object(cache.prog_, "struct slab *", value=BASE + 64 * SLAB)
    with pytest.raises(drgn.FaultError):
        slub.allocated_in(slab)


def test_a_list_that_cannot_be_read_is_reported(kernel: Kernel) -> None:
    cache, _ = made(kernel, slab_6_18)
    kernel.words(CACHE, 0xFFFF999000000000, 0xFFFF999000000000)  # not in the dump
    pages, gaps = struct_pages(kernel, LAYOUTS["6.12"]), Counter[str]()
    found = slub.allocated_objects(cache, pages, FLAGS, gaps)
    assert found == [of(number) for number in range(3, COUNT)]
    assert gaps == {slub.UNREADABLE: 3}


def test_sheaves_linked_in_a_circle_end(kernel: Kernel) -> None:
    cache, gone = made(kernel, slab_7_1)
    full = DIRECT + 0x3200
    kernel.words(full, full, full)
    kernel.words(full + 24, 0xFFFFFFFF)
    pages = struct_pages(kernel, LAYOUTS["6.12"])
    found = slub.allocated_objects(cache, pages, FLAGS, Counter())
    assert not gone & {number for number in range(COUNT) if of(number) in found}


def test_a_type_may_carry_a_number_of_its_own_where_types_fill_the_top_byte() -> None:
    raw = np.array([TYPE_SLAB, TYPE_SLAB + 7, TYPE_TABLE, -1, 0], np.int32)
    assert of_type(raw, TYPE_SLAB).tolist() == [True, True, False, False, False]
    old = ~0x1000  # PG_slab of 6.10
    assert of_type(np.array([old, old - 1], np.int32), old).tolist() == [True, False]
