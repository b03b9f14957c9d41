"""Estimates, intervals, verdicts and percentiles, against known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.figures.cells import LevelData
from analysis.figures.model import range_limit
from analysis.figures.percentiles import percentiles
from analysis.figures.statistics import (
    PAIRED,
    Array,
    Comparison,
    block_numbers,
    compare_all,
    explanation,
    least_effect,
    log_rate_table,
    mean_interval,
    rate,
    trimmed_mean,
    verdict,
)
from gatebench.results.schema import LevelPlan

BLOCKS, ROUNDS = 5, 20


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


@pytest.mark.parametrize("rounds", range(3, 10))
def test_a_stray_slice_is_cut_from_blocks_of_fewer_than_ten_rounds_as_well(rounds: int) -> None:
    values = np.full(rounds, np.log(1000.0))
    values[1] = np.log(100.0)

    assert np.exp(trimmed_mean(values)) == pytest.approx(1000.0)


@pytest.mark.parametrize("values", [[3.0], [3.0, 5.0]])
def test_of_one_or_two_slices_none_is_cut(values: list[float]) -> None:
    assert trimmed_mean(values) == np.mean(values)


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


def test_left_and_right_are_compared_only_in_rounds_that_both_were_in() -> None:
    machine = np.linspace(1.0, 0.2, ROUNDS)[None, :] * np.ones((BLOCKS, 1))
    slices = slices_of({"a": 2_000 * machine, "b": 1_000 * machine})
    early_only = slices[(slices["subject"] == "b") | (slices["round"] < 8)]

    (found,), _ = compare_all(log_rate_table(early_only), ["a", "b"])

    assert found.ratio == pytest.approx(2.0)


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


@pytest.mark.parametrize(("blocks", "enough"), [(1, False), (2, False), (3, True)])
def test_under_three_blocks_there_is_not_enough_data_for_an_interval_or_a_verdict(
    blocks: int, enough: bool
) -> None:
    noise = 1 + np.arange(blocks)[:, None] * 0.001 * np.ones((1, ROUNDS))
    table = log_rate_table(slices_of({"a": 2_000 * noise, "b": np.full((blocks, ROUNDS), 1_000.0)}))

    (found,), _ = compare_all(table, ["b", "a"])

    assert (found.low is not None, found.p is not None) == (enough, enough)
    assert found.verdict == ("higher" if enough else "not enough data")
    assert found.ratio == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "higher"),
        ({"ratio": 0.8, "low": 0.7, "high": 0.9}, "lower"),
        ({"low": 0.99}, "tie"),
        ({"ratio": 1.029, "low": 1.02, "high": 1.04}, "tie"),
        ({"ratio": 1 / 1.029, "low": 0.96, "high": 0.98}, "tie"),
        ({"low": None, "high": None, "p": None}, "not enough data"),
    ],
)
def test_a_verdict_needs_the_interval_and_the_size_to_agree(
    changes: dict[str, object], expected: str
) -> None:
    assert verdict(pair(**changes)) == expected


def test_an_effect_within_what_tells_twins_apart_is_a_tie() -> None:
    assert verdict(pair(ratio=1.08, low=1.05), bar=1.10) == "tie"
    assert verdict(pair(ratio=1.12, low=1.05), bar=1.10) == "higher"


@pytest.mark.parametrize(
    ("changes", "bar", "expected"),
    [
        ({}, 1.03, ""),
        (
            {"blocks": 2, "low": None, "high": None, "p": None},
            1.03,
            "a verdict needs 3 blocks with both, and there are 2",
        ),
        ({"low": 0.99}, 1.5, "the interval holds 1"),
        (
            {"ratio": 1.06, "low": 1.05},
            1.071,
            "within the 7.1% by which a server that was measured twice differs from itself here",
        ),
        ({"ratio": 1.02, "low": 1.01}, 1.03, "within 3%, which is never called a difference"),
    ],
)
def test_a_tie_names_what_made_it_one(changes: dict[str, object], bar: float, expected: str) -> None:
    assert explanation(pair(**changes), bar) == expected


@pytest.mark.parametrize(
    ("changes", "bar"),
    [
        ({"ratio": 1.06, "low": 1.05}, 1.06),
        ({"ratio": 0.8, "low": 0.7, "high": 0.9}, 1.25),
        ({"ratio": 1.06, "low": 0.99}, 1.03),
        ({"ratio": 1.01, "low": 1.005}, 1.03),
    ],
)
def test_twins_raise_the_bar_to_their_effect_only_where_the_model_tells_them_apart(
    changes: dict[str, object], bar: float
) -> None:
    assert least_effect(pair(**changes)) == pytest.approx(bar)


def wobbling(*names_and_rates: tuple[str, float], again: float = 1.0) -> pd.DataFrame:
    """Five blocks of subjects that all wobble by 0.2 %; `a~again` is that many times `a`."""
    blocks = 1 + np.random.default_rng(1).normal(0, 0.002, (5, ROUNDS))
    rates = {name: rate * np.roll(blocks, turn, 0) for turn, (name, rate) in enumerate(names_and_rates, 1)}
    return log_rate_table(slices_of({**rates, "a~again": again * names_and_rates[0][1] * blocks}))


def test_twins_are_compared_beside_the_competitors_and_among_none_of_them() -> None:
    pairs, of_twins = compare_all(wobbling(("a", 1_060.0), ("b", 1_000.0)), ["a", "b"], ("a", "a~again"))

    assert [(each.left, each.right, each.verdict) for each in pairs] == [("a", "b", "higher")]
    assert of_twins is not None
    assert (of_twins.left, of_twins.right, of_twins.verdict) == ("a", "a~again", "tie")


def test_twins_that_are_told_apart_make_ties_of_all_effects_up_to_theirs() -> None:
    table = wobbling(("a", 1_060.0), ("b", 1_000.0), ("c", 1_200.0), again=0.9)

    pairs, of_twins = compare_all(table, ["a", "b", "c"], ("a", "a~again"))

    assert of_twins is not None
    assert of_twins.verdict == "higher"
    assert [each.verdict for each in pairs] == ["tie", "lower", "lower"]
    assert "11.1% by which a server that was measured twice differs" in pairs[0].because


def test_two_subjects_alone_have_the_interval_and_p_of_the_paired_t_test() -> None:
    random = np.random.default_rng(2)
    rates = {name: 1_000 * np.exp(random.normal(0, 0.05, (6, ROUNDS))) for name in "ab"}
    table = log_rate_table(slices_of(rates))
    numbers = block_numbers(table)
    known = stats.ttest_rel(*numbers)

    (found,), _ = compare_all(table, ["a", "b"])

    assert (np.log(found.low or 0), np.log(found.high or 0)) == pytest.approx(
        tuple(known.confidence_interval(0.95)), rel=1e-3
    )
    assert found.p == pytest.approx(known.pvalue, rel=1e-3)


def test_p_is_under_five_percent_just_where_the_interval_excludes_one() -> None:
    random = np.random.default_rng(3)
    rates = {f"s{number}": 1_000 * np.exp(random.normal(0.03 * number, 0.08, (5, 6))) for number in range(8)}

    pairs, _ = compare_all(log_rate_table(slices_of(rates)), list(rates))

    excluded = [not (each.low or 0) <= 1 <= (each.high or 0) for each in pairs]
    assert 0 < sum(excluded) < len(pairs) == 28
    assert [(each.p or 0) < 0.05 for each in pairs] == excluded


def test_blocks_are_paired_so_that_what_a_block_does_to_all_is_in_no_interval() -> None:
    random = np.random.default_rng(4)
    own = {name: np.exp(random.normal(0, 0.01, (5, ROUNDS))) for name in "abcd"}
    swinging = np.array([1.0, 0.5, 2.0, 1.3, 0.8])[:, None]

    steady, _ = compare_all(log_rate_table(slices_of({name: 1e5 * each for name, each in own.items()})), own)
    moved, _ = compare_all(
        log_rate_table(slices_of({name: 1e5 * each * swinging for name, each in own.items()})), own
    )

    assert [each.high for each in moved] == pytest.approx([each.high for each in steady], abs=1e-3)


def test_a_subject_in_some_blocks_only_is_compared_in_these() -> None:
    random = np.random.default_rng(5)
    swinging = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])[:, None]
    rates = {name: 1_000 * swinging * np.exp(random.normal(0, 0.01, (6, ROUNDS))) for name in "abcd"}
    slices = slices_of(rates)

    pairs, _ = compare_all(
        log_rate_table(slices[(slices["subject"] != "a") | (slices["block"] < 3)]), list(rates)
    )

    assert [each.blocks for each in pairs] == [3, 3, 3, 6, 6, 6]
    assert [each.ratio for each in pairs] == pytest.approx([1.0] * 6, abs=0.01)
    widths = [(each.high or 0) / (each.low or 1) for each in pairs]
    assert min(widths[:3]) > max(widths[3:])


def test_a_subject_that_shares_too_few_blocks_leaves_the_others_comparable() -> None:
    random = np.random.default_rng(6)
    slices = slices_of({name: 1_000 * np.exp(random.normal(0, 0.01, (5, ROUNDS))) for name in "abc"})

    pairs, _ = compare_all(
        log_rate_table(slices[(slices["subject"] != "a") | (slices["block"] == 0)]), ["a", "b", "c"]
    )

    assert [each.verdict for each in pairs] == ["not enough data", "not enough data", "tie"]
    assert pairs[0].because == "a verdict needs 3 blocks with both, and there are 1"
    assert pairs[0].ratio == pytest.approx(1.0, abs=0.02)


def test_a_subject_without_a_figure_has_no_number_and_is_compared_with_none() -> None:
    table = log_rate_table(slices_of({"a": np.full((5, 3), 500.0), "b": np.full((5, 3), 400.0)}))
    table["c"] = np.nan

    pairs, _ = compare_all(table, ["a", "b", "c"])

    assert np.isnan(block_numbers(table)[2]).all()
    assert [(each.ratio, each.blocks) for each in pairs[1:]] == [(None, 0), (None, 0)]
    assert pairs[0].verdict == "higher"


def test_a_subject_alone_is_compared_with_none() -> None:
    assert compare_all(log_rate_table(slices_of({"a": np.full((5, 3), 500.0)})), ["a"]) == ([], None)


def test_a_figure_of_a_whole_block_is_its_number() -> None:
    values = np.array([[500.0], [900.0], [510.0], [505.0]])

    numbers = block_numbers(log_rate_table(slices_of({"a": values, "b": np.full((4, 1), 100.0)})))

    assert numbers[0] - numbers[1] == pytest.approx(np.log(values[:, 0] / 100))


def test_pairs_of_a_level_whose_model_cannot_be_fitted_say_that_theirs_is_the_paired_interval() -> None:
    random, subjects = np.random.default_rng(3), 30
    index = pd.MultiIndex.from_product([range(subjects + 3), range(3)], names=["block", "round"])
    table = pd.DataFrame(random.normal(0, 0.01, (len(index), subjects)), index, range(100, 100 + subjects))
    blocks = index.get_level_values("block").to_numpy()
    for place, column in enumerate(table.columns):
        table.loc[(blocks < place) | (blocks > place + 3), column] = np.nan
    table.columns = table.columns.map(str)

    pairs, _ = compare_all(table, table.columns)

    first = pairs[0]
    assert (first.left, first.right, first.blocks) == ("100", "101", 3)
    assert first.verdict == "tie"
    assert first.because == f"the interval holds 1; {PAIRED}"
    differences = block_numbers(table)[0] - block_numbers(table)[1]
    error = stats.sem(differences[~np.isnan(differences)])
    limit = range_limit(0.05, subjects, 2.0) / np.sqrt(2)
    assert np.log((first.high or 0) / (first.low or 0)) / 2 == pytest.approx(limit * error, rel=1e-2)


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


def test_the_slices_of_a_locust_file_are_one_in_a_block() -> None:
    plan = LevelPlan(workload="visit", level="users16", connections=16, model="locust", rounds=3, slice_s=1.0)
    slices = pd.DataFrame(
        {
            "block": [0, 0, 0, 1, 1, 1],
            "round": [0, 1, 2, 0, 1, 2],
            "subject": "a",
            "counted": [10, 40, 10, 20, 20, 26],
            "counted_s": 1.0,
            "pause_variance": 4.0,
        }
    )
    living = LevelData(plan, slices, slices, partial=False)
    assert np.exp(log_rate_table(living.rated)["a"]).tolist() == pytest.approx([20.0, 22.0])
    before = LevelData(plan, slices.assign(pause_variance=0.0), slices, partial=False)
    assert len(log_rate_table(before.rated)) == 6
