"""The statistics held against runs of which the truth is known, on a machine that behaves as a real one does.

`tests.support.simulation` makes the runs, and the documents' figures from many more of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from analysis.compare.compare import difference, ratios
from analysis.figures.cells import level_data
from analysis.figures.model import Means, means
from analysis.figures.statistics import (
    LOOKING_SIGNIFICANCE,
    SIGNIFICANCE,
    Array,
    block_numbers,
    compare_all,
    log_rate_table,
    mean_interval,
    trimmed_mean,
)
from analysis.figures.steadiness import drifts
from analysis.reading.run import load_run
from gatebench.words.paths import ROOT
from tests.support.simulation import (
    ESTIMATORS,
    WORLDS,
    Told,
    World,
    all_at_looks,
    at_the_end,
    missed_at_the_end,
    numbers,
    pair_at_looks,
    power,
    said_of_stalls,
    simulated,
    stalled,
    table,
    told,
)

HEADLINE = ROOT / "docs" / "headline"
STRAYLESS = World(stray=0.0)


def residuals(log_rates: pd.DataFrame) -> Array:
    """What is left of each slice without its server's median in the block and the round's median."""
    centred = log_rates - log_rates.groupby(level="block").transform("median")
    values = centred.sub(centred.median(axis=1), axis=0).to_numpy(dtype=np.float64)
    return np.asarray(values[~np.isnan(values)])


def test_the_model_is_no_quieter_than_the_committed_run_and_not_much_noisier() -> None:
    run = load_run(HEADLINE)
    plans = [each for each in run.meta.levels if each.model == "closed" and each.rounds > 2]
    quantiles = [0.5, 2.5, 16, 84, 97.5]
    seen = np.array(
        [np.percentile(residuals(log_rate_table(level_data(run, plan).slices)), quantiles) for plan in plans]
    )
    model = simulated(np.random.default_rng(1), 100, subjects=16, blocks=5, world=STRAYLESS)
    made = np.percentile(np.concatenate([residuals(table(each)) for each in model]), quantiles)

    assert len(seen) == 3
    outermost = np.abs(seen).max(axis=0)
    assert (np.abs(made) < 1.5 * outermost + 0.02).all()
    assert (np.abs(made) > np.median(np.abs(seen), axis=0) - 0.02).all()
    assert (np.sign(made) == np.sign(np.median(seen, axis=0))).all()


@pytest.mark.parametrize("rounds", [5, 9, 20])
@pytest.mark.parametrize("blocks", [5, 7, 10])
def test_intervals_of_a_ratio_and_of_a_rate_cover_the_truth_95_times_in_100(blocks: int, rounds: int) -> None:
    random = np.random.default_rng(100 * blocks + rounds)
    rates = simulated(random, 4_000, 2, blocks, rounds)
    # `simulated` takes the mean of the blocks' numbers for what a server really does.
    true_rate = 0.0

    _, low, high, _ = mean_interval(trimmed_mean(rates[:, 0] - rates[:, 1]))
    _, slowest, fastest, _ = mean_interval(trimmed_mean(rates[:, 0]))

    assert 0.93 < np.mean((low < 0) & (high > 0)) < 0.97
    assert 0.93 < np.mean((slowest < true_rate) & (fastest > true_rate)) < 0.97


def test_slices_taken_for_independent_would_cover_it_far_less_often() -> None:
    rates = simulated(np.random.default_rng(1), 2_000, 2, 5, rounds=40, world=STRAYLESS)

    _, low, high, _ = mean_interval((rates[:, 0] - rates[:, 1]).reshape(2_000, -1))

    assert np.mean((low < 0) & (high > 0)) < 0.75


def test_comparisons_across_blocks_instead_of_within_rounds_would_be_far_less_precise() -> None:
    rates = simulated(np.random.default_rng(1), 500, 2, 5)
    within = trimmed_mean(rates[:, 0] - rates[:, 1]).mean(axis=-1)
    across = (trimmed_mean(rates[:, 0]) - trimmed_mean(np.roll(rates[:, 1], 1, axis=0))).mean(axis=-1)

    assert within.std() < across.std() / 1.5


def test_the_interval_agrees_with_a_bootstrap_over_blocks() -> None:
    random, blocks = np.random.default_rng(3), 10
    rates = simulated(random, 300, 2, blocks, rounds=20)
    means = trimmed_mean(rates[:, 0] - rates[:, 1])
    _, low, high, _ = mean_interval(means)

    drawn = random.integers(0, blocks, (2_000, blocks))
    ends = np.percentile(means[:, drawn].mean(axis=-1), [2.5, 97.5], axis=1)

    # The bootstrap takes the spread of ten blocks for that of all: narrower by √(9/10) and by z over t.
    narrower = np.sqrt(9 / 10) * 1.960 / 2.262
    assert np.mean((ends[1] - ends[0]) / (high - low)) == pytest.approx(narrower, rel=0.05)
    assert np.mean((ends[0] + ends[1]) / 2 - (low + high) / 2) == pytest.approx(0, abs=0.002)


@pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))
@pytest.mark.parametrize(("blocks", "rounds"), [(5, 9), (10, 4), (15, 3)])
def test_of_eighteen_equal_servers_all_intervals_hold_the_truth_in_95_runs_of_100(
    blocks: int, rounds: int, world: World
) -> None:
    runs = 200
    rates = simulated(np.random.default_rng(blocks), runs, 18, blocks, rounds, world)

    seen = told(numbers(rates), 18)

    # 95 % within three standard errors of the simulation
    assert seen.missed.any(axis=1).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert seen.claimed.any(axis=1).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("subjects", [2, 3, 6])
def test_of_few_equal_servers_all_intervals_hold_the_truth_in_95_runs_of_100(subjects: int) -> None:
    runs = 400
    seen = told(numbers(simulated(np.random.default_rng(subjects), runs, subjects, 10, 4)), subjects)

    assert abs(seen.missed.any(axis=1).mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / runs)


def test_single_intervals_for_all_pairs_would_print_a_false_ranking_in_most_runs() -> None:
    rates = simulated(np.random.default_rng(1), 300, 18, 5)

    assert told(numbers(rates), 2).missed.any(axis=1).mean() > 0.7


@pytest.mark.parametrize(
    ("subjects", "blocks", "rounds", "faster", "least"),
    [
        (2, 5, 9, 1.1, 0.95),
        (2, 10, 4, 1.05, 0.60),
        (6, 10, 4, 1.1, 0.90),
        (18, 5, 9, 1.1, 0.70),
        (18, 10, 4, 1.1, 0.85),
        (18, 15, 3, 1.05, 0.30),
    ],
)
def test_a_true_difference_is_found_as_often_as_the_documents_say(
    subjects: int, blocks: int, rounds: int, faster: float, least: float
) -> None:
    assert power(np.random.default_rng(subjects), 100, subjects, blocks, rounds, faster) > least


def test_bounding_slow_slices_would_be_more_precise_and_hide_the_stalls_of_a_server_itself() -> None:
    bounded_1 = ESTIMATORS["slower 1, faster 3"]
    quiet = stalled(np.random.default_rng(1), 0.0, rounds=4)[0]
    of_20 = stalled(np.random.default_rng(2), 0.2, rounds=20)

    assert bounded_1(quiet).var() < 0.8 * trimmed_mean(quiet).var()
    # A fifth of its slices at half speed: a tenth of its rate.
    assert said_of_stalls(of_20, trimmed_mean) == pytest.approx(0.1, abs=0.02)
    assert said_of_stalls(of_20, bounded_1) < 0.05


def test_two_servers_are_told_apart_as_well_as_by_the_paired_t() -> None:
    rates = simulated(np.random.default_rng(2), 1_500, 2, 10, rounds=4)
    of_blocks = numbers(rates)

    _, low, high, _ = mean_interval(trimmed_mean(rates[:, 0] - rates[:, 1]))

    assert np.median(told(of_blocks, 2).half_width) < 1.02 * np.median(high - low) / 2


def test_the_many_simulated_runs_are_judged_as_a_real_one_is() -> None:
    rates = simulated(np.random.default_rng(6), 2, 5, 6, rounds=4)
    of_blocks = numbers(rates)
    seen = told(of_blocks, 5)

    pairs, _ = compare_all(table(rates[1]), table(rates[1]).columns)

    assert of_blocks[1] == pytest.approx(block_numbers(table(rates[1])))
    assert np.log([pair.high or 0 for pair in pairs]) == pytest.approx(
        seen.effect[1] + seen.half_width[1], abs=1e-3
    )


@pytest.mark.parametrize(("subjects", "blocks"), [(1, 5), (2, 10), (6, 3), (6, 10), (18, 5), (18, 10)])
def test_of_two_runs_of_equal_servers_all_ratios_hold_the_truth_in_95_pairs_of_100(
    subjects: int, blocks: int
) -> None:
    random, pairs = np.random.default_rng(subjects * blocks), 300
    runs = trimmed_mean(simulated(random, 2 * pairs, subjects, blocks, rounds=4))

    missed = [_misses(means(a), means(b)) for a, b in zip(runs[:pairs], runs[pairs:], strict=True)]

    assert np.mean(missed) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / pairs)


def test_intervals_that_took_what_blocks_do_to_all_for_each_servers_own_noise_would_hold_it_too_seldom() -> (
    None
):
    random, pairs = np.random.default_rng(9), 200
    runs = numbers(simulated(random, 2 * pairs, 6, 10, rounds=4))
    machine = random.normal(0, 0.05, (2 * pairs, 1, 10))

    missed = [
        _misses(replace(means(a), mean=means(a + of_a).mean), replace(means(b), mean=means(b + of_b).mean))
        for a, b, of_a, of_b in zip(runs[:pairs], runs[pairs:], machine[:pairs], machine[pairs:], strict=True)
    ]

    assert np.mean(missed) > 0.2


def _misses(a: Means, b: Means) -> bool:
    """Whether any interval of B over A excludes 1."""
    found = ratios([difference(a, b, row, row) for row in range(len(a.mean))])
    return any(not (each.low or 0) <= 1 <= (each.high or 0) for each in found)


@pytest.mark.parametrize(
    ("subjects", "blocks", "rounds"),
    [
        *[(1, 5, 6), (2, 5, 9), (5, 5, 6), (5, 5, 20), (18, 5, 9)],
        *[(1, 10, 3), (5, 10, 3), (18, 10, 2), (18, 10, 3), (18, 10, 5), (1, 5, 2), (5, 5, 3), (5, 3, 2)],
    ],
)
def test_chance_calls_fewer_than_one_steady_server_in_a_hundred_unsteady(
    subjects: int, blocks: int, rounds: int
) -> None:
    runs = 1_000 // subjects
    rates = simulated(np.random.default_rng(subjects), runs, subjects, blocks, rounds)

    assert np.mean(_unsteady(rates)) < 0.01


@pytest.mark.parametrize(
    ("blocks", "fall", "least"),
    [(5, np.linspace(-0.25, 1.25, 9).clip(0, 1), 0.9), (10, np.arange(3) / 2, 0.75)],
)
def test_a_server_that_loses_a_fifth_within_each_block_is_called_unsteady_and_its_company_is_not(
    blocks: int, fall: Array, least: float
) -> None:
    rates = simulated(np.random.default_rng(4), 150, 16, blocks, len(fall))
    rates[:, 3] += np.log(0.8) * fall

    found = _unsteady(rates)

    assert found[:, 3].mean() > least
    assert np.delete(found, 3, axis=1).mean() < 0.01


def _unsteady(rates: Array) -> npt.NDArray[np.bool_]:
    """Whether each server of each run fails the gate, shape (runs, subjects)."""
    found = (drifts(table(run), exclusive=False).values() for run in rates)
    return np.array([[each.certain and not 1 / 1.05 <= each.ratio <= 1.05 for each in run] for run in found])


@pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))
def test_runs_that_end_once_they_are_precise_enough_hold_the_truth_in_95_of_100_whatever_was_asked(
    world: World,
) -> None:
    runs = 3_000
    rates = simulated(np.random.default_rng(9), runs, 2, 28, rounds=4, world=world)
    missed = missed_at_the_end(pair_at_looks(rates, LOOKING_SIGNIFICANCE))
    assert missed < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_without_error_spent_on_looking_they_would_miss_it_more_often_than_they_say() -> None:
    rates = simulated(np.random.default_rng(9), 3_000, 2, 28, rounds=4)
    assert missed_at_the_end(pair_at_looks(rates, SIGNIFICANCE)) > 0.065


def test_of_more_servers_they_hold_it_too() -> None:
    runs = 120
    rates = simulated(np.random.default_rng(10), runs, 6, 10, rounds=4)
    missed = missed_at_the_end(all_at_looks(rates, LOOKING_SIGNIFICANCE))
    assert missed < 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_a_run_ends_at_the_first_look_that_is_narrow_enough_and_at_the_last_one_anyway() -> None:
    widths = np.array([[5.0, 3.0, 9.0], [2.0, 9.0, 9.0], [1.0, 1.0, 9.0]])  # of three runs at three looks
    effects = np.arange(9.0).reshape(3, 3)
    seen = [Told(effects[look][:, None], widths[look][:, None]) for look in range(3)]
    assert at_the_end(seen, 0, 0.0).effect.ravel().tolist() == [3.0, 1.0, 8.0]  # 3.0 was asked for
