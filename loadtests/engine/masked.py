"""Answers of which parts vary by nature, such as a CSRF token or a time: all around them stays fixed.

What varies is declared as regular expressions. They are looked for once, in a template; what they match there
are its spans, and what lies between is literal. An answer holds where the literal pieces follow each other
byte for byte, and at each span, from its very first byte, what was declared for it matches again. Spans may
have other lengths in each answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

MOST_SPANS = 10_000
"""A pattern with more matches in one answer is not what varies, but most of the answer."""


class Masked:
    """One template with its literal pieces and its spans.

    Args:
        template: an answer's body.
        varies: regular expressions of what varies, none of which matches nothing at all; bytes outside ASCII
            are those of UTF-8.

    Attributes:
        template: as given.
        spans: how many places vary.

    Raises:
        ValueError: an expression cannot be read, matches nothing at all, or matches too often.
    """

    def __init__(self, template: bytes, varies: Sequence[str]) -> None:
        self.template = template
        patterns = [compiled(each) for each in varies]
        self._pieces: list[tuple[bytes, re.Pattern[bytes]]] = []
        at = 0
        while found := _first(patterns, template, at):
            self._pieces.append((template[at : found.start()], found.re))
            at = found.end()
            if len(self._pieces) > MOST_SPANS:
                raise ValueError(f"what varies matches more than {MOST_SPANS:,} times in one answer")
        self._last = template[at:]
        self.spans = len(self._pieces)

    def holds(self, data: bytes, begin: int = 0) -> bool:
        """Whether a body, which is all that follows `begin`, differs from the template in spans alone."""
        at = begin
        for literal, pattern in self._pieces:
            if not data.startswith(literal, at):
                return False
            found = pattern.match(data, at + len(literal))
            if found is None:
                return False
            at = found.end()
        return len(data) - at == len(self._last) and data.endswith(self._last)

    def difference(self, body: bytes) -> tuple[int, int] | None:
        """Where a body begins to differ: the byte of the template, and of the body; None where it holds."""
        ours = theirs = 0
        for literal, pattern in (*self._pieces, (self._last, None)):
            same = _same(literal, body, theirs)
            if same < len(literal):
                return ours + same, theirs + same
            ours, theirs = ours + same, theirs + same
            if pattern is None:
                break
            found, here = pattern.match(body, theirs), pattern.match(self.template, ours)
            if found is None or here is None:
                return ours, theirs
            ours, theirs = here.end(), found.end()
        return None if theirs == len(body) else (ours, theirs)


def compiled(pattern: str) -> re.Pattern[bytes]:
    """The expression, for bodies.

    Raises:
        ValueError: it cannot be read, or it matches nothing at all, and so at every place.
    """
    try:
        made = re.compile(pattern.encode())
    except re.error as error:
        raise ValueError(f'"{pattern}" is no regular expression: {error}') from error
    if made.search(b"") is not None:
        raise ValueError(f'"{pattern}" also matches nothing at all, so it would be found everywhere')
    return made


@lru_cache(maxsize=64)
def masked(template: bytes, varies: tuple[str, ...]) -> Masked | None:
    """The template's mask, made once; None where nothing varies."""
    return Masked(template, varies) if varies else None


def _first(patterns: Sequence[re.Pattern[bytes]], data: bytes, at: int) -> re.Match[bytes] | None:
    """The first match of any of them from there on, none of which is empty; of several the earliest named."""
    best: re.Match[bytes] | None = None
    for pattern in patterns:
        found = next((each for each in pattern.finditer(data, at) if each.end() > each.start()), None)
        if found is not None and (best is None or found.start() < best.start()):
            best = found
    return best


def _same(literal: bytes, data: bytes, at: int) -> int:
    """How many bytes of the literal stand there, by bisection: it may be megabytes."""
    low, high = 0, min(len(literal), max(0, len(data) - at))
    while low < high:
        middle = (low + high + 1) // 2
        if data.startswith(literal[:middle], at):
            low = middle
        else:
            high = middle - 1
    return low
