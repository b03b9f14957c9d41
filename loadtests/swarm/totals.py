"""What a whole Locust test counted, exactly: in one process, and over several workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from loadtests.engine.tally import FAILURES, MIN_SAMPLES, QUANTILES, SliceResult, percentile_us

SCHEMA = 1
SUMS = (
    "completed",
    "drained",
    "offered",
    "unsent",
    "opened",
    "closed_by_server",
    "no_port",
    "bytes_received",
    "bytes_sent",
    "timed_in_window",
    "timed_in_window_us",
)


def latency_us(histogram: Mapping[int, int]) -> dict[str, int | None]:
    """Percentiles and the maximum, in µs; None where there are too few latencies for one."""
    samples = sum(histogram.values())
    values = {
        name: percentile_us(histogram, share) if samples >= MIN_SAMPLES[name] else None
        for name, share in QUANTILES.items()
    }
    return {**values, "max": max(histogram, default=None)}


class Total:
    """The sum of one group's reports; several engines report on it in turn."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._ended = self._began
        self._started_unix_ns = time.time_ns()
        self._sums: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._histograms: dict[str, Counter[int]] = {"response": Counter()}
        self._busy_s = 0.0
        self._reported_s = 0.0

    def add(self, result: SliceResult) -> None:
        """Adds one report."""
        self._ended = time.perf_counter()
        for name in SUMS:
            self._sums[name] += getattr(result, name)
        self._failures.update(result.failures)
        self._examples = {**result.examples, **self._examples}
        for clock, histogram in result.histograms.items():
            self._histograms.setdefault(clock, Counter()).update(histogram)
        self._busy_s += result.busy_share * result.elapsed_s
        self._reported_s += result.elapsed_s

    def result(self) -> SliceResult:
        """The sum as one window, from the group's beginning to its last report.

        The throughput is all that was answered over all that time, with the ramp-up and the slow end in it.
        `busy_share` is the mean over time and engines.
        """
        window_s = max(self._ended - self._began, 1e-6)
        sums: dict[str, Any] = {name: self._sums[name] for name in SUMS}
        return SliceResult(
            window_s=window_s,
            elapsed_s=window_s,
            counted=self._sums["completed"],
            counted_s=window_s,
            failures={kind: self._failures[kind] for kind in FAILURES},
            examples=dict(self._examples),
            histograms={clock: dict(counts) for clock, counts in self._histograms.items()},
            busy_share=self._busy_s / self._reported_s if self._reported_s else 0.0,
            started_unix_ns=self._started_unix_ns,
            **sums,
        )


class Totals:
    """The totals of every group that one process drives without an end."""

    def __init__(self) -> None:
        self._totals: dict[str, Total] = {}

    def begin(self, group: str) -> None:
        """Starts a group's clock."""
        self._totals[group] = Total()

    def add(self, group: str, result: SliceResult) -> None:
        """Adds a report of a group that has begun."""
        self._totals[group].add(result)

    def results(self) -> dict[str, SliceResult]:
        """Group → everything it counted."""
        return {group: total.result() for group, total in self._totals.items()}


def results_of(totals: Mapping[str, Any]) -> dict[str, SliceResult]:
    """Group → what one process counted."""
    return {group: SliceResult.from_json(data) for group, data in totals["groups"].items()}


@dataclass(slots=True)
class TestResult:
    """What one Locust test counted, over all of its workers.

    Attributes:
        expected: workers that the test should have had; a test without workers has one, itself.
        heard: name → group → what that worker counted.
        lost: name → why that worker's counts are missing or cover only a part of the test.
    """

    __test__ = False  # pytest takes a name like this for a test

    expected: int = 1
    heard: dict[str, dict[str, SliceResult]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def knows(self, worker: str) -> bool:
        """Whether this worker's counts are here, or why they are not."""
        return worker in self.heard or worker in self.lost

    def hear(self, worker: str, totals: Mapping[str, Any]) -> None:
        """Takes `groups` (name → `SliceResult.to_json`) and `fault` (empty if there was none) of a worker.

        A worker that ends by itself while it is asked tells twice: the first word holds.
        """
        if totals["fault"]:
            self.lose(worker, totals["fault"])
        elif not self.knows(worker):
            self.heard[worker] = results_of(totals)

    def lose(self, worker: str, why: str) -> None:
        """Says why a worker's counts are missing, unless that is known already."""
        if not self.knows(worker):
            self.lost[worker] = why

    @property
    def complete(self) -> bool:
        """Whether every worker counted from the beginning to the end."""
        return not self.lost and len(self.heard) >= self.expected

    def groups(self) -> dict[str, SliceResult]:
        """Group → what all workers counted together; the lost ones' load is not in it."""
        parts: dict[str, list[SliceResult]] = {}
        for results in self.heard.values():
            for group, result in results.items():
                parts.setdefault(group, []).append(result)
        missing = max(self.expected - len(self.heard), len(self.lost))
        return {group: _merged(results, missing) for group, results in parts.items()}

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry."""
        return {
            "schema": SCHEMA,
            "complete": self.complete,
            "workers": {"expected": self.expected, "heard": len(self.heard), "lost": self.lost},
            "groups": {
                group: {"latency_us": latency_us(result.histogram), "result": result.to_json()}
                for group, result in self.groups().items()
            },
        }

    def lines(self) -> Sequence[str]:
        """The result for a person, a line a group."""
        lines = []
        for group, result in self.groups().items():
            shown = ", ".join(
                f"{name} {'too few answers' if value is None else f'{value:,} µs'}"
                for name, value in latency_us(result.histogram).items()
            )
            lines.append(f"{group}: {result.completed:,} answers, exactly: {shown}")
        return lines


def _merged(results: Sequence[SliceResult], workers_missing: int) -> SliceResult:
    return replace(SliceResult.merge(results), workers_missing=workers_missing)
