"""What can be wrong with the looks of a page, asked of a browser that shows it."""

from __future__ import annotations

from tests.browser import Browser

# What may be wider than the window scrolls in a box of its own: .scroll and pre.
_CLIPPED = """(() => {
  const wrong = [];
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) wrong.push("the page scrolls sideways");
  const name = one => one.tagName + "." + one.getAttribute("class") + ": "
    + (one.textContent || "").trim().slice(0, 40);
  for (const one of document.querySelectorAll("main *")) {
    if (one.closest(".scroll, pre") && !one.matches(".scroll, pre")) continue;
    const box = one.getBoundingClientRect();
    const out = box.right > wide + 0.5 || box.left < -0.5;
    if (box.width && out) wrong.push("outside " + name(one));
  }
  for (const svg of document.querySelectorAll("svg")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(one => [one, one.getBoundingClientRect()]);
    texts.forEach(([one, box], at) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
          || box.bottom > frame.bottom + 1) wrong.push("cut off " + name(one));
      for (const [other, there] of texts.slice(at + 1))
        if (Math.min(box.right, there.right) - Math.max(box.left, there.left) > 1
            && Math.min(box.bottom, there.bottom) - Math.max(box.top, there.top) > 3)
          wrong.push("overlap " + one.textContent + " / " + other.textContent);
    });
  }
  return wrong;
})()"""
_SECTIONS = """Object.fromEntries([...document.querySelectorAll("section")].map(one => {
  const style = getComputedStyle(one);
  const shown = style.display !== "none" && style.visibility === "visible" && style.opacity === "1";
  return [one.id, shown ? one.getBoundingClientRect().height : 0];
}))"""


def clipped(browser: Browser) -> list[str]:
    """What lies outside of the window or of its picture, and texts that lie upon each other."""
    found: list[str] = browser.evaluate(_CLIPPED)
    return found


def sections(browser: Browser) -> dict[str, float]:
    """The page's sections by id, each with the pixels that it is high; 0 when hidden."""
    found: dict[str, float] = browser.evaluate(_SECTIONS)
    return found
