"""Estimates, intervals, Holm's adjustment, verdicts and percentiles, against known answers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.percentiles import percentiles
from analysis.statistics import (
    Array,
    Comparison,
    compare_all,
    holm,
    log_rate_table,
    mean_interval,
    rate,
    trimmed_mean,
    verdict,
)

BLOCKS, ROUNDS = 5, 20
BLOCK_NOISE, SLICE_NOISE, DRIFT = 0.02, 0.04, 0.02


def simulated_log_rates(random: np.random.Generator, runs: int, subjects: int) -> Array:
    """Log rates of equal subjects, shape (runs, subjects, blocks, rounds), on a machine that drifts."""
    drift = np.cumsum(random.normal(0, DRIFT, (runs, 1, BLOCKS, ROUNDS)), axis=-1)
    starts = random.normal(0, BLOCK_NOISE, (runs, subjects, BLOCKS, 1))
    return drift + starts + random.normal(0, SLICE_NOISE, (runs, subjects, BLOCKS, ROUNDS))


def slices_of(rates: dict[str, Array], window_s: float = 0.1) -> pd.DataFrame:
    """Slices of some subjects from their requests/s, shape (blocks, rounds)."""
    rows = [
        {
            "block": block,
            "round": number,
            "subject": subject,
            "counted": value * window_s,
            "counted_s": window_s,
        }
        for subject, values in rates.items()
        for (block, number), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows)


def pair(**changes: object) -> Comparison:
    values = {"blocks": 5, "ratio": 1.2, "low": 1.1, "high": 1.3, "p": 0.01} | changes
    return Comparison("a", "b", verdict="not enough data", **values)  # type: ignore[arg-type]  # varied by name


def test_a_stray_slice_does_not_move_the_trimmed_mean() -> None:
    values = np.full(20, np.log(1000.0))
    values[7] = np.log(50.0)

    assert np.exp(trimmed_mean(values)) == pytest.approx(1000.0)
    assert np.exp(values.mean()) < 900


def test_the_trimmed_mean_cuts_a_tenth_at_each_end() -> None:
    values = np.array([-1e9, *range(1, 19), 5.0, 1e9, 6.0])[:20]

    assert trimmed_mean(values) == stats.trim_mean(values, 0.1)


def test_the_interval_and_p_are_those_of_the_one_sample_t_test() -> None:
    values = np.array([0.08, 0.11, 0.02, 0.09, 0.13])
    known = stats.ttest_1samp(values, 0)

    mean, low, high, p = mean_interval(values)

    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert p == pytest.approx(known.pvalue)


@pytest.mark.parametrize(("value", "p"), [(0.1, 0.0), (0.0, 1.0)])
def test_blocks_without_any_spread_give_an_interval_without_width(value: float, p: float) -> None:
    assert [float(part) for part in mean_interval(np.full(5, value))] == [value, value, value, p]


def test_the_interval_agrees_with_a_bootstrap_over_blocks() -> None:
    random = np.random.default_rng(3)
    blocks = random.normal(0.1, 0.03, 30)
    resampled = random.choice(blocks, (20_000, 30)).mean(axis=1)

    _, low, high, _ = mean_interval(blocks)

    # Over 30 blocks both approximate the same interval; the bootstrap's is a few percent narrower.
    assert (low, high) == pytest.approx(
        tuple(np.percentile(resampled, [2.5, 97.5])), abs=float(0.1 * (high - low))
    )


def test_the_interval_of_a_ratio_covers_the_truth_95_times_in_100_on_a_drifting_machine() -> None:
    rates = simulated_log_rates(np.random.default_rng(1), runs=4_000, subjects=2)

    _, low, high, _ = mean_interval(trimmed_mean(rates[:, 0] - rates[:, 1]))

    assert 0.935 < np.mean((low < 0) & (high > 0)) < 0.965


def test_slices_taken_for_independent_would_cover_it_far_less_often() -> None:
    rates = simulated_log_rates(np.random.default_rng(1), runs=4_000, subjects=2)

    _, low, high, _ = mean_interval((rates[:, 0] - rates[:, 1]).reshape(4_000, -1))

    assert np.mean((low < 0) & (high > 0)) < 0.75


def test_comparisons_across_rounds_instead_of_within_them_would_be_far_less_precise() -> None:
    rates = simulated_log_rates(np.random.default_rng(1), runs=500, subjects=2)
    paired = trimmed_mean(rates[:, 0] - rates[:, 1]).mean(axis=-1)
    one_after_the_other = (trimmed_mean(rates[:, 0]) - trimmed_mean(np.roll(rates[:, 1], 1, axis=0))).mean(
        axis=-1
    )

    assert paired.std() < one_after_the_other.std() / 2


def test_equal_servers_are_hardly_ever_told_apart() -> None:
    runs, subjects = 400, 15
    rates = simulated_log_rates(np.random.default_rng(2), runs, subjects)
    left, right = (list(side) for side in zip(*combinations(range(subjects), 2), strict=True))

    mean, low, high, p = mean_interval(trimmed_mean(rates[:, left] - rates[:, right]))
    raw_claims, claims = 0, 0
    for run in range(runs):
        raw_claims += bool((p[run] < 0.05).any())
        found = zip(
            np.exp(mean[run]), np.exp(low[run]), np.exp(high[run]), holm(p[run].tolist()), strict=True
        )
        claims += any(
            verdict(pair(ratio=ratio, low=bottom, high=top, p=adjusted)) != "tie"
            for ratio, bottom, top, adjusted in found
        )

    assert raw_claims / runs > 0.5  # without the adjustment most runs would print a false ranking
    assert claims / runs < 0.08  # 5 % and three standard errors of 400 runs


def test_a_difference_of_ten_percent_is_found_at_five_blocks() -> None:
    rates = simulated_log_rates(np.random.default_rng(4), runs=100, subjects=2)
    found = 0
    for left, right in np.exp(rates):
        slices = slices_of({"a": 11_000 * left, "b": 10_000 * right})
        found += compare_all(log_rate_table(slices), ["a", "b"])[0].verdict == "higher"

    assert found / 100 > 0.9


def test_left_and_right_are_compared_only_in_rounds_that_both_were_in() -> None:
    machine = np.linspace(1.0, 0.2, ROUNDS)[None, :] * np.ones((BLOCKS, 1))
    slices = slices_of({"a": 2_000 * machine, "b": 1_000 * machine})
    early_only = slices[(slices["subject"] == "b") | (slices["round"] < 8)]

    assert compare_all(log_rate_table(early_only), ["a", "b"])[0].ratio == pytest.approx(2.0)


def test_an_absolute_rate_carries_an_interval_over_blocks() -> None:
    per_block = np.array([900.0, 1000.0, 1100.0])[:, None] * np.ones((1, ROUNDS))

    estimate = rate(log_rate_table(slices_of({"a": per_block}))["a"])

    assert estimate is not None
    assert estimate.estimate == pytest.approx(np.exp(np.log(per_block[:, 0]).mean()))
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 900
    assert estimate.high > 1100


def test_one_block_gives_an_estimate_without_an_interval() -> None:
    estimate = rate(log_rate_table(slices_of({"a": np.full((1, ROUNDS), 500.0)}))["a"])

    assert estimate is not None
    assert (round(estimate.estimate), estimate.low, estimate.high) == (500, None, None)


@pytest.mark.parametrize(
    ("blocks", "has_interval", "has_p"), [(1, False, False), (2, True, False), (3, True, True)]
)
def test_under_three_blocks_there_is_not_enough_data_for_a_verdict(
    blocks: int, has_interval: bool, has_p: bool
) -> None:
    noise = 1 + np.arange(blocks)[:, None] * 0.001 * np.ones((1, ROUNDS))
    table = log_rate_table(slices_of({"a": 2_000 * noise, "b": np.full((blocks, ROUNDS), 1_000.0)}))

    (found,) = compare_all(table, ["b", "a"])

    assert (found.low is not None, found.p is not None) == (has_interval, has_p)
    assert found.verdict == ("higher" if has_p else "not enough data")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "higher"),
        ({"ratio": 0.8, "low": 0.7, "high": 0.9}, "lower"),
        ({"p": 0.05}, "tie"),
        ({"low": 0.99}, "tie"),
        ({"ratio": 1.029, "low": 1.02, "high": 1.04}, "tie"),
        ({"ratio": 1 / 1.029, "low": 0.96, "high": 0.98}, "tie"),
        ({"p": None}, "not enough data"),
    ],
)
def test_a_verdict_needs_the_interval_the_adjusted_p_and_the_size_to_agree(
    changes: dict[str, object], expected: str
) -> None:
    assert verdict(pair(**changes)) == expected


def test_an_effect_within_the_runs_own_noise_band_is_a_tie() -> None:
    assert verdict(pair(ratio=1.08, low=1.05), noise_band=1.10) == "tie"
    assert verdict(pair(ratio=1.12, low=1.05), noise_band=1.10) == "higher"


def test_a_noise_band_under_three_percent_does_not_lower_the_bar() -> None:
    assert verdict(pair(ratio=1.02, low=1.01), noise_band=1.001) == "tie"


def test_holm_gives_the_textbook_answer() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_lies_between_the_raw_p_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)

    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p_values) * raw)
    assert [adjusted[index] for index in np.argsort(p_values)] == sorted(adjusted)


@given(st.lists(st.integers(1, 5_000), min_size=200, max_size=400))
def test_percentiles_are_the_nearest_ranks_of_the_samples(samples: list[int]) -> None:
    ones = np.ones(len(samples), dtype=np.int64)
    found = percentiles(np.array(samples, dtype=np.int64), ones)

    assert found.values["p50"] == np.percentile(samples, 50, method="inverted_cdf")
    assert found.values["max"] == max(samples)


def test_rows_of_the_same_latency_add_up() -> None:
    latency, count = np.array([30, 10, 10, 20, 99]), np.array([100, 400, 500, 1, 0])

    found = percentiles(latency, count)

    assert found.samples == 1_001
    assert (found.values["p50"], found.values["p90"], found.values["max"]) == (10, 20, 30)


@pytest.mark.parametrize(
    ("name", "needed"), [("p50", 200), ("p90", 1_000), ("p99", 10_000), ("p999", 100_000)]
)
def test_a_percentile_needs_a_hundred_samples_beyond_it(name: str, needed: int) -> None:
    one = np.array([500])

    assert percentiles(one, np.array([needed])).values[name] == 500
    short = percentiles(one, np.array([needed - 1]))
    assert short.values[name] is None
    assert any(reason.startswith(f"too-few-samples: {name} needs {needed:,}") for reason in short.reasons)


def test_no_sample_gives_no_percentile_at_all() -> None:
    empty = np.array([], dtype=np.int64)

    assert set(percentiles(empty, empty).values.values()) == {None}
