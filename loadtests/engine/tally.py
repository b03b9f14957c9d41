"""What one slice counted: answers, failures by kind, bytes, and exact latencies; and their percentiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FAILURES = ("refused", "reset", "short", "status", "body", "timeout")
"""Every kind of failure: connection refused; reset or closed without an answer; an answer that ends early;
a wrong status or head; a wrong or surplus body; no answer in time."""

CLOCKS = ("response", "service", "lag", "last")
"""Every clock: `response` runs from the moment a request was to be sent to its last byte, `service` from the
moment it was sent. Where no schedule says when, they are the same and only `response` is kept. `lag`: how
long after its moment a request was sent although a connection was free. `last`: from a broadcast to the last
of its subscribers, for whom `response` is each one's own."""

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
SAMPLES_BEYOND = 100
"""A percentile is told only with so many samples beyond it; with fewer, a few requests decide."""
MIN_SAMPLES: Mapping[str, int] = {
    **{name: round(SAMPLES_BEYOND / (1 - share)) for name, share in QUANTILES.items()},
    "max": 1,
}


def nearest_rank(share: float, samples: int) -> int:
    """Which of so many ascending samples, from 1, is the least that this share of them does not exceed."""
    # A product such as 0.99 * 10,000 can come out a hair over the whole number it should be.
    return math.ceil(round(share * samples, 6))


def percentile_us(histogram: Mapping[int, int], share: float) -> int:
    """The nearest-rank percentile of latencies: the least that this share of the requests did not exceed.

    Args:
        histogram: latency in microseconds → count.
        share: above 0, up to 1.

    Raises:
        ValueError: the histogram is empty.
    """
    rank, seen = nearest_rank(share, sum(histogram.values())), 0
    for latency_us, count in sorted(histogram.items()):
        seen += count
        if count and seen >= rank:
            return latency_us
    raise ValueError("no requests")


@dataclass(slots=True)
class Tally:
    """Mutable counters of one group of connections; `SliceResult` is the frozen copy.

    Attributes:
        timed_in_window: how many of the first in `response_ns` came within the window; None: all of them.
        answered_ns: open loop: when each answered request was to be sent, was sent, and was answered.
        given_up_ns: open loop: when each that was given up was to be sent, and was given up.
        sent_ns: open loop: when each that found a free connection was to be sent, and was sent.
        left_out_ns: open loop: clock → the latencies that are kept apart, for which the engine was late.
    """

    completed: int = 0
    drained: int = 0
    offered: int = 0
    unsent: int = 0
    opened: int = 0
    closed_by_server: int = 0
    no_port: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    examples: dict[str, str] = field(default_factory=dict)
    response_ns: list[int] = field(default_factory=list)
    service_ns: list[int] = field(default_factory=list)
    lag_ns: list[int] = field(default_factory=list)
    last_ns: list[int] = field(default_factory=list)
    completed_ns: list[int] = field(default_factory=list)
    timed_in_window: int | None = None
    left_out_ns: dict[str, list[int]] = field(default_factory=dict)
    answered_ns: list[tuple[int, int, int]] = field(default_factory=list)
    given_up_ns: list[tuple[int, int]] = field(default_factory=list)
    sent_ns: list[tuple[int, int]] = field(default_factory=list)
    names: dict[str, list[int]] = field(default_factory=dict)
    uncounted: dict[str, int] = field(default_factory=dict)

    def drain(self) -> None:
        """Counts a correct answer that came after the window."""
        if self.timed_in_window is None:
            self.timed_in_window = len(self.response_ns)
        self.drained += 1

    def time_open_loop(self, is_left_out: Callable[[int], bool]) -> None:
        """Makes the latencies of an open loop, when its slice is over.

        Args:
            is_left_out: whether the latencies of what was to be sent at a moment are kept apart.
        """
        # The answers within the window came first.
        self.timed_in_window = sum(not is_left_out(times[0]) for times in self.answered_ns[: self.completed])
        responses = [(intended, answered - intended) for intended, _, answered in self.answered_ns]
        responses += [(intended, ended - intended) for intended, ended in self.given_up_ns]
        services = [(intended, answered - sent) for intended, sent, answered in self.answered_ns]
        lags = [(intended, sent - intended) for intended, sent in self.sent_ns]
        for clock, times in zip(CLOCKS, (responses, services, lags), strict=False):
            self.left_out_ns[clock] = [took for intended, took in times if is_left_out(intended)]
        self.response_ns, self.service_ns, self.lag_ns = (
            [took for intended, took in times if not is_left_out(intended)]
            for times in (responses, services, lags)
        )

    def fail(self, kind: str, example: str) -> None:
        """Counts one failure and keeps the first example of its kind."""
        self.failures[kind] += 1
        self.examples.setdefault(kind, example)

    def histograms(self) -> dict[str, Counter[int]]:
        """Clock → whole microseconds → count; `response` always, the others where they ran."""
        clocks = zip(CLOCKS, (self.response_ns, self.service_ns, self.lag_ns, self.last_ns), strict=True)
        return {
            clock: _in_microseconds(latencies_ns)
            for clock, latencies_ns in clocks
            if latencies_ns or clock == "response"
        }

    def left_out(self) -> dict[str, Counter[int]]:
        """As `histograms`, of what is kept apart; without clocks of which nothing is."""
        return {clock: _in_microseconds(found) for clock, found in self.left_out_ns.items() if found}


def _in_microseconds(latencies_ns: Iterable[int]) -> Counter[int]:
    return Counter(latency_ns // 1000 for latency_ns in latencies_ns)


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What happened to one group in one slice.

    Attributes:
        window_s: from the first send to the moment the engine stopped sending; `completed` is counted in it.
        elapsed_s: from the first send to the last answer, the drain included.
        completed, drained: correct answers within the window, and after it.
        counted, counted_s: whole turns of answers and the time they took (`loadtests.engine.group`);
            their ratio is the throughput.
        offered: requests that the schedule had for the window; 0 in a closed loop.
        unsent: how many of them found no free connection and were given up. Unless left out, they are in the
            `response` histogram with the time they had waited, which is less than they would have.
        opened: connections opened since the slice began; closed_by_server: those that the server ended.
        no_port: connections that failed because every local port towards the server was taken.
        failures: kind (see `FAILURES`) → count; examples: kind → the first one, as text.
        histograms: clock (see `CLOCKS`) → latency in whole microseconds → count. In a closed loop without
            each connection's first request, in an open one without what is left out.
        late: open loop: as `histograms`, of the requests that are left out, since the engine was held up at
            their moment or about it (`loadtests.engine.pauses`). Everything else counts them.
        busy_share: share of `elapsed_s` that the engine's loop spent at work; of several, the busiest.
        timed_in_window, timed_in_window_us: of the `response` histogram, the answers that came within the
            window and the sum of their latencies.
        held_s: closed loop: how long the engine had the connections between an answer and the next request,
            added up over all connections; in that time they are not in flight.
        workers_missing: Locust workers that gave no count, or a late one; their load is not in this result.
        names: of a Locust file, type and name of a request (`GET /json`) → answers that count, and failures.
        uncounted: of a Locust file, what it did and this result does not count: `WS echo: why` → how often.
        pause_variance: of a Locust file, the variance that the pauses of its users alone leave in `counted`.
    """

    window_s: float
    elapsed_s: float
    completed: int
    drained: int
    counted: int
    counted_s: float
    offered: int
    unsent: int
    opened: int
    closed_by_server: int
    no_port: int
    bytes_received: int
    bytes_sent: int
    failures: Mapping[str, int]
    examples: Mapping[str, str]
    histograms: Mapping[str, Mapping[int, int]]
    busy_share: float
    started_unix_ns: int
    timed_in_window: int = 0
    timed_in_window_us: int = 0
    late: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    held_s: float = 0.0
    workers_missing: int = 0
    names: Mapping[str, Sequence[int]] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    pause_variance: float = 0.0

    @property
    def histogram(self) -> Mapping[int, int]:
        """The `response` clock's."""
        return self.histograms["response"]

    @property
    def left_out(self) -> int:
        """How many response times are left out."""
        return sum(self.late.get("response", {}).values())

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
        held_s: float = 0.0,
        pause_variance: float = 0.0,
    ) -> SliceResult:
        """Freezes a tally; `turns` are `counted` and `counted_s`."""
        timed = len(tally.response_ns) if tally.timed_in_window is None else tally.timed_in_window
        return cls(
            window_s=window_s,
            elapsed_s=elapsed_s,
            completed=tally.completed,
            drained=tally.drained,
            counted=turns[0],
            counted_s=turns[1],
            offered=tally.offered,
            unsent=tally.unsent,
            opened=tally.opened,
            closed_by_server=tally.closed_by_server,
            no_port=tally.no_port,
            bytes_received=tally.bytes_received,
            bytes_sent=tally.bytes_sent,
            failures=dict(tally.failures),
            examples=dict(tally.examples),
            histograms=tally.histograms(),
            busy_share=busy_share,
            started_unix_ns=started_unix_ns,
            timed_in_window=timed,
            timed_in_window_us=sum(tally.response_ns[:timed]) // 1000,
            late=tally.left_out(),
            held_s=held_s,
            names={name: list(counts) for name, counts in tally.names.items()},
            uncounted=dict(tally.uncounted),
            pause_variance=pause_variance,
        )

    @classmethod
    def merge(cls, results: Sequence[SliceResult]) -> SliceResult:
        """What several engines counted at the same time on the same cell, as one result: nothing is rounded.

        Rates add up: `counted_s` is the time in which the engines together counted `counted` answers.

        Args:
            results: at least one.
        """
        first, *others = results
        if not others:
            return first

        def total(name: str) -> int:
            return sum(getattr(result, name) for result in results)

        def longest(name: str) -> float:
            return max(float(getattr(result, name)) for result in results)

        window_s = longest("window_s")
        counted = total("counted")
        rate_per_s = sum(result.counted / result.counted_s for result in results)
        return cls(
            window_s=window_s,
            elapsed_s=longest("elapsed_s"),
            completed=total("completed"),
            drained=total("drained"),
            counted=counted,
            counted_s=counted / rate_per_s if counted else window_s,
            offered=total("offered"),
            unsent=total("unsent"),
            opened=total("opened"),
            closed_by_server=total("closed_by_server"),
            no_port=total("no_port"),
            bytes_received=total("bytes_received"),
            bytes_sent=total("bytes_sent"),
            failures={kind: sum(result.failures[kind] for result in results) for kind in FAILURES},
            examples={kind: text for result in reversed(results) for kind, text in result.examples.items()},
            histograms=_added_clocks([result.histograms for result in results]),
            busy_share=longest("busy_share"),
            started_unix_ns=min(result.started_unix_ns for result in results),
            timed_in_window=total("timed_in_window"),
            timed_in_window_us=total("timed_in_window_us"),
            late=_added_clocks([result.late for result in results]),
            held_s=sum(result.held_s for result in results),
            workers_missing=total("workers_missing"),
            names=_added_names(results),
            uncounted=_added_counts([result.uncounted for result in results]),
            pause_variance=sum(result.pause_variance for result in results),
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry; the reverse of `from_json`."""
        data = {name: getattr(self, name) for name in self.__slots__}
        for name in ("histograms", "late"):
            data[name] = {
                clock: [list(pair) for pair in histogram.items()] for clock, histogram in data[name].items()
            }
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SliceResult:
        """The result that `to_json` described."""
        values = dict(data)
        for name in ("histograms", "late"):
            values[name] = {clock: dict(pairs) for clock, pairs in data[name].items()}
        return cls(**values)


def _added_clocks(parts: Sequence[Mapping[str, Mapping[int, int]]]) -> dict[str, Counter[int]]:
    added: dict[str, Counter[int]] = {}
    for clock in CLOCKS:
        for part in parts:
            if clock in part:
                added.setdefault(clock, Counter()).update(part[clock])
    return added


def _added_counts(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part)
    return dict(counts)


def _added_names(results: Sequence[SliceResult]) -> dict[str, list[int]]:
    names: dict[str, list[int]] = {}
    for result in results:
        for name, (answers, failures) in result.names.items():
            counts = names.setdefault(name, [0, 0])
            counts[0] += answers
            counts[1] += failures
    return names
