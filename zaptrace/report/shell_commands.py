"""Commands that a reader can copy out of a narrow mail and run as they are."""

from __future__ import annotations

import shlex


def wrapped(command: str, width: int) -> list[str]:
    r"""Return a shell command on lines of at most `width` columns, continued by `\`.

    A word that is longer than a line is broken by `\` and a line end, which a
    POSIX shell joins again when nothing stands before the next piece.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: not ours, quote it whole
        words = [command]
    lines: list[str] = []
    current = " "
    for word in words:
        pieces = _pieces(word, width - 8)
        if len(current) + 1 + len(pieces[0]) > width - 2 and current.strip():
            lines.append(f"{current} \\")
            current = "     "
        current += f" {pieces[0]}"
        for piece in pieces[1:]:
            lines.append(f"{current}\\")
            current = piece
    return [*lines, current] if current.strip() else []


def _pieces(word: str, width: int) -> list[str]:
    """Return the word quoted for the shell, in pieces that fit."""
    whole = shlex.quote(word)
    if len(whole) <= width:
        return [whole]
    # Each piece is quoted for itself; what quoting adds (quotes: '"'"') must fit as well.
    pieces: list[str] = []
    start = 0
    while start < len(word):
        end = min(len(word), start + width)
        while len(shlex.quote(word[start:end])) > width:
            end -= 1
        pieces.append(shlex.quote(word[start:end]))
        start = end
    return pieces
