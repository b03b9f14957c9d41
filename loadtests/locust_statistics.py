"""Merges the engine's exact counts into Locust's own statistics, for its UI, its tables and its workers."""

from __future__ import annotations

import time

from locust.stats import RequestStats, StatsEntry, StatsError

from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target


def merge_into(stats: RequestStats, target: Target, result: SliceResult) -> None:
    """Adds one result to the entry of its target and to Locust's total.

    Locust keeps response times as milliseconds in a dictionary of counts. Here they are whole milliseconds
    without Locust's further rounding; the lab's own results keep the exact microseconds.
    """
    method = "WS" if target.transport == "websocket" else target.method
    batch = _entry(stats, target.path, method, result)
    # Locust's own events for each single request would cost more than the request.
    stats.get(target.path, method).extend(batch)
    stats.total.extend(batch)
    for kind, count in result.failures.items():
        if count:
            text = f"{kind}: {result.examples.get(kind, '')}"
            key = StatsError.create_key(method, target.path, text)
            error = stats.errors.setdefault(key, StatsError(method, target.path, text))
            error.occurrences += count


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
    entry.total_response_time = round(sum(us * count for us, count in result.histogram.items()) / 1000)
    for latency_us, count in result.histogram.items():
        entry.response_times[latency_us // 1000] += count
    if result.histogram:
        entry.min_response_time = min(result.histogram) // 1000
        entry.max_response_time = max(result.histogram) // 1000
    entry.total_content_length = result.bytes_received
    entry.last_request_timestamp = now
    entry.num_reqs_per_sec[int(now)] = entry.num_requests
    if failures:
        entry.num_fail_per_sec[int(now)] = failures
    return entry
