"""The plan: order, rounds and budget, as pure functions of data and seed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatebench.words.plan import (
    MANY_BLOCKS,
    PRECISE_BLOCK_S,
    PRECISE_ROUNDS,
    PROFILES,
    SEARCH_ROUNDS,
    START_COST_S,
    divide_rounds,
    few_rounds,
    hash_seed,
    least_s,
    level_groups,
    make_plan,
    needs_warmup,
    precise,
    replan,
    round_order,
    subject_groups,
)
from tests.support.plans import CELLS, SUBJECTS

DIVIDED = [cell for cell in CELLS if cell.level.objective is None and cell.level.rate_per_s is None]
"""The cells of levels that share the time; a search and a tail get the rounds that they need."""
STANDARD = PROFILES["standard"]
DEFAULT = [cell for cell in CELLS if STANDARD.name in cell.workload.profiles]
"""The cells of a run that nobody gave options to."""


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    first, again, other = (make_plan(CELLS, STANDARD, seed) for seed in (7, 7, 8))
    level = first.levels[0]
    assert round_order(first, 2, level, 3) == round_order(again, 2, level, 3)
    assert round_order(first, 2, level, 3) != round_order(other, 2, level, 3)


def test_a_round_has_every_cell_of_its_level_once() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    for level in plan.levels:
        order = round_order(plan, 0, level, 0)
        assert len(order) == len(level.cells)
        assert {cell.subject.id for cell in order} == {cell.subject.id for cell in level.cells}


def test_rounds_and_blocks_differ_in_their_order() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    level = plan.levels[0]
    orders = {
        tuple(cell.subject.id for cell in round_order(plan, block, level, number))
        for block in range(5)
        for number in range(5)
    }
    assert len(orders) == 25


def test_every_level_comes_once_in_each_block() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    for block in range(5):
        order = [level.id for group in level_groups(plan, block) for level in group]
        assert sorted(order) == sorted(level.id for level in plan.levels)
    orders = {tuple(level.id for group in level_groups(plan, block) for level in group) for block in range(5)}
    assert len(orders) == 5


def test_levels_that_ask_the_same_over_as_many_connections_share_them() -> None:
    default, every = (
        {frozenset(level.id for level in group) for group in level_groups(make_plan(cells, STANDARD, 7), 0)}
        for cells in (DEFAULT, CELLS)
    )
    assert default == {
        frozenset({"keep-alive/c64", "keep-alive-rate/r2000", "keep-alive-rate/r5000"}),
        frozenset({"websocket-echo/c64", "websocket-rate/r2000"}),
        frozenset({"close/c64"}),
        frozenset({"wait/c64"}),
    }
    for alone in ("visit/users16", "websocket-idle/idle5000", "keep-alive-objective/p99-10ms"):
        assert {alone} in every


def test_levels_of_other_subjects_or_with_another_warm_up_share_no_connections() -> None:
    paced = [cell for cell in CELLS if cell.workload.name in {"keep-alive", "keep-alive-rate"}]
    fewer = [cell for cell in paced if (cell.workload.name, cell.subject.id) != ("keep-alive", "uvicorn")]
    assert len(level_groups(make_plan(fewer, STANDARD, 7), 0)) == 2
    longer = [
        replace(cell, workload=replace(cell.workload, warmup_s=2.0))
        if cell.workload.name == "keep-alive"
        else cell
        for cell in paced
    ]
    assert len(level_groups(make_plan(longer, STANDARD, 7), 0)) == 2


def test_connections_are_warmed_up_once_and_a_search_learns_from_a_warm_up_of_its_own() -> None:
    levels = {level.id: level for level in make_plan(CELLS, STANDARD, 7).levels}
    paced, searching = levels["keep-alive-rate/r2000"], levels["keep-alive-objective/p99-10ms"]
    assert [needs_warmup(paced, after=after) for after in (False, True)] == [True, False]
    assert needs_warmup(searching, after=True)


def test_hash_seeds_differ_between_blocks_and_are_what_python_accepts() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    seeds = {hash_seed(plan, block, "uvicorn") for block in range(10)}
    assert len(seeds) == 10
    assert all(1 <= seed < 2**32 for seed in seeds)


def test_a_standard_run_has_ten_blocks_and_a_smoke_run_one() -> None:
    assert make_plan(DEFAULT, STANDARD, 7).profile.blocks == 10
    assert make_plan(DEFAULT, PROFILES["smoke"], 7).profile.blocks == 1


def test_the_shipped_standard_run_keeps_to_its_budget() -> None:
    plan = make_plan(DEFAULT, STANDARD, 7)
    assert 0.8 * STANDARD.budget_s < least_s(plan) <= STANDARD.budget_s
    assert few_rounds(plan) == ""


def test_a_budget_that_does_not_pay_for_a_round_of_everything_in_each_block_gives_fewer_blocks() -> None:
    blocks = [
        make_plan(DEFAULT, replace(STANDARD, budget_s=budget_s), 7).profile.blocks
        for budget_s in (10, 560, 780, 10_000)
    ]
    assert blocks == sorted(blocks)
    assert (blocks[0], blocks[-1]) == (5, 10)
    assert set(blocks) - {5, 10}
    fixed = replace(STANDARD, budget_s=10, least_blocks=0)
    assert make_plan(DEFAULT, fixed, 7).profile.blocks == 10


def test_a_single_round_a_block_is_told_where_there_are_few_blocks_or_it_takes_longer_than_the_budget() -> (
    None
):
    plan = make_plan(DIVIDED, STANDARD, 7)
    single = replace(plan, levels=tuple(replace(level, rounds=1) for level in plan.levels))
    few = replace(STANDARD, blocks=5)
    assert few_rounds(replace(single, profile=replace(STANDARD, budget_s=1e6))) == ""
    assert "one stray slice then decides. Give" in few_rounds(
        replace(single, profile=replace(few, budget_s=1e6))
    )
    assert "decides, and the run takes about" in few_rounds(replace(single, profile=replace(few, budget_s=1)))
    assert ": the run takes about" in few_rounds(replace(single, profile=replace(STANDARD, budget_s=1)))
    several = replace(plan, levels=tuple(replace(level, rounds=2) for level in plan.levels))
    assert few_rounds(replace(several, profile=replace(few, budget_s=1))) == ""


def test_a_larger_budget_gives_more_rounds_and_no_budget_still_gives_one() -> None:
    plan = make_plan(DIVIDED, STANDARD, 7)
    costs = {level.id: level.round_cost_s for level in plan.levels}
    few, many = (
        divide_rounds(plan.levels, 10, costs, STANDARD),
        divide_rounds(plan.levels, 400, costs, STANDARD),
    )
    assert all(less.rounds <= more.rounds for less, more in zip(few, many, strict=True))
    assert sum(level.rounds for level in many) > sum(level.rounds for level in few)
    assert {level.rounds for level in divide_rounds(plan.levels, -5, costs, STANDARD)} == {1}


@pytest.mark.parametrize("seconds", [20.0, 60.0, 300.0])
def test_the_rounds_cost_no_more_than_the_time_they_were_given(seconds: float) -> None:
    plan = make_plan(DIVIDED, STANDARD, 7)
    costs = {level.id: level.round_cost_s for level in plan.levels}
    planned = divide_rounds(plan.levels, seconds, costs, STANDARD)
    assert sum(level.rounds * costs[level.id] for level in planned if level.rounds > 1) <= seconds


def test_what_one_level_must_have_comes_from_the_others_down_to_half_of_their_shares() -> None:
    close, waiting = (
        level for level in make_plan(DEFAULT, STANDARD, 7).levels if level.id in {"close/c64", "wait/c64"}
    )
    shares = close.workload.share, waiting.workload.share
    costs = {close.id: 1.0, waiting.id: 60.0}
    share = shares[0] / sum(shares)
    for seconds, rounds in ((70.0, 14), (80.0, 20), (1_000.0, int(1_000 * share))):
        planned = divide_rounds([close, waiting], seconds, costs, STANDARD)
        assert planned[0].rounds == max(rounds, int(seconds * share / 2)), seconds
    assert planned[1].rounds == 10


def test_an_open_loop_gets_what_p99_needs_with_a_fifth_left_out_where_runs_are_ranked() -> None:
    paced = [cell for cell in CELLS if cell.level.rate_per_s is not None]
    plan = make_plan(paced, replace(STANDARD, budget_s=1.0), 7)
    for level in plan.levels:
        rate_per_s = level.level.rate_per_s or 0.0
        planned = level.rounds * plan.profile.blocks * rate_per_s * level.workload.slice_s
        assert 0.8 * planned >= 10_000
    assert {
        level.rounds for level in make_plan(paced, replace(STANDARD, blocks=1, budget_s=1.0), 7).levels
    } == {1}


def test_a_profile_can_limit_the_rounds() -> None:
    plan = make_plan(DIVIDED, PROFILES["smoke"], 7)
    assert max(level.rounds for level in plan.levels) <= (PROFILES["smoke"].max_rounds or 0)


def test_a_search_gets_the_rounds_it_needs_in_every_profile() -> None:
    searching = [cell for cell in CELLS if cell.level.objective is not None]
    (level,) = make_plan(searching, PROFILES["smoke"], 7).levels
    assert level.rounds == SEARCH_ROUNDS


def test_after_a_block_the_rounds_follow_from_what_they_really_cost() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    cheap = {level.id: [level.round_cost_s / 2] for level in plan.levels}
    dear = {level.id: [level.round_cost_s * 4] for level in plan.levels}
    more, fewer = replan(plan, 100, 20, cheap), replan(plan, 100, 20, dear)
    assert sum(level.rounds for level in fewer.levels) < sum(level.rounds for level in more.levels)


def test_rounds_in_which_nothing_could_be_measured_do_not_make_more_of_them() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    empty = {level.id: [0.0] * 9 for level in plan.levels}
    assert replan(plan, 100, 20, empty) == replan(plan, 100, 20, {})


def test_a_budget_that_is_too_small_for_the_plan_shows_in_what_the_run_takes() -> None:
    waiting = [cell for cell in CELLS if cell.workload.name == "wait"]
    small, large = (
        make_plan(waiting, replace(STANDARD, budget_s=budget_s), seed=7) for budget_s in (10, 900)
    )
    assert [level.rounds for level in small.levels] == [1]
    (level,) = small.levels
    one_block_s = len(waiting) * START_COST_S + level.warmup_cost_s + level.round_cost_s
    assert least_s(small) == pytest.approx(small.profile.blocks * one_block_s)
    assert least_s(small) > 2 * small.profile.budget_s
    assert 0.9 * 900 < least_s(large) <= 900


def test_exclusive_puts_up_one_server_at_a_time_in_an_order_of_the_block() -> None:
    plan = make_plan(CELLS, STANDARD, 7)
    together = subject_groups(plan, 0, SUBJECTS, exclusive=False)
    assert together == [list(SUBJECTS)]
    alone = [subject_groups(plan, block, SUBJECTS, exclusive=True) for block in (0, 1)]
    assert all(len(group) == 1 for group in alone[0])
    assert {group[0].id for group in alone[0]} == {subject.id for subject in SUBJECTS}
    assert [group[0].id for group in alone[0]] != [group[0].id for group in alone[1]]


TWO = [cell for cell in DEFAULT if cell.subject.id in {"uvicorn", "waitress"}]
CLOSED = [cell for cell in TWO if cell.workload.name == "keep-alive"]


def test_more_time_gives_a_run_that_ends_when_it_is_precise_more_blocks_and_not_longer_ones() -> None:
    short, long = (make_plan(CLOSED, precise(replace(STANDARD, budget_s=each)), 7) for each in (300.0, 900.0))
    assert (short.profile.blocks, long.profile.blocks) == (20, 60)
    assert {level.rounds for level in short.levels} == {level.rounds for level in long.levels}
    assert min(level.rounds for level in short.levels) >= PRECISE_ROUNDS


def test_its_blocks_have_rounds_enough_for_a_trimmed_mean_where_there_are_many_of_them() -> None:
    plan = make_plan(DEFAULT, precise(replace(STANDARD, budget_s=3600.0)), 7)
    assert MANY_BLOCKS < plan.profile.blocks < 3600 / PRECISE_BLOCK_S
    assert min(level.rounds for level in plan.levels if not level.workload.steps) >= PRECISE_ROUNDS


@pytest.mark.parametrize(("name", "blocks"), [("smoke", 10), ("standard", 52), ("full", 200)])
def test_every_profile_can_end_when_it_is_precise(name: str, blocks: int) -> None:
    profile = precise(PROFILES[name])
    assert (profile.blocks, profile.max_rounds) == (blocks, None)
    assert make_plan(TWO, profile, 7).profile.blocks >= profile.least_blocks
