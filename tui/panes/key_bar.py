"""The keys that mean something now."""

from __future__ import annotations

from textual.screen import Screen
from textual.widgets import Footer


class KeyBar(Footer):
    """Made anew only when it would say something else.

    Textual's own footer replaces all its widgets whenever the focus moves.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[tuple[object, ...]] | None = None

    def bindings_changed(self, screen: Screen[object]) -> None:
        """See Textual."""
        if not (screen.app.app_focus and self.is_attached and screen is self.screen):
            return
        shown: list[tuple[object, ...]] = [
            (key, active.binding, active.enabled, active.tooltip)
            for key, active in screen.active_bindings.items()
        ]
        if shown != self._shown:
            self._shown = shown
            super().bindings_changed(screen)
