"""What the tests of this package are built from."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from hypothesis import strategies as st

from tests.sentences import sentences
from zaptrace import demo
from zaptrace.capture.reader import read
from zaptrace.model.findings import Finding, FindingClass, Owner
from zaptrace.model.pte_window import TableWindow
from zaptrace.model.verdict import CodeSite, OrderStep, Verdict, VerdictKind
from zaptrace.report.html.page import page
from zaptrace.report.run_info import RunInfo
from zaptrace.report.source_excerpt import Excerpt, Sources

VERDICT = Verdict(
    VerdictKind.FREED_BEFORE_RMAP_REMOVED,
    sentences(
        "mount/41 freed pfn 0x1f3c5 while it was still counted as mapped (mapcount 1, refcount 0)."
    ),
    0x1F3C5,
    "mount",
    41,
    (
        OrderStep("zap_pte_range() begins", 1_204_000_000, 0, 41, evidence="event"),
        OrderStep("the page is handed to the allocator", 1_204_085_200, 0, 41, 0, 0, "event"),
        OrderStep("bad_page() refuses it: nonzero mapcount", None, 0, 41, evidence="registers"),
    ),
    (
        CodeSite(
            "unmap_page_range",
            0xD64,
            "include/asm-generic/tlb.h:460",
            (
                "__tlb_remove_page at include/asm-generic/tlb.h:460",
                "try_zap_anon_pte_range at mm/memory.c:1447",
                "zap_pte_range at mm/memory.c:1499",
            ),
            "freed",
            0x21B0E4,
        ),
    ),
    (
        Finding(
            FindingClass.MORE_MAPCOUNT_THAN_PTES,
            0x1F3C5,
            0,
            1,
            0,
            ("referenced", "uptodate", "swapbacked"),
            (Owner(41, "mount", 0x3FFD5A7F000, "3ffd5a60000-3ffd5a81000 rw-p [stack]"),),
        ),
    ),
    ("The kernel was stopped before the rmap removal.",),
    ("capture",),
    ("2 more pages: mapping_leaked",),
)


INFO = RunInfo(
    run="/var/tmp/run",
    arch="s390x",
    kernel_release="6.1.176-zaptrace",
    build_id="ab" * 20,
    machine="s390-ccw-virtio, 512M, 2 CPUs, TCG",
    command="zaptrace repro s390x",
    ended="bad_page",
    events=1234,
    lost=7,
    findings=1,
    timing={"boot": 1.61},
)


TEXTS = st.text(max_size=120)


NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**64))


FINDINGS = st.builds(
    Finding,
    st.sampled_from(FindingClass),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(TEXTS, max_size=4).map(tuple),
    st.lists(st.builds(Owner, NUMBERS, TEXTS, NUMBERS, TEXTS), max_size=3).map(tuple),
    note=TEXTS,
)


VERDICTS = st.builds(
    Verdict,
    st.sampled_from(VerdictKind),
    st.lists(TEXTS, max_size=2).map(lambda texts: sentences(*texts)),
    NUMBERS,
    TEXTS,
    NUMBERS,
    st.lists(st.builds(OrderStep, TEXTS, NUMBERS, NUMBERS), max_size=4).map(tuple),
    st.lists(
        st.builds(
            CodeSite,
            TEXTS,
            NUMBERS,
            TEXTS,
            st.lists(TEXTS, max_size=3).map(tuple),
            st.sampled_from(("freed", "reported", None)),
        ),
        max_size=3,
    ).map(tuple),
    st.lists(FINDINGS, max_size=2).map(tuple),
    st.lists(TEXTS, max_size=3).map(tuple),
)


INFOS = st.builds(
    RunInfo,
    run=TEXTS,
    arch=TEXTS,
    kernel_release=TEXTS,
    machine=TEXTS,
    splat=st.lists(TEXTS, max_size=4).map(tuple),
    timing=st.dictionaries(TEXTS, st.floats(0, 1e9), max_size=3),
)


HOSTILE = (
    "</pre><script>document.title='owned'</script><img src=http://127.0.0.1:9/x>\"'\x1b[2J\u202e"
)


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section"),
    *("div", "dl", "dt", "dd", "h1", "h2", "h3", "p", "pre", "code", "span", "table", "tr", "th"),
    *("details", "summary", "strong"),
    *("td", "ul", "li", "svg", "line", "text", "tspan", "path", "circle", "rect"),
}


SOURCES = Sources(
    (
        Excerpt(
            "mm/memory.c",
            1445,
            ("if (a < b)", "\tx();", "\t__tlb_remove_page();"),
            {1447: "the page is freed"},
        ),
    ),
    ("mm/rmap.c is not shown: it is not in the tree.",),
)


WINDOW = TableWindow(
    0x1000, 4096, 0x3000, 7, (5, None, None, 7, *[None] * 124), range(0x1000, 0x5000)
)


class Reader(HTMLParser):
    """Elements, attributes and text; complains of what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def whole(verdict: Verdict = VERDICT, info: RunInfo = INFO) -> str:
    events = read(demo.path())
    return page(verdict, info, events=events, window=WINDOW, sources=SOURCES)


def hostile() -> str:
    order = (OrderStep(HOSTILE, 5, 0, 1, 0, 0, HOSTILE), *VERDICT.order)
    owner = dataclasses.replace(VERDICT.proof[0].mappings[0], comm=HOSTILE, vma=HOSTILE)
    proof = dataclasses.replace(VERDICT.proof[0], mappings=(owner,), flags=(HOSTILE,), note=HOSTILE)
    site = dataclasses.replace(VERDICT.sites[0], inline_chain=(f"{HOSTILE} at {HOSTILE}",))
    verdict = dataclasses.replace(
        *(VERDICT,),
        sentences=sentences(HOSTILE),
        comm=HOSTILE,
        order=order,
        proof=(proof,),
        sites=(site,),
        doubts=(HOSTILE,),
    )
    info = dataclasses.replace(
        INFO, splat=(HOSTILE,), unseen=(HOSTILE,), command=HOSTILE, qemu=HOSTILE, machine=HOSTILE
    )
    return whole(verdict, info)


def checked(text: str) -> Reader:
    """Only our own elements, and nothing that is fetched or run."""
    told = Reader(text)
    assert set(told.tags) <= TAGS
    names = {name for name, _ in told.attributes}
    assert not names & {"src", "href", "srcset", "action", "background"}
    assert not any(name.startswith("on") for name in names)
    assert "url(" not in text and "@import" not in text
    return told
