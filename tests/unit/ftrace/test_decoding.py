"""Trace records to events: every field by its own format, nothing believed."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.ftrace.decoding import Decoder
from zaptrace.ftrace.formats import TraceField, TraceFormat
from zaptrace.ftrace.subbuffers import CpuRing
from zaptrace.model.events import ABSENT, ABSENT_I32, Kind
from zaptrace.model.plan import ProbeArg, ProbeSite

RMAP, BAD_PAGE, STACK, OTHER = 1500, 1501, 4, 77
SITE = 0x230C10
CALLER = 0x21B0E4
PAGE = ProbeArg("%r2", "x64")


def field(offset: int, size: int, *, signed: bool = False, dynamic: bool = False) -> TraceField:
    return TraceField(offset, size, signed, dynamic)


SITES = {
    RMAP: (
        ProbeSite(
            "rmap_remove",
            "page_remove_rmap",
            0,
            SITE,
            False,
            None,
            {
                "page": PAGE,
                "raw_mapcount": ProbeArg("+48(%r2)", "s32"),
                "addr": ProbeArg("%r8", "x64", addend=-4096),
                "tlb": ProbeArg("%r9", "x64"),
                "caller": ProbeArg("%r14", "x64"),
            },
        ),
        TraceFormat(
            RMAP,
            {
                "__probe_ip": field(8, 8),
                "page": field(16, 8),
                "raw_mapcount": field(24, 4, signed=True),
                "addr": field(28, 8),
                "comm": field(36, 4, dynamic=True),
                "caller": field(40, 8),
            },
        ),
    ),
    BAD_PAGE: (
        ProbeSite(
            "bad_page",
            "bad_page",
            0,
            SITE + 0x100,
            False,
            None,
            {"reason": ProbeArg("+0(%r3)", "string"), "order": ProbeArg("%r4", "u32")},
        ),
        TraceFormat(
            BAD_PAGE,
            {
                "__probe_ip": field(8, 8),
                "reason": field(16, 4, dynamic=True),
                "order": field(20, 4),
                "comm": field(24, 4, dynamic=True),
            },
        ),
    ),
}


def decoder(order: str) -> Decoder:
    return Decoder(order, SITES, pid_at=4, stack_type=STACK, depth_at=8, stack_at=16)


def ring(payloads: list[bytes], cpu: int = 1) -> CpuRing:
    sizes = np.array([len(one) for one in payloads], np.int64)
    starts = np.cumsum(sizes) - sizes
    data = np.frombuffer(b"".join(payloads), np.uint8)
    stamps = np.arange(len(payloads), dtype=np.uint64) + 5000
    return CpuRing(cpu, data, starts, sizes, stamps)


def head(order: str, kind: int, pid: int) -> bytes:
    """struct trace_entry: type, flags, preempt_count, pid."""
    return struct.pack(order + "HBBi", kind, 1, 0, pid)


def text(at: int, content: bytes) -> int:
    """__data_loc of a string with its NUL."""
    return len(content) + 1 << 16 | at


def rmap(order: str, pid: int, raw_mapcount: int, comm: bytes = b"zapwork") -> bytes:
    fixed = struct.pack(
        order + "QQiQIQ",
        *(SITE, 0x3720001A3C0, raw_mapcount, 0x3FF00001000, text(48, comm), CALLER),
    )
    return (head(order, RMAP, pid) + fixed + comm + b"\0").ljust(64, b"\xaa")


def bad_page(order: str, reason: bytes, comm: bytes = b"init", pid: int = 7) -> bytes:
    behind = 28 + len(reason) + 1
    fixed = struct.pack(order + "QIII", SITE + 0x100, text(28, reason), 3, text(behind, comm))
    raw = head(order, BAD_PAGE, pid) + fixed + reason + b"\0" + comm + b"\0"
    return raw + bytes(-len(raw) % 4)


def stack(order: str, pid: int, *addresses: int, depth: int | None = None) -> bytes:
    count = len(addresses) if depth is None else depth
    return head(order, STACK, pid) + struct.pack(
        f"{order}II{len(addresses)}Q", count, 0, *addresses
    )


both = pytest.mark.parametrize("order", ["<", ">"])


@both
def test_every_field_of_a_record(order: str) -> None:
    records = decoder(order).decode(ring([rmap(order, 30, -1), rmap(order, 31, 0, b"x" * 15)]))
    first = records[0]
    assert Kind(first["kind"]) is Kind.RMAP_REMOVE
    assert (first["clock"], first["cpu"], first["pid"], first["site"]) == (5000, 1, 30, SITE)
    assert (first["page"], first["raw_mapcount"]) == (0x3720001A3C0, -1)
    assert first["addr"] == 0x3FF00001000 - 4096, "the addend is applied when reading"
    assert (first["comm"], first["caller"]) == (b"zapwork", CALLER)
    assert (first["refcount"], first["vma"], first["tgid"]) == (ABSENT_I32, ABSENT, -1)
    assert (records[1]["raw_mapcount"], records[1]["comm"]) == (0, b"x" * 15)


def test_a_format_without_the_probes_address_gives_the_sites_own() -> None:
    site, form = SITES[RMAP]
    fields = {name: one for name, one in form.fields.items() if name != "__probe_ip"}
    moved = replace(site, address=SITE - 4)
    one = Decoder("<", {RMAP: (moved, TraceFormat(RMAP, fields))}, 4, STACK, 8, 16)
    records = one.decode(ring([rmap("<", 30, 0), stack("<", 30, SITE, 0x21AAAA)]))
    assert records["site"].tolist() == [SITE - 4]
    assert one.stacks[int(records[0]["stack"])] == (CALLER, 0x21AAAA)


@both
def test_reasons_are_interned_and_events_keep_their_order(order: str) -> None:
    one = decoder(order)
    records = one.decode(
        ring(
            [
                bad_page(order, b"nonzero mapcount"),
                rmap(order, 1, 0),
                head(order, OTHER, 1) + bytes(8),
                bad_page(order, b"nonzero _refcount"),
                bad_page(order, b"nonzero mapcount"),
            ]
        )
    )
    kinds = [Kind.BAD_PAGE, Kind.RMAP_REMOVE, Kind.BAD_PAGE, Kind.BAD_PAGE]
    assert [Kind(kind) for kind in records["kind"]] == kinds
    assert list(records["clock"]) == [5000, 5001, 5003, 5004]
    reasons = [one.strings.get(int(number)) for number in records["reason"]]
    assert reasons == ["nonzero mapcount", None, "nonzero _refcount", "nonzero mapcount"]
    assert list(records["order"]) == [3, 255, 3, 3]
    assert set(records["comm"]) == {b"init", b"zapwork"}


@both
@pytest.mark.parametrize(
    "addresses",
    [
        (0x21AAAA, 0x11BBBB),
        (SITE + 2, 0x21AAAA, 0x11BBBB),  # the probed instruction first
        (0x1111, 0x2222, SITE + 2, 0x21AAAA, 0x11BBBB),  # the probe's own handling first
        (SITE + 2, CALLER, 0x21AAAA, 0x11BBBB),  # the caller had a frame already
    ],
)
def test_a_stack_is_return_addresses_from_the_caller_on(
    order: str, addresses: tuple[int, ...]
) -> None:
    one = decoder(order)
    records = one.decode(ring([rmap(order, 30, 0), stack(order, 30, *addresses)]))
    assert one.stacks[int(records[0]["stack"])] == (CALLER, 0x21AAAA, 0x11BBBB)


@both
def test_stacks_belong_to_the_record_before_and_the_same_thread(order: str) -> None:
    one = decoder(order)
    payloads = [
        stack(order, 30, 1),  # its event was overwritten
        rmap(order, 30, 0),
        stack(order, 31, 2),  # another stack
        rmap(order, 30, 0),
        head(order, OTHER, 30) + bytes(8),
        stack(order, 30, 3),  # the other event's
        rmap(order, 30, 0),
        stack(order, 30, 4),
    ]
    records = one.decode(ring(payloads))
    assert [one.stacks.get(int(number)) for number in records["stack"]] == [
        None,
        None,
        (CALLER, 4),
    ]


@both
def test_a_depth_that_lies_is_cut_to_the_record(order: str) -> None:
    one = decoder(order)
    records = one.decode(ring([rmap(order, 30, 0), stack(order, 30, 8, 9, depth=2**32 - 1)]))
    assert one.stacks[int(records[0]["stack"])] == (CALLER, 8, 9)


@both
def test_strings_that_point_out_of_their_record_are_cut(order: str) -> None:
    one = decoder(order)
    raw = bytearray(bad_page(order, b"reason"))
    struct.pack_into(order + "I", raw, 16, 0xFFFF << 16 | 28)
    struct.pack_into(order + "I", raw, 24, 0xFFFF << 16 | 0xFFFF)
    records = one.decode(ring([bytes(raw), b"\0" * 4]))
    assert one.strings[int(records[0]["reason"])] == "reason"
    assert records[0]["comm"] == b""


@both
def test_records_too_short_for_their_event_are_counted_and_left_out(order: str) -> None:
    one = decoder(order)
    payloads = [rmap(order, 1, 5), rmap(order, 1, 6)[:44], head(order, RMAP, 1)[:4], b""]
    records = one.decode(ring(payloads))
    assert list(records["raw_mapcount"]) == [5]
    assert one.short == 1


def test_an_empty_ring_gives_no_records() -> None:
    assert len(decoder("<").decode(ring([]))) == 0


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=100),
            st.tuples(
                st.sampled_from([RMAP, BAD_PAGE, STACK]), st.binary(min_size=6, max_size=120)
            ).map(lambda pair: struct.pack("<H", pair[0]) + pair[1]),
        ),
        max_size=8,
    )
)
def test_nothing_in_a_ring_can_make_it_fail(payloads: list[bytes]) -> None:
    one = decoder("<")
    records = one.decode(ring(payloads))
    assert len(records) <= len(payloads)
    assert set(records["reason"]) <= {0, *one.strings}
    assert set(records["stack"]) <= {0, *one.stacks}
