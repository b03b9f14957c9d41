"""Which blocks a run measures: all, or what it lacks when it goes on."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gatebench.words.plan import PROFILES, Turn, every_turn, make_plan, remaining_turns, with_rounds
from tests.support.plans import CELLS

PLAN = make_plan(CELLS, PROFILES["standard"], seed=7)


def test_a_new_run_measures_every_level_in_every_block() -> None:
    turns = every_turn(PLAN)
    assert [turn.block for turn in turns] == [0, 1, 2, 3, 4]
    assert all(turn.part_of(PLAN) == PLAN for turn in turns)


def test_a_level_that_was_cut_off_is_measured_anew_and_what_was_whole_stands() -> None:
    turns = remaining_turns({"close/c64": 3, "keep-alive/c64": 2}, blocks=5, first=3)
    every = frozenset({"close/c64", "keep-alive/c64"})
    assert turns == (Turn(3, frozenset({"keep-alive/c64"})), Turn(4, every), Turn(5, every))


def test_a_run_that_has_everything_lacks_no_block() -> None:
    assert remaining_turns({"close/c64": 5, "keep-alive/c64": 6}, blocks=5, first=6) == ()
    assert remaining_turns({}, blocks=5, first=0) == ()


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 12), max_size=6),
    st.integers(1, 10),
    st.integers(0, 20),
)
def test_every_level_comes_to_its_number_of_blocks_and_no_block_is_empty(
    whole: dict[str, int], blocks: int, first: int
) -> None:
    turns = remaining_turns(whole, blocks, first)
    assert [turn.block for turn in turns] == list(range(first, first + len(turns)))
    assert all(turn.levels for turn in turns)
    for level, count in whole.items():
        assert count + sum(level in turn.levels for turn in turns) == max(blocks, count)


def test_a_block_of_some_levels_has_the_same_rounds_of_them() -> None:
    some = PLAN.levels[1]
    assert Turn(3, frozenset({some.id})).part_of(PLAN) == replace(PLAN, levels=(some,))


def test_rounds_that_are_known_replace_the_first_guess() -> None:
    first, *others = with_rounds(PLAN, {PLAN.levels[0].id: 123}).levels
    assert first == replace(PLAN.levels[0], rounds=123)
    assert tuple(others) == PLAN.levels[1:]
