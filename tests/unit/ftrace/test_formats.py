"""tracefs's own descriptions: format files and events/header_page."""

from __future__ import annotations

import pytest

from zaptrace.ftrace.formats import TraceField, fields_of, parse_format, parse_header_page
from zaptrace.model.errors import BadInput

KPROBE = """\
name: zt2_bad_page_712
ID: 1502
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;
\tfield:u64 page;\toffset:16;\tsize:8;\tsigned:0;
\tfield:s32 raw_mapcount;\toffset:24;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] reason;\toffset:28;\tsize:4;\tsigned:1;
\tfield:u64 words[2];\toffset:32;\tsize:16;\tsigned:0;

print fmt: "(%lx) page=0x%Lx", REC->__probe_ip, REC->page
"""
HEADER_PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""


def test_a_kprobe_events_format() -> None:
    form = parse_format(KPROBE)
    assert form.id == 1502
    assert form.fields["page"] == TraceField(16, 8)
    assert form.fields["raw_mapcount"] == TraceField(24, 4, signed=True)
    assert form.fields["reason"] == TraceField(28, 4, signed=True, dynamic=True)
    assert "words" not in form.fields, "no integer"
    assert form.size == 32
    assert fields_of(KPROBE)["words"] == TraceField(32, 16)


def test_the_header_of_a_sub_buffer() -> None:
    header = parse_header_page(HEADER_PAGE)
    assert (header.stamp, header.commit) == (TraceField(0, 8), TraceField(8, 8, signed=True))
    assert (header.data_at, header.size) == (16, 4096)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n".join(HEADER_PAGE.splitlines()[:3]),
        HEADER_PAGE.replace("offset:16", "offset:4"),
        HEADER_PAGE.replace("offset:8;\tsize:8", "offset:8;\tsize:2"),
        HEADER_PAGE.replace("size:4080", "size:9999999"),
    ],
)
def test_what_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_header_page(text)


@pytest.mark.parametrize("text", ["", "ID: 5\n", KPROBE.replace("ID:", "Id:")])
def test_what_is_no_format_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_format(text)
