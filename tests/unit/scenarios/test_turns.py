"""What pauses leave to chance: renewal theory, held against simulated users."""

from __future__ import annotations

import random
import statistics

import pytest

from loadtests.scenarios.turns import Turns, TurnsByClass


def turns_of(rhythm: list[tuple[int, float]], users: int = 1) -> Turns:
    turns = Turns(users=users)
    for answers, seconds in rhythm:
        turns.add(answers, seconds)
    return turns


def test_a_strict_rhythm_leaves_nothing_open_but_the_ends() -> None:
    turns = turns_of([(3, 0.9)] * 20, users=12)
    assert turns.spread(3 / 0.9) == pytest.approx(0.0, abs=1e-9)
    assert turns.edge() == pytest.approx(12 * 9 / 6)


def test_the_spread_is_that_of_counts_of_many_simulated_users() -> None:
    draw, span, began = random.Random(3), 400.0, 50.0  # noqa: S311 - a simulation
    counts, spreads = [], []
    for _ in range(300):
        now, count, rhythm = 0.0, 0, []
        while now < began + span:
            answers, pause = draw.choice((1, 3)), draw.uniform(1, 5)
            now += pause
            if began < now <= began + span:
                count += answers
                rhythm.append((answers, pause))
        counts.append(count)
        spreads.append(turns_of(rhythm).spread(2 / 3))
    assert statistics.mean(spreads) == pytest.approx(statistics.variance(counts), rel=0.25)


def test_classes_are_held_apart_and_only_what_is_new_is_told() -> None:
    turns = TurnsByClass()
    for name in ("quick", "slow"):
        turns.joined(name)
    for _ in range(50):
        turns.add("quick", 1, 0.1)
    turns.forget()
    turns.add("quick", 1, 0.1)
    turns.add("slow", 1, 4.0)
    # Together they would look uneven; each by itself keeps its rhythm.
    assert turns.take_variance() == pytest.approx(2 / 6)
    assert turns.take_variance() == 0.0
