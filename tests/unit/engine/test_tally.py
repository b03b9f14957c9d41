"""What slices counted, added up over engines and carried between processes: exact, nothing rounded."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest

from loadtests.engine.tally import CLOCKS, FAILURES, SliceResult, Tally, nearest_rank, percentile_us

COUNTS = (
    "completed",
    "drained",
    "offered",
    "unsent",
    "opened",
    "closed_by_server",
    "no_port",
    "bytes_received",
    "bytes_sent",
)


def result_of(tally: Tally, **changes: object) -> SliceResult:
    result = SliceResult.of(
        tally,
        window_s=0.1,
        elapsed_s=0.11,
        busy_share=0.2,
        started_unix_ns=1000,
        turns=(tally.completed, 0.1),
    )
    return dataclasses.replace(result, **changes)  # type: ignore[arg-type]  # any field, by name


def full_tally(scale: int) -> Tally:
    """A tally in which no two counters are alike."""
    tally = Tally()
    for name, prime in zip(COUNTS, (2, 3, 5, 7, 11, 13, 17, 19, 23), strict=True):
        setattr(tally, name, scale * prime)
    for number, kind in enumerate(FAILURES, 1):
        for _ in range(number * scale):
            tally.fail(kind, f"{kind} {scale}")
    tally.response_ns = [1000 * scale, 1999 * scale, 5000]
    tally.service_ns = [1000 * scale]
    tally.lag_ns = [10, 20]
    tally.left_out_ns = {"response": [3000] * 29 * scale, "lag": [4000]}
    return tally


def test_latency_is_counted_in_whole_microseconds_cut_off() -> None:
    tally = Tally(response_ns=[0, 999, 1000, 1999, 2000])
    assert tally.histograms() == {"response": {0: 2, 1: 2, 2: 1}}


def test_the_response_clock_is_there_even_if_nothing_came_and_the_others_only_where_they_ran() -> None:
    assert Tally().histograms() == {"response": {}}
    everything = Tally(response_ns=[1000], service_ns=[2000], lag_ns=[3000], last_ns=[4000])
    assert everything.histograms() == {
        clock: {latency_us: 1} for clock, latency_us in zip(CLOCKS, (1, 2, 3, 4), strict=True)
    }


def test_the_first_example_of_a_kind_is_kept_and_every_failure_counted() -> None:
    tally = Tally()
    tally.fail("body", "first")
    tally.fail("body", "second")
    assert tally.failures["body"] == 2
    assert tally.examples == {"body": "first"}


def test_a_result_does_not_change_with_the_tally_it_was_made_of() -> None:
    tally = full_tally(1)
    result = result_of(tally)
    before = json.dumps(result.to_json())
    tally.fail("reset", "later")
    tally.response_ns.append(7)
    tally.completed += 1
    assert json.dumps(result.to_json()) == before


def test_a_result_survives_json_whole() -> None:
    result = result_of(full_tally(3), workers_missing=2)
    assert SliceResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_result_of_one_engine_is_the_merged_one() -> None:
    result = result_of(full_tally(2))
    assert SliceResult.merge([result]) == result


def test_merging_adds_every_count_and_loses_none() -> None:
    results = [result_of(full_tally(scale)) for scale in (1, 10, 100)]
    merged = SliceResult.merge(results)
    for name in (*COUNTS, "counted", "left_out", "workers_missing"):
        assert getattr(merged, name) == sum(getattr(result, name) for result in results), name
    assert merged.failures == {kind: 111 * number for number, kind in enumerate(FAILURES, 1)}


def test_merging_adds_the_histograms_of_every_clock() -> None:
    first = result_of(Tally(response_ns=[1000, 2000], service_ns=[1000]))
    second = result_of(Tally(response_ns=[2000, 9000], last_ns=[9000]))
    assert SliceResult.merge([first, second]).histograms == {
        "response": {1: 1, 2: 2, 9: 1},
        "service": {1: 1},
        "last": {9: 1},
    }


def test_merging_keeps_the_longest_time_the_earliest_start_the_busiest_engine_and_the_first_example() -> None:
    early = result_of(full_tally(1), started_unix_ns=500, elapsed_s=0.2, busy_share=0.1)
    late = result_of(full_tally(2), started_unix_ns=900, elapsed_s=0.1, busy_share=0.9)
    merged = SliceResult.merge([early, late])
    assert (merged.started_unix_ns, merged.elapsed_s, merged.busy_share) == (500, 0.2, 0.9)
    assert merged.examples["body"] == "body 1"


def test_an_example_that_only_a_later_engine_has_is_kept() -> None:
    tally = Tally()
    tally.fail("status", "a 500")
    assert SliceResult.merge([result_of(Tally()), result_of(tally)]).examples == {"status": "a 500"}


def test_the_throughput_of_engines_side_by_side_is_the_sum_of_theirs() -> None:
    """Each counted its turns over a time of its own: 300/0.1 s and 100/0.2 s are 3,500/s, not 400/0.2 s."""
    fast = result_of(Tally(), counted=300, counted_s=0.1)
    slow = result_of(Tally(), counted=100, counted_s=0.2)
    merged = SliceResult.merge([fast, slow])
    assert merged.counted == 400
    assert merged.counted / merged.counted_s == pytest.approx(3500)


def test_an_engine_that_counted_nothing_takes_nothing_from_the_others() -> None:
    merged = SliceResult.merge(
        [result_of(Tally(), counted=0, counted_s=0.1), result_of(Tally(), counted=200, counted_s=0.1)]
    )
    assert merged.counted / merged.counted_s == pytest.approx(2000)
    nothing = SliceResult.merge([result_of(Tally()), result_of(Tally())])
    assert (nothing.counted, nothing.counted_s) == (0, 0.1)


def test_answers_within_the_window_are_told_from_drained_ones() -> None:
    tally = Tally(completed=2, response_ns=[1000, 3000])
    alone = result_of(tally)
    tally.drain()
    tally.response_ns.append(70_000)
    tally.drain()
    tally.response_ns.append(90_000)
    for result in (alone, result_of(tally)):
        assert (result.timed_in_window, result.timed_in_window_us) == (2, 4)


def open_loop_tally() -> Tally:
    """Three answers, of which two came within the window, and a request that was given up."""
    answered = [(1_000, 2_000, 5_000), (10_000, 30_000, 60_000), (20_000, 21_000, 90_000)]
    tally = Tally(completed=2, drained=1, offered=4, unsent=1, answered_ns=answered)
    tally.given_up_ns = [(40_000, 95_000)]
    tally.sent_ns = [(1_000, 2_000), (20_000, 21_000)]
    return tally


def test_an_open_loop_has_three_clocks_and_what_was_given_up_the_first_of_them() -> None:
    tally = open_loop_tally()
    tally.time_open_loop(lambda _moment_ns: False)
    result = result_of(tally)
    assert result.histograms == {
        "response": {4: 1, 50: 1, 70: 1, 55: 1},
        "service": {3: 1, 30: 1, 69: 1},
        "lag": {1: 2},
    }
    assert (result.timed_in_window, result.timed_in_window_us) == (2, 54)
    assert (result.left_out, result.late) == (0, {})


def test_the_latencies_of_what_is_left_out_are_kept_apart_and_everything_else_counts_it() -> None:
    tally = open_loop_tally()
    tally.time_open_loop({10_000, 20_000, 40_000}.__contains__)
    result = result_of(tally)
    assert result.histograms == {"response": {4: 1}, "service": {3: 1}, "lag": {1: 1}}
    assert result.late == {"response": {50: 1, 70: 1, 55: 1}, "service": {30: 1, 69: 1}, "lag": {1: 1}}
    assert (result.timed_in_window, result.timed_in_window_us, result.left_out) == (1, 4, 3)
    assert (result.completed, result.drained, result.offered, result.unsent) == (2, 1, 4, 1)


def test_what_a_locust_file_did_is_added_up_by_name_and_survives_the_journey() -> None:
    left = result_of(
        Tally(names={"GET /json": [3, 1]}, uncounted={"WS echo: no traffic": 2}), pause_variance=1.5
    )
    right = result_of(
        Tally(names={"GET /json": [4, 0], "WS echo": [5, 2]}, uncounted={"WS echo: no traffic": 1})
    )
    merged = SliceResult.merge([left, right])
    assert merged.names == {"GET /json": [7, 1], "WS echo": [5, 2]}
    assert merged.uncounted == {"WS echo: no traffic": 3}
    assert merged.pause_variance == 1.5
    assert SliceResult.from_json(json.loads(json.dumps(merged.to_json()))) == merged
    assert left.names == {"GET /json": [3, 1]}


def test_a_tally_goes_on_without_changing_the_names_of_its_result() -> None:
    tally = Tally(names={"GET /json": [3, 1]})
    result = result_of(tally)
    tally.names["GET /json"][0] += 1
    assert result.names == {"GET /json": [3, 1]}


def test_a_percentile_is_the_nearest_rank() -> None:
    histogram = Counter([*range(1, 100), 5000])
    assert percentile_us(histogram, 0.5) == 50
    assert percentile_us(histogram, 0.99) == 99
    assert percentile_us(histogram, 1.0) == 5000
    with pytest.raises(ValueError, match="no requests"):
        percentile_us({}, 0.5)


@pytest.mark.parametrize("per_mille", [500, 900, 990, 999])
def test_a_rank_is_exact_where_its_product_is_not(per_mille: int) -> None:
    for samples in (1, 7, 100, 999, 1_000, 10_000, 100_001, 123_456_789):
        assert nearest_rank(per_mille / 1000, samples) == -(-per_mille * samples // 1000)
