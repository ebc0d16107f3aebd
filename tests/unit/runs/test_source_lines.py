"""Source lines out of a linked file alone, against the source that it was compiled of."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import drgn
import pytest

from zaptrace.explain.kernel_functions import is_clearing
from zaptrace.memory.resolve import code_site
from zaptrace.memory.vmlinux import open_vmlinux
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind
from zaptrace.runs.source_lines import addressed, sharpened

SOURCE = """\
typedef struct { unsigned long pte; } pte_t;
#define inlined static inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
volatile unsigned long sink;

inlined pte_t ptep_get_and_clear_full(volatile pte_t *at)
{
	pte_t old = { at->pte };
	at->pte = 0;
	sink++;
	return old;
}

noinline void free_unref_page(unsigned long page)
{
	sink += page;
}

inlined void remove_one(volatile pte_t *at)
{
	pte_t old = ptep_get_and_clear_full(at); /* HELPER CLEARED */
	free_unref_page(old.pte); /* HELPER FREED */
}

inlined void zap_pte_range(volatile pte_t *at, int nr)
{
	for (; nr; nr--, at++) {
		pte_t old = ptep_get_and_clear_full(at); /* CLEARED */
#ifdef TWICE
		if (old.pte & 1)
			old = ptep_get_and_clear_full(at + 512);
#endif
		free_unref_page(old.pte); /* FREED */
#ifdef HELPER
		if (old.pte & 2)
			remove_one(at + 1024); /* HELPED */
#endif
	}
}

noinline void unmap_page_range(volatile pte_t *at, int nr)
{
	sink++;
	zap_pte_range(at, nr); /* ZAPPED */
	sink++;
}

noinline void zap_huge_pmd(volatile pte_t *at)
{
	pte_t old = ptep_get_and_clear_full(at);
	free_unref_page(old.pte);
	sink++;
}

void _start(void)
{
	unmap_page_range((volatile pte_t *)&sink, 3);
	zap_huge_pmd((volatile pte_t *)&sink);
}
"""


def line_of(mark: str) -> int:
    return next(at for at, line in enumerate(SOURCE.split("\n"), 1) if f"/* {mark} */" in line)


def compiled(folder: Path, *flags: str) -> Path:
    for program in ("gcc", "objdump"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: make setup")
    (folder / "memory.c").write_text(SOURCE)
    out = folder / "vmlinux"
    argv = ["gcc", "-O2", "-g", "-static", "-nostdlib", "-no-pie", "-Wl,--build-id", *flags]
    subprocess.run([*argv, "-o", str(out), "memory.c"], check=True, cwd=folder)
    return out


def returns(vmlinux: Path, function: str, call: int = 0) -> tuple[int, int]:
    """Of a call of free_unref_page in a function: the bytes after it, the function's size."""
    argv = ["objdump", "-d", f"--disassemble={function}", str(vmlinux)]
    text = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    code = [int(one, 16) for one in re.findall(r"^ +([0-9a-f]+):\t", text, re.MULTILINE)]
    calls = re.findall(r"^ +([0-9a-f]+):\t.*(?:call|brasl|bl)\b.*<free_unref_page>", text, re.M)
    after = code[code.index(int(calls[call], 16)) + 1]
    return after - code[0], code[-1] + 1 - code[0]


def verdict(*sites: CodeSite, kind: VerdictKind = VerdictKind.FREED_BEFORE_RMAP_REMOVED) -> Verdict:
    return Verdict(kind, (), sites=sites)


def freed(vmlinux: Path, call: int = 0) -> CodeSite:
    offset, _ = returns(vmlinux, "unmap_page_range", call)
    return CodeSite("unmap_page_range", offset, None, role="freed")


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    return compiled(tmp_path)


def chains(prog: drgn.Program, told: Verdict) -> dict[str | None, list[tuple[str, str]]]:
    found = {}
    for site in sharpened(prog, told).sites:
        links = [re.fullmatch(r"(\w+) at .*memory\.c:(\d+)", one) for one in site.inline_chain]
        found[site.role] = [(link[1], link[2]) for link in links if link]
    return found


def test_a_splat_s_symbol_is_enough_for_who_freed_and_who_cleared(vmlinux: Path) -> None:
    told = chains(open_vmlinux(vmlinux), verdict(freed(vmlinux)))
    outer = ("unmap_page_range", str(line_of("ZAPPED")))
    assert told["freed"] == [("zap_pte_range", str(line_of("FREED"))), outer]
    assert told["pte_cleared"][0][0] == "ptep_get_and_clear_full"
    assert told["pte_cleared"][1:] == [("zap_pte_range", str(line_of("CLEARED"))), outer]


def test_the_helper_that_frees_is_the_one_that_clears(tmp_path: Path) -> None:
    """Not the zap around it, which clears at a line of its own, for other pages."""
    path = compiled(tmp_path, "-DHELPER")
    prog = open_vmlinux(path)
    seen = set()
    for call in (0, 1):
        told = chains(prog, verdict(freed(path, call)))
        free_line = told["freed"][0][1]
        seen.add(free_line)
        if free_line == str(line_of("HELPER FREED")):
            line = ("remove_one", str(line_of("HELPER CLEARED")))
            assert told["pte_cleared"][1:3] == [line, ("zap_pte_range", str(line_of("HELPED")))]
        else:  # the zap's own page: the helper clears in it, too: undecidable
            assert "pte_cleared" not in told
    assert seen == {str(line_of("HELPER FREED")), str(line_of("FREED"))}


def test_two_places_that_clear_are_no_place(tmp_path: Path) -> None:
    path = compiled(tmp_path, "-DTWICE")
    entry = CodeSite("unmap_page_range", 0, "memory.c:33", role="pte_cleared")
    told = sharpened(open_vmlinux(path), verdict(freed(path), entry))
    assert [site.role for site in told.sites] == ["freed", "pte_cleared"]
    assert not is_clearing(told.sites[1])
    assert told.sites[1].inline_chain  # the entry of the zap, with its lines
    assert [one.role for one in sharpened(open_vmlinux(path), verdict(freed(path))).sites] == [
        "freed"
    ]


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in VerdictKind
        if kind not in (VerdictKind.FREED_BEFORE_RMAP_REMOVED, VerdictKind.MAPPING_LEAKED)
    ],
)
def test_another_verdict_does_not_say_that_the_free_s_zap_cleared(
    vmlinux: Path, kind: VerdictKind
) -> None:
    told = sharpened(open_vmlinux(vmlinux), verdict(freed(vmlinux), kind=kind))
    assert [site.role for site in told.sites] == ["freed"]


def test_frames_get_the_address_of_their_symbol(vmlinux: Path) -> None:
    offset, size = returns(vmlinux, "unmap_page_range")
    prog = open_vmlinux(vmlinux)
    start = prog.symbol("unmap_page_range").address
    trace = (
        Frame("unmap_page_range", offset, size + 15, 0xDEADBEEF),
        Frame("unmap_page_range", 1, 2),  # a function of that name, and not this one
        Frame("no_such_function", 1, 2),
        Frame(None, address=5),
    )
    (told,) = addressed(prog, [Splat("bad_page_state", trace=trace)])
    assert [one.address for one in told.trace] == [start + offset, None, None, 5]


def test_a_site_that_the_file_does_not_know_stays_as_it_is(vmlinux: Path) -> None:
    sites = (CodeSite("gone", 4, None, role="freed"), CodeSite(None, None, None, role="reported"))
    assert sharpened(open_vmlinux(vmlinux), verdict(*sites)).sites == sites


@pytest.mark.parametrize("offset", [0x3FFE0000000, 2**64 - 0x1000])
def test_a_kernel_that_was_moved_has_its_lines_where_it_ran(vmlinux: Path, offset: int) -> None:
    prog, linked = open_vmlinux(vmlinux, offset=offset), open_vmlinux(vmlinux)
    behind, _ = returns(vmlinux, "unmap_page_range")
    address = linked.symbol("unmap_page_range").address + behind
    moved = code_site(prog, (address + offset) % 2**64)
    assert moved.source == code_site(linked, address).source is not None
    assert (moved.symbol, moved.offset) == ("unmap_page_range", behind)
    assert chains(prog, verdict(freed(vmlinux))) == chains(linked, verdict(freed(vmlinux)))


def test_another_build_is_refused(vmlinux: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="build ID"):
        open_vmlinux(vmlinux, "00" * 20)
    with pytest.raises(Missing):
        open_vmlinux(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(BadInput, match="ELF"):
        open_vmlinux(tmp_path / "text")
    subprocess.run(["strip", "-g", str(vmlinux)], check=True)
    with pytest.raises(BadInput, match="debug info"):
        open_vmlinux(vmlinux)
