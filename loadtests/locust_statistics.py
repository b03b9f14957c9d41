"""Merges the engine's exact counts into Locust's own statistics, for its UI, its tables and its workers."""

from __future__ import annotations

import time
from typing import cast

from locust.stats import RequestStats, StatsEntry, StatsError

from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target

NEW_CONNECTION = " (new connection)"
"""Ends the name of a row whose requests open a connection each: two different figures are not one row."""
DIGITS = 3


def merge_into(stats: RequestStats, target: Target, result: SliceResult) -> None:
    """Adds one result to the entry of its target and to Locust's total.

    Locust keeps response times as a dictionary from milliseconds to counts, and rounds what it measures
    itself to whole ones; a fast server's would all be 0. Here they have three digits; the minimum, the
    maximum and the sum are exact. The lab's own results keep all microseconds.
    """
    method = "WS" if target.transport == "websocket" else target.method
    name = target.path + (NEW_CONNECTION if target.transport == "close" else "")
    batch = _entry(stats, name, method, result)
    # Locust's own events for each single request would cost more than the request.
    stats.get(name, method).extend(batch)
    stats.total.extend(batch)
    for kind, count in result.failures.items():
        if count:
            text = f"{kind}: {result.examples.get(kind, '')}"
            key = StatsError.create_key(method, name, text)
            error = stats.errors.setdefault(key, StatsError(method, name, text))
            error.occurrences += count


def rounded_ms(latency_us: int) -> float:
    """Microseconds as milliseconds with three digits, so that a power of ten has 900 keys at most."""
    surplus = max(len(str(latency_us)) - DIGITS, 0)
    return round(latency_us, -surplus) / 1000


def _entry(stats: RequestStats, name: str, method: str, result: SliceResult) -> StatsEntry:
    entry = StatsEntry(stats, name, method)
    now = time.time()
    failures = sum(result.failures.values())
    answers = result.completed + result.drained
    timed = sum(result.histogram.values())
    entry.num_requests = answers + failures
    entry.num_failures = failures
    # The first request of a connection in a slice is counted but not timed.
    entry.num_none_requests = entry.num_requests - timed
    # Locust declares integers; the sums and the extremes that it keeps itself are fractions, too.
    entry.total_response_time = cast("int", sum(us * count for us, count in result.histogram.items()) / 1000)
    response_times = cast("dict[float, int]", entry.response_times)
    for latency_us, count in result.histogram.items():
        response_times[rounded_ms(latency_us)] += count
    if result.histogram:
        entry.min_response_time = cast("int", min(result.histogram) / 1000)
        entry.max_response_time = cast("int", max(result.histogram) / 1000)
    entry.total_content_length = result.bytes_received
    entry.last_request_timestamp = now
    entry.num_reqs_per_sec[int(now)] = entry.num_requests
    if failures:
        entry.num_fail_per_sec[int(now)] = failures
    return entry
