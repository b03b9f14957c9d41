"""A server's own drift within its blocks is told from the machine's, and few rounds from enough."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.figures.statistics import Array
from analysis.figures.steadiness import drifts

BLOCKS, ROUNDS = 5, 12
SUBJECTS = ("a", "b", "c", "d", "e")


def table(rates: dict[str, Array]) -> pd.DataFrame:
    """Log rates of some subjects, each of shape (blocks, rounds)."""
    blocks, rounds = next(iter(rates.values())).shape
    index = pd.MultiIndex.from_product([range(blocks), range(rounds)], names=["block", "round"])
    return pd.DataFrame({name: values.ravel() for name, values in rates.items()}, index=index)


def noise(
    rounds: int = ROUNDS, blocks: int = BLOCKS, subjects: tuple[str, ...] = SUBJECTS
) -> dict[str, Array]:
    """Steady servers whose rates differ up to fourfold."""
    random = np.random.default_rng(5)
    return {
        name: place * np.log(1.4) + random.normal(0, 0.01, (blocks, rounds))
        for place, name in enumerate(subjects)
    }


def falling(share: float, rounds: int = ROUNDS) -> Array:
    """The logarithm of a rate that loses that share between the first third and the last."""
    third = rounds // 3
    done = np.clip((np.arange(rounds) - third + 1) / (rounds - 2 * third), 0, 1)
    return np.asarray(np.log(1 - share) * done)


def test_a_server_that_slows_down_in_every_block_is_found_and_the_others_are_not() -> None:
    rates = noise()
    rates["c"] = rates["c"] + falling(0.2)

    found = drifts(table(rates), exclusive=False)

    assert found["c"].ratio == pytest.approx(0.8, abs=0.02)
    assert found["c"].certain
    assert all(abs(found[name].ratio - 1) < 0.03 for name in SUBJECTS if name != "c")


def test_a_machine_that_slows_down_for_all_is_held_against_nobody() -> None:
    rates = {name: values + falling(0.4) for name, values in noise().items()}

    found = drifts(table(rates), exclusive=False).values()

    assert all(drift.shared and abs(drift.ratio - 1) < 0.03 for drift in found)


@pytest.mark.parametrize(("subjects", "exclusive"), [(SUBJECTS[:4], False), (SUBJECTS, True)])
def test_without_company_in_the_same_rounds_a_server_is_judged_by_itself(
    subjects: tuple[str, ...], exclusive: bool
) -> None:
    rates = {name: values + falling(0.2) for name, values in noise(subjects=subjects).items()}

    for drift in drifts(table(rates), exclusive=exclusive).values():
        assert not drift.shared
        assert drift.ratio == pytest.approx(0.8, abs=0.02)


def test_a_machine_that_wanders_another_way_in_each_block_shows_no_trend() -> None:
    rates = noise(subjects=("a",))
    ways = np.array([1.0, -1.0, 0.8, -0.9, 0.2])[:, None]

    drift = drifts(table({"a": rates["a"] + ways * falling(0.2)}), exclusive=False)["a"]

    assert not drift.certain


def test_a_stray_slice_does_not_make_a_server_unsteady() -> None:
    rates = noise(rounds=9)
    rates["c"][:, 8] -= np.log(10)

    assert drifts(table(rates), exclusive=False)["c"].ratio == pytest.approx(1, abs=0.03)


def test_a_stray_slice_among_few_widens_the_interval_and_makes_no_server_unsteady() -> None:
    rates = noise(rounds=3, blocks=10)
    rates["c"][4, 2] -= np.log(10)

    found = drifts(table(rates), exclusive=False)

    assert not found["c"].certain
    assert found["c"].high - found["c"].low > 5 * (found["d"].high - found["d"].low)


@pytest.mark.parametrize(("rounds", "blocks"), [(1, 10), (12, 2)])
def test_few_rounds_or_blocks_cannot_be_judged(rounds: int, blocks: int) -> None:
    assert drifts(table(noise(rounds, blocks)), exclusive=False) == {}


def test_a_block_with_too_few_rounds_of_a_server_is_left_out_of_its_drift_alone() -> None:
    rates = noise()
    rates["b"][0, 1:] = np.nan
    rates["d"][0, :] = np.nan

    found = drifts(table(rates), exclusive=False)

    assert [found[name].blocks for name in SUBJECTS] == [5, 4, 5, 4, 5]


def test_a_level_without_a_slice_has_no_drift() -> None:
    assert drifts(pd.DataFrame(), exclusive=False) == {}
