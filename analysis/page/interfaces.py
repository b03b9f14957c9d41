"""The interface matrix: what each server handed the application, key by key, and where servers differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gatebench.words.interface_keys import (
    NEEDS,
    Need,
    handed_text,
    in_order,
    meaning,
    need,
    printable,
    shortened,
)
from gatebench.words.model import INTERFACES, Interface

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analysis.reading.run import Run


Verdict = Literal["alike", "differ", "not all", "one server"]
VALUE_CHARACTERS = 60
OBJECTS = frozenset({"wsgi.input", "wsgi.errors", "wsgi.file_wrapper"})
"""Objects of which the specification asks only that they can do something; each server has its own type."""

_TITLES: Mapping[Interface, Mapping[Need, str]] = {
    "wsgi": {
        "required": "Required by PEP 3333",
        "unless empty": "Required by PEP 3333 unless empty",
        "optional": "Optional: wsgi.file_wrapper (PEP 3333), other CGI variables (RFC 3875)",
        "header": "The request's headers",
        "own": "In no specification",
    },
    "asgi": {
        "required": "Required by the ASGI specification",
        "optional": "Optional in the ASGI specification",
        "own": "In no specification",
    },
}
_FLATTENED = ("asgi", "extensions")
"""Dicts of a scope whose keys are what one wants to see."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one server has under one key: its type and, where it tells something, its value."""

    type: str
    value: str

    @property
    def text(self) -> str:
        """Both, in a few words."""
        return self.value or self.type


@dataclass(frozen=True, slots=True)
class Row:
    """One key.

    Attributes:
        entries: in the order of the matrix's subjects; None where a server has no such key.
    """

    key: str
    meaning: str
    entries: tuple[Entry | None, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Group:
    """Keys of which the specification says the same."""

    need: Need
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """What the servers of one interface handed over.

    Attributes:
        missing: subject → why it is not known what it hands over.
    """

    interface: Interface
    subjects: tuple[str, ...]
    groups: tuple[Group, ...]
    missing: Mapping[str, str]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them, in order."""
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def specified(self) -> tuple[Row, ...]:
        """Those whose keys a specification knows."""
        return tuple(
            row for group in self.groups if group.need not in {"own", "header"} for row in group.rows
        )

    def count(self, verdict: Verdict) -> int:
        """How many keys that a specification knows have this verdict."""
        return sum(row.verdict == verdict for row in self.specified)


def matrices(run: Run) -> tuple[Matrix, ...]:
    """The matrix of each interface of which the run recorded something; none for runs that did not ask.

    What is not in the form of an event is told of in `missing`, as what the server did not tell.
    """
    known = {subject.id: subject.interface for subject in run.meta.subjects}
    told: dict[str, Mapping[str, Any]] = {}
    for event in run.events:
        if event["kind"] == "interface" and event.get("subject") in known:
            told.setdefault(str(event["subject"]), event)
    return tuple(
        _matrix(interface, {subject: event for subject, event in told.items() if known[subject] == interface})
        for interface in INTERFACES
        if any(known[subject] == interface for subject in told)
    )


def _matrix(interface: Interface, told: Mapping[str, Mapping[str, Any]]) -> Matrix:
    handed: dict[str, dict[str, Entry]] = {}
    missing: dict[str, str] = {}
    for subject in sorted(told):
        keys = told[subject].get("keys")
        if isinstance(keys, dict) and all(_is_told(each) for each in keys.values()):
            handed[subject] = _entries(interface, keys)
        else:
            missing[subject] = str(told[subject].get("reason") or "it was recorded in an unknown form")
    all_keys = {key for entries in handed.values() for key in entries}
    groups = (
        Group(
            each,
            _TITLES[interface][each],
            tuple(
                _row(interface, key, [entries.get(key) for entries in handed.values()])
                for key in in_order(interface, (key for key in all_keys if need(interface, key) == each))
            ),
        )
        for each in NEEDS
        if each in _TITLES[interface]
    )
    return Matrix(interface, tuple(handed), tuple(group for group in groups if group.rows), missing)


def _is_told(told: object) -> bool:
    return isinstance(told, dict) and isinstance(told.get("type"), str)


def _entries(interface: Interface, keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Entry]:
    """One server's keys; the dicts whose keys matter are taken apart."""
    entries: dict[str, Entry] = {}
    for key, told in keys.items():
        inner = told.get("value")
        if interface == "asgi" and key in _FLATTENED and isinstance(inner, dict):
            entries[key] = Entry(printable(told["type"]), "")
            for name, value in inner.items():
                text = "{}" if value == {} else _short(repr(value))
                entries[f'{key}["{printable(str(name))}"]'] = Entry(type(value).__name__, text)
        else:
            entries[printable(key)] = _entry(key, told)
    return entries


def _entry(key: str, told: Mapping[str, Any]) -> Entry:
    kind = printable(told["type"])
    if "value" not in told or told["value"] == told["type"]:
        return Entry(kind, "")
    value = told["value"]
    # What changes with each request or each start says nothing of a server; its form does.
    if key in {"SERVER_PORT", "REMOTE_PORT"}:
        return Entry(kind, "")
    if key in {"client", "server"} and isinstance(value, list) and len(value) == 2:
        return Entry(kind, _short(f"{kind} of {value[0]!r}, {type(value[1]).__name__}"))
    if key == "headers" and isinstance(value, list):
        names = (str(pair[0]) if isinstance(pair, list) and pair else "?" for pair in value)
        return Entry(kind, _short(f"{kind} of {', '.join(names)}"))
    return Entry(kind, _short(handed_text(told["type"], value)))


def _short(text: str) -> str:
    return shortened(printable(text), VALUE_CHARACTERS)


def _row(interface: Interface, key: str, entries: Sequence[Entry | None]) -> Row:
    return Row(key, meaning(interface, key), tuple(entries), _verdict(key, entries))


def _verdict(key: str, entries: Iterable[Entry | None]) -> Verdict:
    """Whether all servers have the key, and the same under it."""
    found = list(entries)
    if len(found) == 1:
        return "one server"
    if None in found:
        return "not all"
    return "alike" if key in OBJECTS or len(set(found)) == 1 else "differ"
