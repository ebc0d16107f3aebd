"""Where the panes lie, for terminals from 60x15 upwards."""

from __future__ import annotations

from textual.geometry import Size

TINY = Size(60, 15)
"""Below this there is only a message."""
_MEDIUM = Size(100, 32)
LOW = 20
"""Rows below which the rates make room for the rest."""
_LARGE = Size(160, 45)
BESIDE = 160
"""Columns from which a page's life is shown beside its events."""

TOO_SMALL = f"zaptrace needs at least\n{TINY.width}×{TINY.height} characters.\n\nq quits."


def size_class(size: Size) -> str:
    """Return the CSS class of a size: one pane at a time, all below each other, or in two
    columns."""
    if size.width < TINY.width or size.height < TINY.height:
        return "-tiny"
    if size.width < _MEDIUM.width or size.height < _MEDIUM.height:
        return "-small"
    return "-large" if size.width >= _LARGE.width and size.height >= _LARGE.height else "-medium"


CSS = """
#too-small { display: none; content-align: center middle; text-align: center; height: 1fr; }
#steps {
    display: none; border: round $foreground 30%; border-title-color: $foreground; padding: 0 1;
}
#tabs { display: none; height: 1; background: $panel; color: $foreground; padding: 0 1; }
#main { height: 1fr; }
#rates, #events, #suspects, #console, #audit { display: none; }
#rates, #events, #suspects, #console, #audit {
    border: round $foreground 30%; border-title-style: bold; border-title-color: $foreground;
}
#events:focus, #suspects:focus, #console:focus, #audit:focus { border: heavy $accent; }

.-job #steps { display: block; }
.-job.-source #steps { display: none; }
.-source #rates, .-source #events, .-source #suspects { display: block; }
.-console #console { display: block; }
.-audit #audit { display: block; }

.-small #rates, .-small #steps { border: none; border-top: solid $foreground 30%; padding: 0 1; }
.-small #events, .-small #suspects, .-small #console, .-small #audit {
    border: none; border-top: solid $foreground 30%; display: none;
}
.-small #events:focus, .-small #suspects:focus, .-small #console:focus, .-small #audit:focus {
    border: none; border-top: heavy $accent;
}
.-small.-source #tabs, .-small.-audit #tabs { display: block; }
.-small.-source.-pane-events #events { display: block; }
.-small.-source.-pane-suspects #suspects { display: block; }
.-small.-pane-console #console { display: block; }
.-small.-audit.-pane-audit #audit { display: block; }

.-small.-low #rates { display: none; }

.-medium.-source #main, .-large.-source #main { layout: grid; }
.-medium.-source #main { grid-size: 2; grid-columns: 1fr 1fr; grid-rows: 8 1fr; }
.-medium.-source.-console #main { grid-rows: 8 3fr 2fr; }
.-medium.-source.-audit #main { grid-rows: 8 1fr 7; }
.-medium.-source.-audit.-console #main { grid-rows: 8 3fr 2fr 7; }
.-medium #events, .-medium.-source #console, .-medium.-source #audit { column-span: 2; }
.-medium #rates, .-large #rates { height: 1fr; }

.-large.-source #main { grid-size: 2; grid-columns: 11fr 9fr; grid-rows: 8 1fr 1fr; }
.-large #events { row-span: 2; }
.-large #suspects { row-span: 3; }
.-large.-console #suspects { row-span: 2; }
.-large.-source.-audit #main { grid-rows: 8 1fr 1fr 10; }
.-large.-source #audit { column-span: 2; }

.-tiny Header, .-tiny #steps, .-tiny #tabs, .-tiny #main, .-tiny Footer { display: none; }
.-tiny #too-small { display: block; }
"""
