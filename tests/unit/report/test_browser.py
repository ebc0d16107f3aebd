"""The page in a real browser: no request, nothing cut off, wide and narrow."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import browser
from tests.looks import clipped, sections
from tests.unit.report.builders import INFO, VERDICT, hostile, whole
from tests.unit.report.kinds import of_kind
from zaptrace.model.verdict import OrderStep, VerdictKind
from zaptrace.report.html.page import page

PAGES = [(name, 400) for name in (*(kind.value for kind in VerdictKind), "hostile")]
PAGES += [(VerdictKind.FREED_BEFORE_RMAP_REMOVED.value, 1200), ("hostile", 1200)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    program = browser.program()
    if program is None:
        pytest.skip("Chromium is not installed (make setup-tests): no browser looked at the page")
    with browser.opened(program) as opened:
        yield opened


@pytest.mark.parametrize(("name", "width"), PAGES)
def test_it_is_whole_and_asks_for_nothing(
    chromium: browser.Browser, tmp_path: Path, name: str, width: int
) -> None:
    path = tmp_path / "report.html"
    text = hostile() if name == "hostile" else whole(of_kind(VerdictKind(name)))
    path.write_text(text, encoding="utf-8")
    chromium.show(path, width)
    assert chromium.said == []
    assert chromium.asked == [path.resolve().as_uri()]
    assert clipped(chromium) == []
    shown = sections(chromium)
    assert {"rates", "tables", "environment"} <= set(shown)
    assert all(height > 40 for height in shown.values())
    assert chromium.evaluate("document.title").startswith("zaptrace: ")  # no script has run
    assert chromium.evaluate("document.querySelectorAll('script, img, a, iframe').length") == 0


def test_it_follows_the_reader_s_light(chromium: browser.Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(whole(), encoding="utf-8")
    colours = {}
    for scheme in ("light", "dark"):
        chromium.show(path, 1200, scheme=scheme)
        colours[scheme] = [contrast(chromium, selector) for selector in ("body", ".sub", ".kind")]
    # WCAG AA for text of this size.
    assert all(ratio >= 4.5 for ratios in colours.values() for ratio in ratios), colours
    assert colours["light"] != colours["dark"]


def contrast(chromium: browser.Browser, selector: str) -> float:
    """The contrast of an element's text with its background."""
    script = f"""(() => {{
      const one = document.querySelector({selector!r});
      let backdrop = one;
      const none = "rgba(0, 0, 0, 0)";
      while (getComputedStyle(backdrop).backgroundColor === none) backdrop = backdrop.parentElement;
      const light = text => {{
        const parts = text.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255).map(
          part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05;
      }};
      const [a, b] = [getComputedStyle(one).color, getComputedStyle(backdrop).backgroundColor].map(
        light);
      return Math.max(a, b) / Math.min(a, b);
    }})()"""
    return float(chromium.evaluate(script))


@pytest.mark.parametrize("span_us", [1, 97, 100, 999, 1000, 100_058, 1_000_000, 40_000_000])
def test_the_time_line_s_labels_fit(
    chromium: browser.Browser, tmp_path: Path, span_us: int
) -> None:
    path = tmp_path / "report.html"
    order = tuple(
        OrderStep("the page is handed to the allocator", 5_000 + round(part * span_us * 1000), 0)
        for part in (0, 0.001, 0.5, 0.54, 0.56, 1)
    )
    path.write_text(page(dataclasses.replace(VERDICT, order=order), INFO), encoding="utf-8")
    chromium.show(path, 1200)
    assert clipped(chromium) == []


def test_a_picture_of_it_is_not_empty(chromium: browser.Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(whole(), encoding="utf-8")
    chromium.show(path, 1200)
    picture = chromium.picture()
    width, height = struct.unpack(">II", picture[16:24])
    assert width == 1200 and height > 1500
    assert len(picture) > 50_000


def test_what_is_too_wide_is_noticed(chromium: browser.Browser, tmp_path: Path) -> None:
    """The checks themselves: a page that they must complain of."""
    path = tmp_path / "wide.html"
    path.write_text(
        "<!DOCTYPE html><title>wide</title><main><p style='width:900px'>wide</p>"
        "<svg viewBox='0 0 100 20' width='100'><text x='10' y='10'>one</text>"
        "<text x='12' y='10'>two</text><text x='90' y='18'>outside</text></svg></main>"
        "<script>console.error('heard')</script>"
    )
    chromium.show(path, 400)
    said = " ".join(clipped(chromium))
    assert "wide" in said and "outside" in said and "one / two" in said
    assert any("heard" in one for one in chromium.said)
