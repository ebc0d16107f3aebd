"""HTML: the source lines of a verdict, with their inline chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zaptrace.model.verdict import CodeSite
from zaptrace.report.html.markup import Markup, joined, tag
from zaptrace.report.site_roles import chain_of, marked_line, shared_tail, title
from zaptrace.report.source_excerpt import Excerpt, Sources
from zaptrace.report.words import hexadecimal


def source_section(sites: Sequence[CodeSite], sources: Sources) -> Markup:
    """Return the section; nothing when no site is known."""
    if not sites:
        return Markup("")
    parts: list[Markup] = [_lines(one) for one in sources.excerpts]
    parts += [tag("p", said, class_="sub") for said in sources.left_out]
    chains = "Innermost first: each line is inlined into, or called from, the one below it."
    parts.append(tag("p", chains, class_="sub apart"))
    parts.append(tag("div", [_site(site, sites[0]) for site in sites], class_="chains"))
    return tag("section", tag("h2", "Source lines"), parts, id="sources")


def _site(site: CodeSite, first: CodeSite) -> Markup:
    where = site.symbol or hexadecimal(site.address)
    offset = "" if site.offset is None else f"+{site.offset:#x}"
    head = tag("h3", f"{title(site)}: ", tag("code", f"{where}{offset}"))
    return tag("div", head, tag("ul", list(_chain(site, first)), class_="chain"))


def _chain(site: CodeSite, first: CodeSite) -> Iterator[Markup]:
    links, known = chain_of(site), shared_tail(site, first)
    shown = links[: len(links) - known]
    wanted = marked_line(site) if len(links) > 1 else None
    for link in shown:
        it = link == wanted
        codes = (tag("code", link[0]), tag("code", link[1], class_=None if it else "soft"))
        yield tag("li", *codes, class_="it" if it else None)
    if known:
        yield tag("li", tag("span", f"… and from {links[-known][0]} on as above", class_="soft"))


def _lines(excerpt: Excerpt) -> Markup:
    shown: list[str] = []
    for number, line in enumerate(excerpt.lines, excerpt.first):
        said = excerpt.marks.get(number)
        if said is None:
            shown.append(f"  {number:5}  {line}")
        else:
            remark = tag("span", f"  ◄ {said}", class_="remark")
            shown.append(tag("span", f"▸ {number:5}  {line}", remark, class_="it"))
        shown.append(Markup("\n"))
    return joined(
        tag("p", tag("code", excerpt.file), class_="sub"), tag("pre", shown, class_="source")
    )
