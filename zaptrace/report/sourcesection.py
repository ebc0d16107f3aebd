"""HTML: the source lines of a verdict, with their inline chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from zaptrace.explain.sites import zap_line
from zaptrace.model.verdict import CodeSite
from zaptrace.report.markup import Content, Markup, joined, tag
from zaptrace.report.sourcelines import Excerpt, shown_place
from zaptrace.report.text import ROLES
from zaptrace.report.words import hexadecimal


def sources(sites: Sequence[CodeSite], excerpts: Mapping[str, Excerpt]) -> Markup:
    """The section; nothing when no site is known."""
    if not sites:
        return Markup("")
    parts = [_site(site, excerpts) for site in sites]
    sub = "Innermost first: each line is inlined into, or called from, the one below it."
    told = joined(tag("h2", "Source lines"), tag("p", sub, class_="sub"))
    return tag("section", told, parts, id="sources")


def _site(site: CodeSite, excerpts: Mapping[str, Excerpt]) -> Markup:
    where = site.symbol or hexadecimal(site.address)
    offset = "" if site.offset is None else f"+{site.offset:#x}"
    role = ROLES.get(site.role or "", "Site")
    parts: list[Content] = [tag("h3", f"{role}: ", tag("code", f"{where}{offset}"))]
    parts.append(tag("ul", list(_chain(site)), class_="chain"))
    excerpt = excerpts.get(shown_place(site) or "")
    if excerpt:
        parts.append(_lines(excerpt))
    return joined(*parts)


def _chain(site: CodeSite) -> Iterator[Markup]:
    links = [link.partition(" at ") for link in site.inline_chain]
    if not links and site.source:
        links = [(site.symbol or "?", " at ", site.source)]
    inside = zap_line(site) if site.role in ("freed", "rmap_removed") else None
    for function, _, source in links:
        it = inside is not None and (function, source) == (inside.function, inside.source)
        codes = (tag("code", function), tag("code", source, class_="soft" if not it else None))
        yield tag("li", *codes, class_="it" if it else None)


def _lines(excerpt: Excerpt) -> Markup:
    shown: list[str] = []
    for number, line in enumerate(excerpt.lines, excerpt.first):
        text = f"{number:6}  {line}"
        shown.append(tag("span", text, class_="it") if number == excerpt.line else text)
        shown.append(Markup("\n"))
    return joined(
        tag("p", f"{excerpt.file}, line {excerpt.line}", class_="sub"),
        tag("pre", shown, class_="source"),
    )
