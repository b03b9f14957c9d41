"""The model of a level: the studentized range, moderated variances, and what subjects without a block do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.figures import model
from analysis.figures.model import fit, means, moderate, range_limit, range_tail
from analysis.figures.statistics import Array


@pytest.mark.parametrize(("subjects", "freedom"), [(2, 2.0), (3, 4.0), (6, 9.5), (18, 4.0), (18, 60.0)])
def test_the_studentized_range_is_that_of_scipy(subjects: int, freedom: float) -> None:
    limit = range_limit(0.05, subjects, freedom)

    assert limit == pytest.approx(stats.studentized_range.ppf(0.95, subjects, freedom), rel=1e-3)
    wider = np.array([1.2 * limit])
    known = stats.studentized_range.sf(wider, subjects, freedom)
    assert range_tail(wider, subjects, freedom) == pytest.approx(known, rel=0.02)


def test_variances_alike_within_chance_are_pooled() -> None:
    variances, freedom = moderate(np.array([1.0, 1.1, 0.9, 1.0]), np.full(4, 9.0))

    assert variances == pytest.approx([1.0, 1.1, 1.0, 1.0])
    assert freedom == pytest.approx(np.full(4, 27.0))


def test_variances_that_differ_beyond_chance_keep_most_of_themselves() -> None:
    own = np.array([0.01, 0.1, 1.0, 10.0, 100.0])

    variances, freedom = moderate(own, np.full(5, 9.0))

    assert (variances >= own).all()
    assert variances[0] < 0.03
    assert variances[-1] == 100.0
    assert (freedom < 10).all()


def test_the_prior_is_that_of_smyth() -> None:
    # Variances drawn as the model has them: a scaled inverse chi-squared prior with 8 degrees of freedom.
    random = np.random.default_rng(1)
    true = 2.0 * 8 / random.chisquare(8, 20_000)
    own = true * random.chisquare(4, 20_000) / 4

    variances, freedom = moderate(own, np.full(20_000, 4.0))

    assert freedom[0] == pytest.approx(4 + 8, rel=0.1)
    lowest = own.argmin()
    assert variances[lowest] == pytest.approx((8 * 2.0 + 4 * own[lowest]) / 12, rel=0.1)


def test_three_blocks_give_a_pair_no_more_freedom_than_its_own_two_variances_have() -> None:
    assert moderate(np.ones(18), np.full(18, 2.0))[1] == pytest.approx(np.full(18, 4.0))


def test_a_noisy_subject_does_not_pass_its_noise_to_the_others() -> None:
    random = np.random.default_rng(2)
    numbers = random.normal(0, 0.01, (7, 10))
    quiet = fit(numbers[1:]).error
    numbers[0] *= 100

    beside = fit(numbers).error[6:]

    assert np.median(beside) < 1.3 * np.median(quiet)


def test_the_error_is_right_where_subjects_lack_blocks() -> None:
    random = np.random.default_rng(3)
    found, means = [], []
    for _ in range(400):
        numbers = random.normal(0, 1, (6, 8)) + random.normal(0, 5, 8)
        numbers[0, :4] = np.nan
        numbers[1, 3:6] = np.nan
        pairs = fit(numbers)
        found.append(pairs.error**2)
        means.append(pairs.mean)

    assert pairs.blocks.tolist() == [2, 4, 4, 4, 4, 5, 5, 5, 5, 8, 8, 8, 8, 8, 8]
    # Moderation never lowers a variance, so that the error is a little too large on average.
    ratio = np.mean(found, axis=0) / np.var(means, axis=0)
    assert (ratio > 0.9).all()
    assert np.median(ratio) < 1.4


def test_subjects_without_common_blocks_have_no_error() -> None:
    numbers = np.array([[0.0, 0.1, 0.2, np.nan, np.nan, np.nan], [np.nan] * 3 + [0.3, 0.1, 0.2]])

    pairs = fit(numbers)

    assert pairs.blocks.tolist() == [0]
    assert np.isnan([pairs.mean[0], pairs.error[0], pairs.freedom[0]]).all()


def test_subjects_without_any_spread_have_no_error_either_way() -> None:
    pairs = fit(np.array([[1.0] * 5, [2.0] * 5, [2.0] * 5]))

    assert pairs.error.tolist() == [0, 0, 0]
    assert pairs.mean.tolist() == [-1, -1, 0]


def chain(subjects: int, random: np.random.Generator) -> Array:
    """Numbers of subjects of which each has three of its four blocks in common with the next."""
    numbers = np.full((subjects, subjects + 3), np.nan)
    for subject, own in enumerate(numbers):
        own[subject : subject + 4] = random.normal(0, 1, 4)
    return numbers


def test_where_the_model_does_not_converge_each_pair_has_its_own_paired_error() -> None:
    numbers = chain(30, np.random.default_rng(4))

    pairs = fit(numbers)

    assert pairs.paired
    differences = numbers[0, 1:4] - numbers[1, 1:4]
    assert pairs.blocks[0] == 3
    assert pairs.error[0] == pytest.approx(stats.sem(differences))
    assert pairs.freedom[0] == 2
    assert np.isnan(pairs.error[pairs.blocks == 1]).all()
    assert not np.isinf(pairs.error[pairs.blocks > 1]).any()


def test_a_subject_that_leaves_no_residual_of_its_own_makes_the_model_singular(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Weights of 1 and 0: what a variance that is nothing beside the others comes to.
    extreme = np.array([1e-300, 1e300, 1e300, 1e300])
    monkeypatch.setattr(model, "moderate", lambda _, freedom: (extreme, freedom))
    random = np.random.default_rng(5)
    numbers = random.normal(0, 1, (4, 6)) * np.array([[0.1], [9.0], [9.0], [9.0]])

    pairs = fit(numbers)

    assert pairs.paired
    assert pairs.error[0] == pytest.approx(stats.sem(numbers[0] - numbers[1]))


def test_a_few_missing_blocks_do_not_take_the_model_away() -> None:
    numbers = np.random.default_rng(6).normal(0, 1, (8, 10))
    numbers[0, 3:] = np.nan
    numbers[5, :4] = np.nan

    assert not fit(numbers).paired


def test_the_error_of_a_mean_holds_what_the_blocks_do_to_all_subjects_and_knows_it_from_few_values() -> None:
    random = np.random.default_rng(7)
    found = [
        means(random.normal(0, 0.01, (12, 6)) + random.normal(0, 0.05, 6) + np.arange(12)[:, None])
        for _ in range(300)
    ]

    errors, freedom = np.array([each.error for each in found]), np.array([each.freedom for each in found])
    spread = np.std([each.mean for each in found], axis=0)

    assert np.sqrt((errors**2).mean(axis=0)) == pytest.approx(spread, rel=0.15)
    assert np.median(freedom) == pytest.approx(5, rel=0.15)


def test_blocks_that_do_nothing_to_all_leave_a_mean_the_freedom_of_the_pooled_variance() -> None:
    random = np.random.default_rng(8)
    freedom = [means(random.normal(0, 0.01, (12, 6))).freedom for _ in range(100)]

    assert np.median(freedom) > 15


@pytest.mark.parametrize("numbers", [[[1.0, 1.2, 0.9]], [[1.0, 1.2, 0.9, np.nan], [np.nan, 0.4, 0.5, 0.7]]])
def test_without_a_model_a_mean_has_the_error_of_its_own_numbers(numbers: list[list[float]]) -> None:
    found = means(np.array(numbers))

    assert found.error[0] == pytest.approx(stats.sem([1.0, 1.2, 0.9]))
    assert found.freedom[0] == 2
