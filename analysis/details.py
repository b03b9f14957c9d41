"""Reads what a run's slices tell beside figures: examples of failures, and what a Locust file did by name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatebench.results.details import MOST_EXAMPLES, OTHER_NAMES, visible
from gatebench.words.errors import GatebenchError
from loadtests.engine.tally import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_HTTP_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}
)


@dataclass(frozen=True, slots=True)
class Named:
    """What a Locust file did under one name."""

    answers: int
    failures: int


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one cell beside its figures; all of it is safe to print in one line.

    Attributes:
        examples: kind of failure → its first texts, which name the request; without kinds that did not occur.
        names: of a Locust file, type and name of a request (`GET /json`) → how often.
        uncounted: of a Locust file, what it did and no figure counts: `WS echo: why` → how often.
    """

    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, Named] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts_messages(self) -> bool:
        """Whether all that was counted by name are messages of a WebSocket, and something was.

        A Locust file calls these as it likes, but not as a method of HTTP.
        """
        counted = [name for name, each in self.names.items() if each.answers]
        return bool(counted) and not any(_is_http(name) for name in counted)


NONE = Details()


def _is_http(name: str) -> bool:
    return name.partition(" ")[0].upper() in _HTTP_METHODS or name == OTHER_NAMES


@dataclass(frozen=True, slots=True)
class EveryDetail:
    """The details of a whole run, cell by cell and block by block; empty for runs that did not keep any."""

    parts: Mapping[tuple[str, str, str], Mapping[int, Details]] = field(default_factory=dict)

    def of(self, subject: str, workload: str, level: str, blocks: Iterable[int] | None = None) -> Details:
        """The sum over these blocks of one cell; over all of them where none are named."""
        by_block = self.parts.get((subject, workload, level), {})
        chosen = (
            by_block if blocks is None else {block: by_block[block] for block in blocks if block in by_block}
        )
        return together([chosen[block] for block in sorted(chosen)])


def together(parts: Iterable[Details]) -> Details:
    """Several details as one: the first examples, and the sums of what was counted."""
    examples: dict[str, list[str]] = defaultdict(list)
    names: dict[str, Named] = {}
    uncounted: dict[str, int] = {}
    for part in parts:
        for kind, texts in part.examples.items():
            examples[kind] += [text for text in texts if text not in examples[kind]]
        for name, each in part.names.items():
            sofar = names.get(name, Named(0, 0))
            names[name] = Named(sofar.answers + each.answers, sofar.failures + each.failures)
        for what, count in part.uncounted.items():
            uncounted[what] = uncounted.get(what, 0) + count
    kinds = (kind for kind in FAILURES if kind in examples)
    return Details({kind: tuple(examples[kind][:MOST_EXAMPLES]) for kind in kinds}, names, uncounted)


def read_details(events: Iterable[Mapping[str, Any]], file: Path) -> EveryDetail:
    """The events of the kind `details`; what they say is made safe to print, for anybody may have written it.

    Raises:
        GatebenchError: one of them has not the form that a run writes; it names the file.
    """
    parts: dict[tuple[str, str, str], dict[int, Details]] = defaultdict(dict)
    for event in events:
        if event["kind"] != "details":
            continue
        try:
            cell = str(event["subject"]), str(event["workload"]), str(event["level"])
            block, told = int(event["block"]), _details(event)
        except (TypeError, ValueError, AttributeError) as error:
            raise GatebenchError(f"{file}: details of a cell are not what a run writes ({error})") from error
        parts[cell][block] = together([parts[cell].get(block, NONE), told])
    return EveryDetail(parts)


def _details(event: Mapping[str, Any]) -> Details:
    return Details(
        {
            kind: tuple(visible(str(text)) for text in list(texts)[:MOST_EXAMPLES])
            for kind, texts in event["examples"].items()
            if kind in FAILURES
        },
        {
            visible(name): Named(int(answers), int(failures))
            for name, (answers, failures) in event["names"].items()
        },
        {visible(what): int(count) for what, count in event["uncounted"].items()},
    )
