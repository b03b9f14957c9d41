"""What plain Locust makes of its workers' results: percentiles, who is missing, the cores of engines."""

from __future__ import annotations

import pytest

from gatebench.machine.cores import Cores, divide
from gatebench.words.errors import ConfigurationError
from loadtests.engine.tally import FAILURES, SliceResult, Tally
from loadtests.swarm.totals import TestResult, Total, latency_us


def report(latencies_us: list[int], elapsed_s: float = 0.5, busy_share: float = 0.5) -> SliceResult:
    """What an engine says of half a second."""
    tally = Tally(completed=len(latencies_us), response_ns=[latency * 1000 for latency in latencies_us])
    return SliceResult.of(
        tally,
        window_s=elapsed_s,
        elapsed_s=elapsed_s,
        busy_share=busy_share,
        started_unix_ns=1,
        turns=(len(latencies_us), elapsed_s),
    )


def test_percentiles_are_nearest_ranks_and_need_enough_latencies() -> None:
    thousand = dict.fromkeys(range(1, 1001), 1)
    assert latency_us(thousand) == {"p50": 500, "p90": 900, "p99": None, "p999": None, "max": 1000}
    assert latency_us({7: 100_000})["p999"] == 7
    assert latency_us({}) == {"p50": None, "p90": None, "p99": None, "p999": None, "max": None}


def test_reports_of_a_group_add_up() -> None:
    total = Total()
    total.add(report([5, 5, 9], busy_share=0.2))
    total.add(report([9], busy_share=0.4))
    result = total.result()
    assert result.completed == result.counted == 4
    assert result.histogram == {5: 2, 9: 2}
    assert result.busy_share == pytest.approx(0.3)
    assert result.counted_s == result.window_s > 0
    assert set(result.failures) == set(FAILURES)


def test_workers_results_are_merged_and_a_missing_one_is_told() -> None:
    heard = {"one": {"a": report([1, 2])}, "two": {"a": report([2]), "b": report([4])}}
    whole = TestResult(expected=2, heard=heard)
    assert whole.complete
    assert whole.groups()["a"].histogram == {1: 1, 2: 2}
    assert whole.groups()["b"].completed == 1
    lacking = TestResult(expected=3, heard=heard)
    assert not lacking.complete
    assert lacking.to_json()["workers"] == {"expected": 3, "heard": 2, "lost": {}}
    assert lacking.groups()["a"].workers_missing == 1


def test_why_a_worker_ended_is_not_lost_to_its_silence_afterwards() -> None:
    result = TestResult(expected=2)
    result.hear("one", {"groups": {}, "fault": "the load engine ended before it was told to"})
    result.lose("one", "it gave no sign of life at the test's end")
    result.hear("two", {"groups": {"a": report([1]).to_json()}, "fault": ""})
    result.lose("two", "it gave no sign of life at the test's end")
    assert result.lost == {"one": "the load engine ended before it was told to"}
    assert result.heard["two"]["a"].completed == 1


def test_two_engines_get_the_two_cores_before_the_servers() -> None:
    assert divide([0, 1, 2, 3], engine_cores=2) == Cores(server=(3,), engine=(1, 2), lab=(0,))
    assert divide([0, 1, 2], engine_cores=2) == Cores(server=(2,), engine=(0, 1), lab=(0, 1))
    siblings = {core: frozenset({core // 2 * 2, core // 2 * 2 + 1}) for core in range(4)}
    assert divide([0, 1, 2, 3], engine_cores=2, siblings=siblings).engine == (0, 1)


def test_more_engines_than_free_cores_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"2 core.* available, 3 needed .*2 for the load engine"):
        divide([0, 1], engine_cores=2)
