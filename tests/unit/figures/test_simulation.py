"""The statistics held against runs of which the truth is known, on a machine that behaves as a real one does.

The model (`simulated`) is fitted to standard runs of one machine in its noisier hours. A test holds it to the
closed loops of `docs/headline`: it is no quieter than these, and by no more than half noisier. Slices ten
times too slow are added to it; no run had any.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from analysis.figures.cells import level_data
from analysis.figures.statistics import (
    MIN_EFFECT,
    Array,
    compare_all,
    holm,
    log_rate_table,
    mean_interval,
    noise_band,
    trimmed_mean,
)
from analysis.figures.steadiness import drifts
from analysis.reading.run import load_run
from gatebench.words.paths import ROOT

HEADLINE = ROOT / "docs" / "headline"
DRIFT, DRIFT_S = 0.05, 10.0
"""Standard deviation of the machine's speed, common to all servers, and the time in which it wanders off."""
START = 0.02
"""Of a server's speed from one start to the next (pairs in `docs/exclusive/together`: 0.033 over √2)."""
SLICE = 0.04
"""Of a slice that nothing disturbed."""
SLOWED, SLOWED_BY = 0.08, 0.20
"""Share of slices that something slowed, and by how much on average, in logarithms."""
STRAY = 0.005
"""Share of slices that are ten times too slow."""
SLICE_S = 0.11


def simulated(
    random: np.random.Generator, runs: int, subjects: int, blocks: int, rounds: int = 9, stray: float = STRAY
) -> Array:
    """Log rates of equal servers, shape (runs, subjects, blocks, rounds).

    The slices of a round follow each other in an order of their own. The drift is a random walk that is drawn
    back to its centre (Ornstein-Uhlenbeck), and goes on from slice to slice within a block.
    """
    steps = random.normal(0, 1, (rounds * subjects, runs, blocks))
    kept = np.exp(-SLICE_S / DRIFT_S)
    for now in range(1, len(steps)):
        steps[now] = kept * steps[now - 1] + np.sqrt(1 - kept**2) * steps[now]
    machine = DRIFT * np.moveaxis(steps, 0, -1).reshape(runs, blocks, rounds, subjects)
    order = random.random(machine.shape).argsort(axis=-1)
    rates = np.take_along_axis(machine, order, axis=-1)
    rates += random.normal(0, START, (runs, blocks, 1, subjects))
    return np.moveaxis(rates + _slice_noise(random, rates.shape, stray), -1, 1)


def _slice_noise(random: np.random.Generator, shape: tuple[int, ...], stray: float) -> Array:
    slowed = (random.random(shape) < SLOWED) * random.exponential(SLOWED_BY, shape)
    strays = (random.random(shape) < stray) * np.log(10)
    return np.asarray(random.normal(0, SLICE, shape) - slowed - strays)


def paired(rates: Array) -> Array:
    """Each block's mean log ratio of every pair, shape (runs, pairs, blocks)."""
    left, right = (list(side) for side in zip(*combinations(range(rates.shape[1]), 2), strict=True))
    parts = [trimmed_mean(run[left] - run[right]) for run in rates]
    return np.array(parts)


def table(rates: Array) -> pd.DataFrame:
    """One run, shape (subjects, blocks, rounds), as `log_rate_table` gives it."""
    subjects, blocks, rounds = rates.shape
    index = pd.MultiIndex.from_product([range(blocks), range(rounds)], names=["block", "round"])
    return pd.DataFrame(rates.reshape(subjects, -1).T, index, [f"s{number:02}" for number in range(subjects)])


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
    model = simulated(np.random.default_rng(1), 100, subjects=16, blocks=5, stray=0.0)
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
    true_rate = trimmed_mean(_slice_noise(random, (1_000_000,), STRAY))

    _, low, high, _ = mean_interval(trimmed_mean(rates[:, 0] - rates[:, 1]))
    _, slowest, fastest, _ = mean_interval(trimmed_mean(rates[:, 0]))

    assert 0.93 < np.mean((low < 0) & (high > 0)) < 0.97
    assert 0.93 < np.mean((slowest < true_rate) & (fastest > true_rate)) < 0.97


def test_slices_taken_for_independent_would_cover_it_far_less_often() -> None:
    rates = simulated(np.random.default_rng(1), 2_000, 2, 5, rounds=40, stray=0.0)

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


@pytest.mark.parametrize("blocks", [5, 10])
def test_of_eighteen_equal_servers_no_two_are_told_apart_in_95_runs_of_100(blocks: int) -> None:
    runs = 600
    rates = simulated(np.random.default_rng(blocks), runs, 18, blocks)

    mean, _, _, p = mean_interval(paired(rates))
    adjusted = np.array([holm(each.tolist()) for each in p])
    claims = (adjusted < 0.05) & (np.abs(mean) > np.log(MIN_EFFECT))

    assert (p < 0.05).any(axis=-1).mean() > 0.9  # without Holm nearly every run would print a false ranking
    assert claims.any(axis=-1).mean() < 0.05


@pytest.mark.parametrize(
    ("subjects", "blocks", "least", "most"),
    [(2, 5, 0.90, 1.0), (6, 5, 0.40, 0.65), (18, 5, 0.03, 0.20), (18, 10, 0.80, 1.0)],
)
def test_a_true_difference_of_ten_percent_is_found_as_often_as_the_documents_say(
    subjects: int, blocks: int, least: float, most: float
) -> None:
    rates = simulated(np.random.default_rng(subjects), 150, subjects + 1, blocks)
    rates[:, 0] += np.log(1.1)
    found = []
    for run in rates:
        frame, last = table(run), f"s{subjects - 1:02}"
        band = noise_band(frame, last, f"s{subjects:02}")
        assert band is not None
        pairs = compare_all(frame, frame.columns[:subjects], band)
        found += [pair.verdict == "higher" for pair in pairs if pair.left == "s00"]

    assert least < np.mean(found) <= most


def test_the_same_server_measured_again_stays_within_the_noise_band_19_times_in_20() -> None:
    rates = simulated(np.random.default_rng(8), 1_000, 4, 5)
    bands = [noise_band(table(run[:2]), "s00", "s01") for run in rates]
    again = trimmed_mean(rates[:, 2] - rates[:, 3]).mean(axis=-1)

    within = [abs(effect) <= np.log(band or 0.0) for effect, band in zip(again, bands, strict=True)]

    assert 0.93 < np.mean(within) < 0.98


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
