"""What a run's slices tell beside figures: examples of failures, and what a Locust file did by name; bounded.

Servers and Locust files decide what these texts say and how many there are. So both are bounded here, and
characters that would not show, or would change what does, become escapes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatebench.results.columns import SliceRow
from gatebench.words.model import Workload

MOST_EXAMPLES = 3
"""Texts that are kept of one kind of failure, of one cell in one block."""
MOST_NAMES = 200
"""Names that are kept apart in one cell and block; a file that puts an ID into each has no end of them."""
OTHER_NAMES = "(other names)"
TEXT_CHARACTERS = 300
_DIGITS = re.compile(r"\d+")

CellKey = tuple[int, str, str, str]
"""Block, subject, workload and level."""


def visible(text: str, most: int = TEXT_CHARACTERS) -> str:
    """The text in one line of `most` characters at the most; control and format characters as escapes."""
    # What is too long anyway is not looked at: it may be megabytes.
    shown = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text[: most + 1]
    )
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def request_of(workload: Workload) -> str:
    """Method and path of what the load engine sends.

    Empty for a Locust file, and where several requests take turns: both name theirs.
    """
    if workload.locustfile is not None or workload.others:
        return ""
    method = "WS" if workload.transport == "websocket" else workload.request.method
    return f"{method} {workload.request.path}"


@dataclass(slots=True)
class _Cell:
    """What is known of one cell in one block, and what of it is not written yet."""

    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    known: set[str] = field(default_factory=set)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    names: dict[str, list[int]] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)

    def add_example(self, kind: str, text: str) -> None:
        seen = self.seen[kind]
        alike = _DIGITS.sub("0", text)  # texts that differ in a number, such as an ID, tell the same
        if len(seen) < MOST_EXAMPLES and alike not in seen:
            seen.add(alike)
            self.examples[kind].append(text)

    def add_name(self, name: str, counts: tuple[int, int]) -> None:
        sums = self.names.setdefault(self._bounded(name), [0, 0])
        sums[0] += counts[0]
        sums[1] += counts[1]

    def add_uncounted(self, name: str, count: int) -> None:
        name = self._bounded(name)
        self.uncounted[name] = self.uncounted.get(name, 0) + count

    def _bounded(self, name: str) -> str:
        name = visible(name)
        if name in self.known or len(self.known) < MOST_NAMES:
            self.known.add(name)
            return name
        return OTHER_NAMES

    def take(self) -> dict[str, Any]:
        """What came since the last time; empty where nothing did."""
        if not (self.examples or self.names or self.uncounted):
            return {}
        news = {"examples": dict(self.examples), "names": self.names, "uncounted": self.uncounted}
        self.examples = defaultdict(list)
        self.names, self.uncounted = {}, {}
        return news


class Details:
    """Collects them from slices; `events` has what is new of each cell in each block."""

    def __init__(self) -> None:
        self._cells: dict[CellKey, _Cell] = defaultdict(_Cell)

    def add(self, row: SliceRow) -> None:
        """Takes what one slice tells."""
        result, workload = row.result, row.cell.workload
        if not (result.examples or result.names or result.uncounted):
            return
        cell = self._cells[row.block, row.cell.subject.id, workload.name, row.cell.level.id]
        request = request_of(workload)
        for kind, text in result.examples.items():
            cell.add_example(kind, visible(f"{request}: {text}" if request else text))
        for name, (answers, failures) in result.names.items():
            cell.add_name(name, (answers, failures))
        for what, count in result.uncounted.items():
            cell.add_uncounted(what, count)

    def events(self) -> Iterator[Mapping[str, Any]]:
        """What came since the last time, cell by cell."""
        for (block, subject, workload, level), cell in self._cells.items():
            if news := cell.take():
                yield {"block": block, "subject": subject, "workload": workload, "level": level, **news}
