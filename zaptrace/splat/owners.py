"""page_owner's lines of a page's dump: who allocated it, who freed it last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zaptrace.model.splats import Frame, OwnerStack, PageOwner

OWNERS = ("allocated", "freed")
"""Lines before page_owner's stacks."""


def page_owner(
    lines: Mapping[str, dict[str, Any]], stacks: Mapping[str, Sequence[Frame]]
) -> PageOwner | None:
    """Return what page_owner's lines say; None when a report has none.

    Args:
        lines: what each says, by name.
        stacks: the frames after them.
    """
    if not lines:
        return None
    shown = {
        name: OwnerStack(**lines[name], trace=tuple(stacks.get(name, ())))
        for name in OWNERS
        if name in lines
    }
    return PageOwner(lines.get("owner", {}).get("state"), **shown)
