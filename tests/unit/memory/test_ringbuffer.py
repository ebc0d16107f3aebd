"""The ring buffer read from memory built here by the kernel's own rules, on both byte orders."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import drgn
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zaptrace.ftrace.subbuffers import CpuRing
from zaptrace.memory.ringbuffer import read_rings

PAGE_SIZE = 512
HEAD, UPDATE = 1, 2  # RB_PAGE_HEAD, RB_PAGE_UPDATE
ARCHES = {"s390x": drgn.Architecture.S390X, "x86_64": drgn.Architecture.X86_64}
NODE, LIST, LONG, POINTER = 64, 0, 8, 8  # bytes of a buffer_page; offsets and sizes below
CPU_BUFFER, CPU_BUFFERS, BUFFER = 0x100, 0x200, 0x240


@dataclass
class Kernel:
    """A kernel's memory with one CPU's ring buffer in it.

    Attributes:
        pages: payload bytes of each ring page, in the ring's order.
        reader: payload bytes of the reader page.
        head, commit: index of those pages in the ring; commit None: the reader page.
    """

    arch: str
    pages: list[bytes]
    reader: bytes = b""
    head: int = 0
    commit: int | None = 0
    consumed: int = 0
    stamp: int = 1000
    counters: tuple[int, int, int] = (0, 0, 0)
    flag: int = HEAD
    memory: bytearray = field(default_factory=lambda: bytearray(0x10000))

    @property
    def order(self) -> str:
        return ">" if self.arch == "s390x" else "<"

    def put(self, at: int, kind: str, *values: int) -> None:
        struct.pack_into(self.order + kind, self.memory, at, *values)

    def node(self, index: int) -> int:
        return 0x400 + index * NODE

    def build(self) -> drgn.Program:
        count = len(self.pages)
        for index, content in enumerate([*self.pages, self.reader]):
            node, data = self.node(index), 0x2000 + index * PAGE_SIZE
            if index < count:
                after = (index + 1) % count
                mark = self.flag if after == self.head else 0
                self.put(node, "QQ", self.node(after) | mark, self.node((index - 1) % count))
            self.put(node + 16, "QI", 0, self.consumed if index == count else 0)
            self.put(node + 32, "Q", data)
            self.put(data, "QQ", self.stamp + index, len(content))
            self.memory[data + 16 : data + 16 + len(content)] = content
        commit = count if self.commit is None else self.commit
        places = (self.head, commit, count)
        self.put(CPU_BUFFER, "3Q3Q", *(self.node(one) for one in places), *self.counters)
        self.put(CPU_BUFFERS, "Q", CPU_BUFFER)
        self.put(BUFFER, "IIQ", 1, 0, CPU_BUFFERS)
        return self.program()

    def program(self) -> drgn.Program:
        prog = drgn.Program(drgn.Platform(ARCHES[self.arch]))
        prog.add_memory_segment(
            0, len(self.memory), lambda _, count, at, __: bytes(self.memory[at : at + count])
        )
        types = _types(prog)
        prog.register_type_finder("fake", lambda _, __, name, ___: types.get(name), enable_index=0)
        constants = {"PAGE_SIZE": PAGE_SIZE}
        prog.register_object_finder(
            "fake",
            lambda prog, name, _, __: (
                drgn.Object(prog, types["long"], constants[name]) if name in constants else None
            ),
            enable_index=0,
        )
        return prog

    def rings(self) -> list[CpuRing]:
        prog = self.build()
        return rings_of(prog)


def rings_of(prog: drgn.Program) -> list[CpuRing]:
    pointer = prog.pointer_type(prog.type("struct trace_buffer"))
    return list(read_rings(prog, drgn.Object(prog, pointer, BUFFER)))


def _types(prog: drgn.Program) -> dict[str, drgn.Type]:
    """The structures as 6.1 has them, with the members that count, in another order."""
    long = prog.int_type("long", 8, True)
    ulong = prog.int_type("unsigned long", 8, False)
    uint = prog.int_type("unsigned int", 4, False)
    char = prog.int_type("unsigned char", 1, False)

    def struct_of(tag: str, size: int, **members: tuple[drgn.Type, int]) -> drgn.Type:
        return prog.struct_type(
            tag,
            size,
            [drgn.TypeMember(kind, name, at * 8) for name, (kind, at) in members.items()],
        )

    def pointer(kind: drgn.Type) -> drgn.Type:
        return prog.pointer_type(kind)

    counter = struct_of("", 8, counter=(long, 0))
    local = struct_of("", 8, a=(counter, 0))
    head = struct_of("list_head", 16, next=(pointer(prog.void_type()), 0), prev=(ulong, 8))
    data = struct_of(
        "buffer_data_page",
        16,
        time_stamp=(ulong, 0),
        commit=(local, 8),
        data=(prog.array_type(char), 16),
    )
    page = struct_of(
        "buffer_page",
        NODE,
        list=(head, LIST),
        write=(local, 16),
        read=(uint, 24),
        page=(pointer(data), 32),
    )
    names = ("head_page", "commit_page", "reader_page")
    ring = struct_of(
        "ring_buffer_per_cpu",
        48,
        **{name: (pointer(page), 8 * at) for at, name in enumerate(names)},
        overrun=(local, 24),
        commit_overrun=(local, 32),
        dropped_events=(local, 40),
    )
    buffer = struct_of("trace_buffer", 16, cpus=(uint, 0), buffers=(pointer(pointer(ring)), 8))
    return {"long": long} | {kind.tag: kind for kind in (data, page, ring, buffer)}


def event(arch: str, kind: int, delta: int, *words: int) -> bytes:
    """struct ring_buffer_event: type_len:5, time_delta:27, then its words."""
    bits = kind << 27 | delta if arch == "s390x" else delta << 5 | kind
    order = ">" if arch == "s390x" else "<"
    return struct.pack(f"{order}{1 + len(words)}I", bits, *words)


def short(arch: str, delta: int, *words: int) -> bytes:
    return event(arch, len(words), delta, *words)


def long(arch: str, delta: int, *words: int) -> bytes:
    return event(arch, 0, delta, 4 + 4 * len(words), *words)


def contents(ring: CpuRing, order: str) -> list[tuple[int, tuple[int, ...]]]:
    """Stamp and words of every record."""
    raw = ring.data.tobytes()
    return [
        (stamp, struct.unpack_from(f"{order}{size // 4}I", raw, start))
        for start, size, stamp in zip(
            ring.starts.tolist(), ring.sizes.tolist(), ring.stamps.tolist(), strict=True
        )
    ]


both = pytest.mark.parametrize("arch", ARCHES)


@both
def test_reader_page_first_then_from_head_to_commit(arch: str) -> None:
    pages = [short(arch, 1, 100 + index) for index in range(5)]
    kernel = Kernel(arch, pages, reader=short(arch, 1, 99), head=3, commit=0)
    (ring,) = kernel.rings()
    assert ring.damage == []
    # Page 1 and 2 are free: written long ago, or never.
    assert contents(ring, kernel.order) == [
        (1000 + 5 + 1, (99,)),
        (1000 + 3 + 1, (103,)),
        (1000 + 4 + 1, (104,)),
        (1000 + 0 + 1, (100,)),
    ]


@both
def test_a_head_pointer_that_lags_is_corrected_by_the_flag(arch: str) -> None:
    kernel = Kernel(arch, [short(arch, 0, index) for index in range(4)], head=2, commit=3)
    prog = kernel.build()
    kernel.put(CPU_BUFFER, "Q", kernel.node(0))  # the CPU was about to move it
    assert [words for _, words in contents(rings_of(prog)[0], kernel.order)] == [(2,), (3,)]


@both
def test_a_head_being_moved_is_found_too(arch: str) -> None:
    pages = [short(arch, 0, index) for index in range(3)]
    (ring,) = Kernel(arch, pages, head=1, commit=2, flag=UPDATE).rings()
    assert [words for _, words in contents(ring, ">" if arch == "s390x" else "<")] == [(1,), (2,)]


@both
def test_writing_still_on_the_reader_page(arch: str) -> None:
    kernel = Kernel(arch, [b"", b""], reader=short(arch, 7, 1, 2), commit=None)
    assert contents(kernel.rings()[0], kernel.order) == [(1000 + 2 + 7, (1, 2))]


@both
def test_what_a_reader_consumed_is_not_reported_again_but_counts_for_time(arch: str) -> None:
    first, second = short(arch, 5, 1), short(arch, 6, 2)
    kernel = Kernel(arch, [b"", b""], reader=first + second, commit=None, consumed=len(first))
    assert contents(kernel.rings()[0], kernel.order) == [(1000 + 2 + 11, (2,))]


@both
def test_every_kind_of_record(arch: str) -> None:
    absolute = (0x7 << 27) + 5
    page = b"".join(
        (
            short(arch, 10, 1),
            event(arch, 30, 3, 2),  # time extend: 3 + 2 * 2^27
            long(arch, 4, *range(40)),  # too long for type_len
            event(arch, 29, 9, 4 + 8, 0, 0),  # discarded, 8 bytes: its time does not count
            short(arch, 1, 3),
            event(arch, 31, 5, 0x7),  # absolute
            short(arch, 2, 4),
            event(arch, 31, 6, 0x0),  # absolute, and the high bits have moved on
            short(arch, 2, 5),
            event(arch, 29, 0),  # the rest of the page is padding
            short(arch, 50, 666),
        )
    )
    high = 0xA800000000000000  # the 5 highest bits, which an absolute stamp lacks
    kernel = Kernel(arch, [page], stamp=high, reader=b"")
    after = high + 10 + 3 + (2 << 27) + 4
    assert contents(kernel.rings()[0], kernel.order) == [
        (high + 10, (1,)),
        (after, tuple(range(40))),
        (after + 1, (3,)),
        (high + absolute + 2, (4,)),
        (high + (1 << 59) + 6 + 2, (5,)),
    ]


@both
def test_what_was_lost_is_counted(arch: str) -> None:
    (ring,) = Kernel(arch, [b"", b""], counters=(3, 20, 100)).rings()
    assert ring.lost == 123
    assert len(ring.starts) == 0


@both
@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("beyond", "a record of 400 bytes"),
        ("tiny", "a record of -4 bytes"),
        ("odd", "a record of 3 bytes"),
    ],
)
def test_a_record_that_leaves_its_page_ends_the_reading(
    arch: str, page: str, complaint: str
) -> None:
    bad = {
        "beyond": event(arch, 0, 1, 404, 1),
        "tiny": event(arch, 0, 1, 0, 1),
        "odd": event(arch, 0, 1, 7, 1),
    }[page]
    pages = [short(arch, 1, 7), short(arch, 1, 8) + bad, short(arch, 1, 9)]
    kernel = Kernel(arch, pages, commit=2)
    (ring,) = kernel.rings()
    assert [words for _, words in contents(ring, kernel.order)] == [(7,), (8,)]
    assert ring.damage == [f"CPU 0: {complaint} at byte 8 of a page"]


@both
def test_a_page_that_claims_more_than_it_holds_ends_the_reading(arch: str) -> None:
    kernel = Kernel(arch, [short(arch, 1, 7), short(arch, 1, 8)], commit=1)
    prog = kernel.build()
    kernel.put(0x2000 + PAGE_SIZE + 8, "Q", PAGE_SIZE)
    (ring,) = rings_of(prog)
    assert [words for _, words in contents(ring, kernel.order)] == [(7,)]
    assert ring.damage == ["CPU 0: a page claims 512 bytes of records"]


@both
def test_a_ring_that_runs_in_a_circle_or_out_of_memory_ends(arch: str) -> None:
    kernel = Kernel(arch, [short(arch, 1, index) for index in range(4)], commit=3)
    prog = kernel.build()
    kernel.put(kernel.node(1), "Q", kernel.node(1))
    (ring,) = rings_of(prog)
    assert [words for _, words in contents(ring, kernel.order)] == [(0,), (1,)]
    assert ring.damage == ["CPU 0: the ring does not lead to its commit page"]
    kernel.put(kernel.node(1), "Q", 0xDEAD0000)
    (ring,) = rings_of(prog)
    assert [words for _, words in contents(ring, kernel.order)] == [(0,), (1,)]
    assert "0xdead0000" in ring.damage[0]
    for index in range(4):
        kernel.put(kernel.node(index), "Q", kernel.node((index + 1) % 4))  # no flag anywhere
    (ring,) = rings_of(prog)
    assert ring.damage == ["CPU 0: the ring has no head page"]


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(ARCHES)))
def test_nothing_in_memory_can_make_it_fail_or_loop(data: st.DataObject, arch: str) -> None:
    pages = [short(arch, 1, index) * 20 + event(arch, 29, 0) for index in range(6)]
    kernel = Kernel(arch, pages, reader=long(arch, 1, 1, 2, 3), head=2, commit=1)
    prog = kernel.build()
    limits = st.integers(CPU_BUFFER, 0x2000 + 8 * PAGE_SIZE - 8)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(limits)
        if not CPU_BUFFERS <= at < kernel.node(0):  # how to get to the ring stays
            kernel.put(at, "Q", data.draw(st.integers(0, 2**64 - 1)))
    for ring in rings_of(prog):
        assert len(ring.starts) <= 7 * PAGE_SIZE // 4
        assert (ring.starts + ring.sizes <= len(ring.data)).all()
