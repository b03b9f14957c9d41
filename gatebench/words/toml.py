"""Reads TOML strictly: notes every unknown key, wrong type and bad value as a line of text, and reads on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from gatebench.words.text import listed, near, seconds

_Value = TypeVar("_Value")
_Choice = TypeVar("_Choice", bound=str)

_TYPE_NAMES: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class Table:
    """One TOML table that is being read.

    Asking for a key makes it known; `finish` reports the keys that nobody asked for. A getter that finds a
    problem notes it and returns the default, or an empty value, so that reading goes on to the next problem.

    Attributes:
        problems: the lines found so far, shared with the tables inside this one.
    """

    def __init__(self, data: Mapping[str, object], where: str, problems: list[str], prefix: str = "") -> None:
        """Wrap `data`; `where` is its file's name and `prefix` the dotted path of this table in it."""
        self._data = data
        self._where = where
        self._prefix = prefix
        self._asked: set[str] = set()
        self.problems = problems

    @classmethod
    def load(cls, path: Path, problems: list[str]) -> Table | None:
        """The top table of a file, or None with a problem noted where it is missing or is not TOML."""
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")), str(path), problems)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problems.append(f"{path}: cannot be read: {reason}")
        except tomllib.TOMLDecodeError as error:
            problems.append(f"{path}: is not TOML: {error}")
        return None

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def problem(self, key: str, text: str) -> None:
        """Note a problem with `key`."""
        self.problems.append(f"{self._where}: {self._prefix}{key}: {text}")

    def string(self, key: str, default: str | None = None) -> str:
        """A string that is not empty; required where there is no default."""
        value = self._typed(key, str, default, "")
        if value == "" and key in self._data and isinstance(self._data[key], str):
            self.problem(key, "must not be empty")
        return value

    def text(self, key: str) -> str:
        """A string that may be empty or missing."""
        return self._typed(key, str, "", "")

    def choice(self, key: str, allowed: Sequence[_Choice], default: _Choice | None = None) -> _Choice:
        """One of `allowed`; the first of them stands in where a problem was noted."""
        first: str = allowed[0]
        otherwise: str | None = default
        value = self._typed(key, str, otherwise, first)
        for candidate in allowed:
            if value == candidate:
                return candidate
        self._not_allowed(key, value, allowed)
        return allowed[0]

    def choices(
        self, key: str, allowed: Sequence[_Choice], default: tuple[_Choice, ...] | None = None
    ) -> frozenset[_Choice]:
        """A list of which every item is one of `allowed`."""
        found: set[_Choice] = set()
        for value in self.strings(key, default):
            match = next((candidate for candidate in allowed if candidate == value), None)
            if match is None:
                self._not_allowed(key, value, allowed)
            else:
                found.add(match)
        return frozenset(found)

    def strings(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of strings, none of them empty."""
        return self._items(key, str, default)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; required."""
        return self._items(key, int, None)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers; required."""
        return self._items(key, float, None)

    def integer(self, key: str, default: int, minimum: int) -> int:
        """A whole number of at least `minimum`."""
        value = self._typed(key, int, default, default)
        if value < minimum:
            self.problem(key, f"{value} is under {minimum}")
        return value

    def number(self, key: str, default: float) -> float:
        """A positive number."""
        value = self._typed(key, float, default, default)
        if value <= 0:
            self.problem(key, f"{value:g} is not positive")
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        return self._typed(key, bool, default, default)

    def duration(self, key: str, default: float | None = None) -> float:
        """A string with a unit, `100ms` or `1s`, in seconds; 0 where a problem was noted."""
        if default is not None and key not in self._data:
            self._asked.add(key)
            return default
        text = self.string(key)
        if not text:
            return 0.0
        try:
            return seconds(text)
        except ValueError as error:
            self.problem(key, str(error))
            return 0.0

    def mapping(self, key: str) -> dict[str, str]:
        """An optional table of strings."""
        table = self.table(key, required=False)
        return {name: table.string(name) for name in table}

    def table(self, key: str, *, required: bool = True) -> Table:
        """The table under `key`, empty where it is missing."""
        data = self._typed(key, dict, None if required else {}, {})
        return Table(data, self._where, self.problems, f"{self._prefix}{key}.")

    def tables(self, key: str) -> dict[str, Table]:
        """The tables in the table under `key`, by name: `[variants.sync]`, `[variants.gthread]`; required."""
        outer = self.table(key)
        return {name: outer.table(name) for name in outer}

    def finish(self) -> None:
        """Note every key that was not asked for, with the nearest name that is."""
        for key in self._data:
            if key not in self._asked:
                allowed = sorted(self._asked)
                self.problem(key, f"unknown key{near(key, allowed)}; allowed: {listed(allowed)}")

    def _not_allowed(self, key: str, value: str, allowed: Sequence[str]) -> None:
        self.problem(key, f'"{value}" is not allowed{near(value, allowed)}; allowed: {listed(allowed)}')

    def _typed(self, key: str, kind: type[_Value], default: _Value | None, fallback: _Value) -> _Value:
        """The value under `key`, `default` where it is missing, `fallback` with a problem noted otherwise."""
        self._asked.add(key)
        if key not in self._data:
            if default is None:
                self.problem(key, f"is missing; it must be {_TYPE_NAMES[kind]}")
                return fallback
            return default
        value = _as(self._data[key], kind)
        if value is None:
            self.problem(key, f"must be {_TYPE_NAMES[kind]}, not {self._data[key]!r}")
            return fallback
        return value

    def _items(self, key: str, kind: type[_Value], default: tuple[_Value, ...] | None) -> tuple[_Value, ...]:
        values = self._typed(key, list, None if default is None else list(default), [])
        found: list[_Value] = []
        for value in values:
            item = _as(value, kind)
            if item is None or item == "":
                self.problem(key, f"every item must be {_TYPE_NAMES[kind]}, not {value!r}")
            else:
                found.append(item)
        return tuple(found)


def _as(value: object, kind: type[_Value]) -> _Value | None:
    """`value` where it is of that kind: true is no number here, and a whole number is a number."""
    if isinstance(value, bool) and kind is not bool:
        return None
    if kind is float and isinstance(value, int):
        return kind(value)  # type: ignore[call-arg]  # kind is float here, which mypy cannot narrow
    return value if isinstance(value, kind) else None
