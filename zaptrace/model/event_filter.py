"""The filter language over events: a line of text -> which records it means.

    pid=123 comm=mount          both (a space is "and")
    kind=bad_page or mapcount>0 either
    not (comm=kw* cpu=0)        neither
    pfn=0xa80                   events about that page, also as one of a range's `nr` pages
    mount                       a bare word: part of a comm or of a kind's name
    2688                        a bare number: that pid, or that pfn

Fields are those of a record (zaptrace.model.events); `mapcount` is
`raw_mapcount` + 1.  A comparison is false where the record does not have the
field, `!=` too.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT, ABSENT_VALUE, EVENT, Kind, Records, about_page, is_kind

Mask = npt.NDArray[np.bool_]
Predicate = Callable[[Records], Mask]

LONGEST = 1000
"""Characters of a filter."""
DEEPEST = 40
"""Parentheses and `not`s inside each other."""

_TOKEN = re.compile(
    r"""\s*(?: (?P<mark>[()]) | (?P<op>!=|>=|<=|==|=|>|<)
           | "(?P<quoted>[^"]*)" | (?P<word>[^\s()!=<>"]+) )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
_LOWEST_MAPCOUNT = -128  # PAGE_MAPCOUNT_RESERVE: raw values below are page types

_NUMBERS = tuple(name for name in ABSENT_VALUE if name not in ("reason", "stack"))  # not ids
FIELDS = ("kind", "comm", "mapcount", *_NUMBERS)
"""The names that can stand before an operator."""


def compile(text: str) -> Predicate:
    """Return the question that a filter asks of records: shape (n,) -> mask of shape (n,).

    An empty text means every record.

    Raises:
        BadInput: what is wrong and where (columns count from 1).
    """
    if len(text) > LONGEST:
        raise BadInput(f"filter: longer than {LONGEST} characters")
    tokens = _tokens(text)
    return _Parser(tokens, len(text)).whole() if tokens else _everything


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # mark, op, quoted or word
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            rest = text[position:].lstrip()
            what = 'a " without its end' if rest.startswith('"') else f"{rest[0]!r} means nothing"
            raise BadInput(f"filter: {what} (column {len(text) - len(rest) + 1})")
        column = match.end() - len(match.group().lstrip()) + 1
        found.append(_Token(match.lastgroup, match[match.lastgroup], column))
        position = match.end()
    return found


class _Parser:
    """Recursive descent: either -> both -> one -> term."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self._tokens = tokens
        self._at = 0
        self._end = end

    @property
    def token(self) -> _Token | None:
        """The next one; None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def fail(self, what: str, token: _Token | None = None) -> NoReturn:
        """Say what is wrong at a token, else at the next one."""
        token = token or self.token
        raise BadInput(f"filter: {what} (column {token.column if token else self._end + 1})")

    def whole(self) -> Predicate:
        """Return all the tokens."""
        meaning = self.either(0)
        if self._at < len(self._tokens):
            self.fail("a ) without its (")
        return meaning

    def either(self, depth: int) -> Predicate:
        """Parse alternatives, joined by `or`."""
        meaning = self._both(depth)
        while self._next_is("word", "or"):
            self._at += 1
            meaning = _or(meaning, self._both(depth))
        return meaning

    def _both(self, depth: int) -> Predicate:
        meaning = self._one(depth)
        while self.token and not (self._next_is("word", "or") or self._next_is("mark", ")")):
            if self._next_is("word", "and"):
                self._at += 1
            meaning = _and(meaning, self._one(depth))
        return meaning

    def _one(self, depth: int) -> Predicate:
        token = self.token
        if depth > DEEPEST:
            self.fail(f"more than {DEEPEST} levels")
        if token is None:
            self.fail("something is missing at the end")
        self._at += 1
        if (token.kind, token.text) == ("mark", "("):
            meaning = self.either(depth + 1)
            if not self._next_is("mark", ")"):
                self.fail("a ) is missing")
            self._at += 1
            return meaning
        if (token.kind, token.text) == ("word", "not"):
            return _not(self._one(depth + 1))
        if token.kind in ("mark", "op") or (token.kind, token.text) in _JOINTS:
            self.fail(f"something is missing before {token.text}", token)
        return self._term(token)

    def _term(self, token: _Token) -> Predicate:
        sign = self.token
        if sign is None or sign.kind != "op" or token.kind == "quoted":
            return _bare(token)
        if token.text not in FIELDS:
            self.fail(f"there is no field {token.text}; there are {', '.join(FIELDS)}", token)
        self._at += 1
        value = self.token
        if value is None or value.kind not in ("word", "quoted"):
            self.fail(f"a value is missing after {token.text}{sign.text}")
        self._at += 1
        try:
            return _comparison(token.text, sign.text, value.text)
        except ValueError as error:
            self.fail(str(error), value)

    def _next_is(self, kind: str, text: str) -> bool:
        token = self.token
        return token is not None and (token.kind, token.text) == (kind, text)


_JOINTS = {("word", "or"), ("word", "and")}


def _bare(token: _Token) -> Predicate:
    if token.kind == "word" and _NUMBER.fullmatch(token.text):
        number = int(token.text, 0) if "x" in token.text.lower() else int(token.text)
        meant = [
            _comparison(name, "=", str(number)) for name in ("pid", "pfn") if _fits(name, number)
        ]
        return _or(*meant) if len(meant) == 2 else meant[0] if meant else _nothing
    word = token.text
    kinds = [int(kind) for kind in Kind if word in kind.name.lower()]
    part = word.encode()

    def mask(records: Records) -> Mask:
        found: Mask = np.char.find(records["comm"], part) >= 0
        return found | is_kind(records, kinds)

    return mask


def _comparison(name: str, sign: str, value: str) -> Predicate:
    """Return a field against a value.

    Raises:
        ValueError: this field cannot have that value; says why.
    """
    if name in ("kind", "comm"):
        if _COMPARE[sign] not in (operator.eq, operator.ne):
            raise ValueError(f"{name} is text: only = and != make sense")
        match = _kind(value) if name == "kind" else _comm(value)
        return match if _COMPARE[sign] is operator.eq else _not(match)
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"{name} is a number (123 or 0x7b), not {value}")
    number = int(value, 0) if "x" in value.lower() else int(value)
    if not _fits(name, number):
        raise ValueError(f"{value} is no value that {name} can have")
    return _number(name, _COMPARE[sign], number)


def _fits(name: str, number: int) -> bool:
    bounds = np.iinfo(EVENT["raw_mapcount" if name == "mapcount" else name])
    return int(bounds.min) <= number <= int(bounds.max)


def _number(name: str, compare: Callable[[Any, Any], Any], number: int) -> Predicate:
    if name == "mapcount":
        return lambda records: _mapcount(records, compare, number)
    if name == "pfn" and compare in (operator.eq, operator.ne):

        def about(records: Records) -> Mask:
            return about_page(records, number)

        return about if compare is operator.eq else _and(_has_pfn, _not(about))
    absent = None if name in ("site", "nr") else ABSENT_VALUE[name]  # 0 of them is a number, too

    def mask(records: Records) -> Mask:
        column = records[name]
        said: Mask = compare(column, column.dtype.type(number))
        return said if absent is None else said & (column != absent)

    return mask


def _mapcount(records: Records, compare: Callable[[Any, Any], Any], number: int) -> Mask:
    raw = records["raw_mapcount"].astype(np.int64)
    said: Mask = compare(raw + 1, number)
    return said & (raw >= _LOWEST_MAPCOUNT)


def _has_pfn(records: Records) -> Mask:
    mask: Mask = records["pfn"] != ABSENT
    return mask


def _kind(pattern: str) -> Predicate:
    names = [kind.name.lower() for kind in Kind]
    kinds = [int(Kind[name.upper()]) for name in fnmatch.filter(names, pattern.lower())]
    if not kinds:
        raise ValueError(f"there is no kind {pattern}; there are {', '.join(names)}")
    return lambda records: is_kind(records, kinds)


def _comm(pattern: str) -> Predicate:
    if "*" not in pattern:
        exact = np.bytes_(pattern.encode())

        def same(records: Records) -> Mask:
            mask: Mask = records["comm"] == exact
            return mask

        return same
    # fnmatch would also give [ and ? a meaning; a comm may well hold them.
    shape = re.compile(b".*".join(re.escape(part.encode()) for part in pattern.split("*")), re.S)

    def mask(records: Records) -> Mask:
        names, which = np.unique(records["comm"], return_inverse=True)
        fits = np.array([shape.fullmatch(bytes(name)) is not None for name in names], bool)
        mask: Mask = fits[which]
        return mask

    return mask


def _and(first: Predicate, second: Predicate) -> Predicate:
    return lambda records: first(records) & second(records)


def _or(first: Predicate, second: Predicate) -> Predicate:
    return lambda records: first(records) | second(records)


def _not(inner: Predicate) -> Predicate:
    return lambda records: ~inner(records)


def _everything(records: Records) -> Mask:
    return np.ones(len(records), bool)


def _nothing(records: Records) -> Mask:
    return np.zeros(len(records), bool)
