"""SVG: the page's story on a scale of microseconds, and how many events there were when."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from zaptrace.model.events import Events, Kind
from zaptrace.model.verdict import OrderStep
from zaptrace.report.html.markup import Markup, joined, tag
from zaptrace.report.site_roles import is_turn
from zaptrace.report.words import cut

WIDTH = 960
_LEFT, _RIGHT = 20, 940
_ROW = 30
_NS_PER_US = 1000
_BINS = 120
_LANE = 34
_FEWEST = 5
"""Events in one bar of which a rate is worth telling."""
_UNTIMED = 150
"""Pixels at the right for what has no time."""
_LONGEST = 60


def timeline(steps: Sequence[OrderStep]) -> Markup:
    """Return a row a step: a numbered dot at its time, and what it was."""
    timed = [step.time_ns for step in steps if step.time_ns is not None]
    start = min(timed, default=0)
    span = (max(timed, default=0) - start) / _NS_PER_US
    right = _RIGHT - (_UNTIMED if len(timed) < len(steps) else 0)
    step_us = nice(span / 6)
    top = _ROW * len(steps) + 8
    last = max(span, step_us)

    def x_of(microseconds: float) -> float:
        return _LEFT + (right - _LEFT) * microseconds / last

    body: list[str] = []
    for tick in range(math.floor(last / step_us) + 1):
        x = x_of(tick * step_us)
        body.append(tag("line", x1=x, x2=x, y1=4, y2=top, class_="rule"))
        label = f"{tick * step_us:g}" + (" µs" if not tick else "")
        anchor = "soft end" if x > _RIGHT - 24 else "soft mid" if tick else "soft"
        x = _RIGHT + 10 if anchor == "soft end" else x
        body.append(tag("text", label, x=x, y=top + 17, class_=anchor))
    body.append(tag("line", x1=_LEFT, x2=right, y1=top, y2=top, class_="axis"))
    if right < _RIGHT:
        x = (right + _RIGHT) / 2
        body.append(tag("line", x1=right + 16, x2=_RIGHT, y1=top, y2=top, class_="axis dash"))
        body.append(tag("text", "later, time not known", x=x, y=top + 17, class_="soft mid"))
    for at, step in enumerate(steps):
        later = step.time_ns is None
        x = (right + _RIGHT) / 2 if later else x_of(((step.time_ns or 0) - start) / _NS_PER_US)
        body.append(_dot(at, step, x, 18 + at * _ROW, start))
    for at, (one, two) in enumerate(pairwise(steps)):
        if one.time_ns is not None and two.time_ns is not None:
            begin, end = ((time - start) / _NS_PER_US for time in (one.time_ns, two.time_ns))
            y = 18 + at * _ROW
            path = f"M{x_of(begin):.1f} {y}V{y + _ROW / 2}H{x_of(end):.1f}V{y + _ROW}"
            body.insert(0, tag("path", d=path, class_="axis", fill="none", opacity=".5"))
    return picture("Time line of the page", top + 24, body)


def _dot(at: int, step: OrderStep, x: float, y: float, start: int) -> Markup:
    around: Markup
    if is_turn(step):  # distinguished by its shape too, not by colour alone
        square = {"x": x - 9, "y": y - 9, "width": 18, "height": 18, "rx": 2}
        around = tag("rect", **square, class_="dot turn", transform=f"rotate(45 {x:.1f} {y})")
    else:
        around = tag("circle", cx=x, cy=y, r=10, class_="dot")
    label = cut(re.split(r"[:;,]| on 0x", step.what)[0], _LONGEST)
    when = f"{(step.time_ns - start) / _NS_PER_US:+.1f} µs  " if step.time_ns else ""
    before = x > _LEFT + (_RIGHT - _LEFT) * 0.55
    where = {"x": x - 18 if before else x + 18, "y": y + 4, "class_": "end" if before else None}
    return joined(
        around,
        tag("text", str(at + 1), x=x, y=y + 4, class_="number"),
        tag("text", tag("tspan", when, class_="soft"), label, **where),
    )


def rates(events: Events, bug_ns: int | None) -> Markup:
    """Return a lane a kind: events over time, each lane with its own scale."""
    clock, kinds = events.records["clock"], events.records["kind"]
    good = clock < np.uint64(2**63)
    shown = [kind for kind in Kind if (kinds == kind).any()]
    totals = {kind: int((kinds == kind).sum()) for kind in shown}
    clock, kinds = clock[good].astype(np.int64), kinds[good]
    start, end = (int(clock.min()), int(clock.max())) if len(clock) else (0, 0)
    span = max(end - start, 1)
    left, width = 130, _RIGHT - 130 - 160
    body: list[str] = []
    for lane, kind in enumerate(shown):
        base = (lane + 1) * _LANE
        places = (clock[kinds == kind] - start) / span * _BINS  # as floats: hostile clocks fit
        counts = np.bincount(np.minimum(places.astype(int), _BINS - 1), minlength=_BINS)
        body.append(tag("text", kind.name.lower(), x=20, y=base - 4, class_="mono"))
        body.append(tag("line", x1=left, x2=left + width, y1=base, y2=base, class_="rule"))
        body += _bars(counts.tolist(), left, width, base, kind.name.lower())
        # What was read from registers has no time: it is counted and not drawn.
        body.append(tag("text", f"{totals[kind]:,}", x=left + width + 52, y=base - 4, class_="end"))
        if counts.max() >= _FEWEST:
            peak = f"at most {_rate(int(counts.max()) * _BINS / span * 1e9)}"
            body.append(tag("text", peak, x=_RIGHT, y=base - 4, class_="end soft"))
    bottom = len(shown) * _LANE
    if bug_ns is not None and start <= bug_ns <= end:
        x = left + width * (bug_ns - start) / span
        body.append(tag("line", x1=x, x2=x, y1=2, y2=bottom + 4, class_="mark dash"))
    for part, anchor in ((0.0, None), (0.5, "mid"), (1.0, "end")):
        label = f"{(start + part * span) / 1e6:.3f} ms"
        where = {"x": left + width * part, "y": bottom + 18}
        body.append(tag("text", label, class_=f"soft {anchor or ''}".strip(), **where))
    return picture("Events by kind over time", bottom + 24, body)


def _rate(per_second: float) -> str:
    """Return `240/s`, `1.3k/s`: two figures that matter."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if per_second >= limit:
            return f"{per_second / limit:.3g}{unit}/s"
    return f"{per_second:.3g}/s"


def _bars(counts: list[int], left: float, width: float, base: float, name: str) -> list[Markup]:
    most = max(counts, default=0)
    wide = width / _BINS
    return [
        tag(
            "rect",
            tag("title", f"{count} {name}"),
            x=left + at * wide,
            y=base - (high := max(2.0, (_LANE - 8) * count / most)),
            width=max(wide - 1, 1),
            height=high,
            style=f"fill:var(--{name})",
        )
        for at, count in enumerate(counts)
        if count
    ]


def picture(title: str, height: float, body: Sequence[str]) -> Markup:
    """Return an SVG as wide as the page, with a name for who cannot see it."""
    box = f"0 0 {WIDTH} {height:g}"
    drawing = tag("svg", tag("title", title), body, viewBox=box, role="img", aria_label=title)
    return tag("div", drawing, class_="scroll")


def nice(step: float) -> float:
    """Return a round number (1, 2 or 5 times a power of ten) not below `step`."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(one * power for one in (1, 2, 5, 10) if one * power >= step * 0.999)
