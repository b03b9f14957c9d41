"""What people write and read: times with a unit, names in a list, counts, and the name that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m)")
_PER_SECOND = {"us": 1_000_000, "ms": 1_000, "s": 1}


def seconds(text: str) -> float:
    """The seconds in a text with a unit: `250us`, `100ms`, `1.5s`, `10m`.

    Raises:
        ValueError: the text is not a number followed by one of these units.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        msg = f'"{text}" is not a time such as "100ms", "1s" or "10m"'
        raise ValueError(msg)
    number, unit = float(match[1]), match[2]
    return number * 60 if unit == "m" else number / _PER_SECOND[unit]


def near(name: str, known: Iterable[str]) -> str:
    """` (did you mean "…"?)` with the known name closest to `name`, or nothing where none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def listed(names: Iterable[str]) -> str:
    """Names for a sentence, `a, b, c`, or `none` where there are none."""
    return ", ".join(names) or "none"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, `1 core` or `2 cores`; `plural` is for one that an `s` does not make."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
