"""What one slice counted: answers, failures by kind, bytes, and exact latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAILURES = ("refused", "reset", "short", "status", "body", "timeout")
"""Every kind of failure: connection refused; reset or closed without an answer; an answer that ends early;
a wrong status or head; a wrong or surplus body; no answer in time."""


@dataclass(slots=True)
class Tally:
    """Mutable counters of one group of connections; `SliceResult` is the frozen copy."""

    completed: int = 0
    drained: int = 0
    opened: int = 0
    closed_by_server: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    examples: dict[str, str] = field(default_factory=dict)
    latencies_ns: list[int] = field(default_factory=list)
    completed_ns: list[int] = field(default_factory=list)

    def fail(self, kind: str, example: str) -> None:
        """Counts one failure and keeps the first example of its kind."""
        self.failures[kind] += 1
        self.examples.setdefault(kind, example)


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What happened to one group in one slice.

    Attributes:
        window_s: from the first send to the moment the engine stopped sending; `completed` is counted in it.
        elapsed_s: from the first send to the last answer, the drain included.
        completed, drained: correct answers within the window, and after it.
        counted, counted_s: whole turns of answers and the time they took (`loadtests.engine.estimator`);
            their ratio is the throughput.
        opened: connections opened since the slice began; closed_by_server: those that the server ended.
        failures: kind (see `FAILURES`) → count; examples: kind → the first one, as text.
        histogram: latency in whole microseconds → count, without each connection's first request.
        busy_share: share of `elapsed_s` that the engine's loop spent outside `poll`.
    """

    window_s: float
    elapsed_s: float
    completed: int
    drained: int
    counted: int
    counted_s: float
    opened: int
    closed_by_server: int
    bytes_received: int
    bytes_sent: int
    failures: Mapping[str, int]
    examples: Mapping[str, str]
    histogram: Mapping[int, int]
    busy_share: float
    started_unix_ns: int

    @classmethod
    def of(
        cls,
        tally: Tally,
        *,
        window_s: float,
        elapsed_s: float,
        busy_share: float,
        started_unix_ns: int,
        turns: tuple[int, float],
    ) -> SliceResult:
        """Freezes a tally; `turns` are `counted` and `counted_s`."""
        return cls(
            window_s=window_s,
            elapsed_s=elapsed_s,
            completed=tally.completed,
            drained=tally.drained,
            counted=turns[0],
            counted_s=turns[1],
            opened=tally.opened,
            closed_by_server=tally.closed_by_server,
            bytes_received=tally.bytes_received,
            bytes_sent=tally.bytes_sent,
            failures=dict(tally.failures),
            examples=dict(tally.examples),
            histogram=Counter(latency_ns // 1000 for latency_ns in tally.latencies_ns),
            busy_share=busy_share,
            started_unix_ns=started_unix_ns,
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry; the reverse of `from_json`."""
        data = {name: getattr(self, name) for name in self.__slots__}
        data["histogram"] = [list(pair) for pair in self.histogram.items()]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SliceResult:
        """The result that `to_json` described."""
        values = dict(data)
        values["histogram"] = dict(values["histogram"])
        return cls(**values)
