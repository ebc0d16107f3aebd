"""A plan's site in the kernel's syntax: `SYMBOL+OFFSET NAME=PLACE:TYPE …`."""

from __future__ import annotations

from zaptrace.model.kprobe_names import recorded_args
from zaptrace.model.plan import ProbeSite

FILTERS = {
    # Event -> the field that it is judged by, and the condition.
    # Every page freed passes here; only those that still count a mapping matter.
    "page_free": ("raw_mapcount", "raw_mapcount != -1"),
}


def definition(site: ProbeSite, most: int | None = None) -> tuple[str, list[str]]:
    """Return the site and what is fetched there, without the event's name in front.

    Args:
        most: characters that it may have; what does not fit is left out.

    Returns:
        The definition, and the fields that did not fit.
    """
    text = f"{site.symbol}+{site.offset:#x}" if site.offset else site.symbol
    args = {
        field: f"{arg.location}:{arg.type or 'x64'}" for field, arg in recorded_args(site).items()
    }
    args.setdefault("comm", "$comm")
    left_out = []
    for field, location in args.items():
        longer = f"{text} {field}={location}"
        if most is not None and len(longer) > most:
            left_out.append(field)
            continue
        text = longer
    return text, left_out


def condition(site: ProbeSite) -> tuple[str, str | None]:
    """Return what the kernel filters this event by ("" for none), and why it cannot, or None."""
    wanted, expression = FILTERS.get(site.event, ("", ""))
    if wanted and wanted not in recorded_args(site):
        return expression, f"it needs a filter on {wanted}, which is not available"
    return expression, None
