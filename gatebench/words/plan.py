"""The measurement plan: which cells are measured, in which order, how often. Pure functions of data and seed.

See METHOD.md, "The plan": blocks of fresh processes; within a block, each level's rounds; within a round, one
slice of every cell in an order drawn anew.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gatebench.words.model import Cell, Level, Objective, Subject, Workload
from gatebench.words.precision import FIRST_LOOK
from loadtests.engine.tally import MIN_SAMPLES, SliceResult

SLICE_OVERHEAD_S = 0.007
"""First guess of what a slice costs beside its window and its drain; measured values replace it."""
START_COST_S = 0.4
"""First guess of what starting, verifying and stopping one subject costs in a block, all side by side."""
SEARCH_ROUNDS = 14
"""Rounds that a search gets in every block, whatever that costs: with fewer it seldom finds anything."""
RANKED_BLOCKS = 3
MANY_BLOCKS = 10
"""Of which one with a stray slice is an outlier among the others, and no more."""
TAIL_LATENCIES = MIN_SAMPLES["p99"] * 130 // 100
"""Over what p99 needs: a fifth may be left out, as disturbed slices or because the engine was late."""
OPEN_COST_S = 0.001
"""First guess of what opening one idle connection costs."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a run measures.

    Attributes:
        blocks: fresh starts of every server.
        budget_s: wall time of the run after set-up.
        max_rounds: upper limit of rounds in a level, or None.
        least_blocks: as few as these, where the budget pays for a round of everything in no more; 0 for
            `blocks`, whatever they cost.
        many_rounds: rounds of each level that a block is to have, where there are over `MANY_BLOCKS` blocks:
            there are fewer of these instead.
    """

    name: str
    blocks: int
    budget_s: float
    max_rounds: int | None = None
    least_blocks: int = 0
    many_rounds: int = 1


PROFILES = {
    "smoke": Profile("smoke", blocks=1, budget_s=60.0, max_rounds=3),
    "standard": Profile("standard", blocks=10, budget_s=780.0, least_blocks=5),
    "full": Profile("full", blocks=10, budget_s=3600.0),
}


PRECISE_BLOCK_S = 15.0
"""Shortest block of a run that ends once it is precise enough: starting servers is not to be most of it."""
MOST_PRECISE_BLOCKS = 200
PRECISE_ROUNDS = 4
"""Of each level in such a block; of three the trimmed mean leaves one."""


def precise(profile: Profile) -> Profile:
    """The profile of a run that ends once it is precise enough: more time makes more blocks, not longer ones.

    There are as many as the budget pays for, up to `MOST_PRECISE_BLOCKS`, and at least `MANY_BLOCKS` where it
    pays for a round of everything in each of so many.
    """
    return replace(
        profile,
        blocks=min(MOST_PRECISE_BLOCKS, max(MANY_BLOCKS, int(profile.budget_s / PRECISE_BLOCK_S))),
        least_blocks=profile.least_blocks or min(profile.blocks, FIRST_LOOK),
        max_rounds=None,
        many_rounds=PRECISE_ROUNDS,
    )


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """One workload at one level, with the cells that can be measured and the rounds it gets in a block."""

    workload: Workload
    level: Level
    cells: tuple[Cell, ...]
    rounds: int = 1

    @property
    def id(self) -> str:
        """`keep-alive/c64`."""
        return f"{self.workload.name}/{self.level.id}"

    @property
    def round_cost_s(self) -> float:
        """First guess of a round's wall time. Idle connections are opened step by step."""
        if self.workload.steps:
            return len(self.cells) * (len(self.workload.steps) + sum(self.workload.steps) * OPEN_COST_S)
        return self._turn_cost_s(self.workload.slice_s)

    @property
    def warmup_cost_s(self) -> float:
        """First guess of the wall time that warming up takes in a block."""
        return 0.0 if self.workload.steps else self._turn_cost_s(self.workload.warmup_s)

    def _turn_cost_s(self, window_s: float) -> float:
        """Of one slice of every cell.

        Where the request waits by design, the drain depends on how many requests a server holds at once; half
        of the cells are taken to be as slow as one at a time.
        """
        drain_s = self.workload.service_s * self.level.connections / 4
        return len(self.cells) * (window_s + drain_s + SLICE_OVERHEAD_S)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    profile: Profile
    seed: int
    levels: tuple[LevelPlan, ...]


def _beside_load_s(plan: Plan) -> float:
    """First guess of what a block takes beside its rounds."""
    total_s = START_COST_S * len({cell.subject.id for level in plan.levels for cell in level.cells})
    warm: set[object] = set()
    for level in plan.levels:
        if needs_warmup(level, after=bool(warm & {_connections_of(level)})):
            total_s += level.warmup_cost_s
        warm.add(_connections_of(level))
    return total_s


def make_plan(cells: Sequence[Cell], profile: Profile, seed: int) -> Plan:
    """Groups cells by workload and level and divides the profile's budget between them.

    Each block costs a start and a warm-up of everything. Where the budget does not pay for those and a round
    of every level, there are fewer blocks, down to the profile's least. Beyond `MANY_BLOCKS` there are fewer
    also where a block would have too few rounds of a level.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.workload.name, cell.level.id), []).append(cell)
    levels = tuple(LevelPlan(group[0].workload, group[0].level, tuple(group)) for group in groups.values())
    costs = {level.id: level.round_cost_s for level in levels}
    plan = Plan(profile, seed, levels)
    load_s = profile.budget_s / profile.blocks - _beside_load_s(plan)
    plan = replace(plan, levels=divide_rounds(levels, load_s, costs, profile))
    least_blocks = profile.least_blocks or profile.blocks
    too_short = profile.blocks > MANY_BLOCKS and any(
        level.rounds < profile.many_rounds for level in plan.levels if not level.workload.steps
    )
    if profile.blocks > least_blocks and (too_short or least_s(plan) > profile.budget_s):
        return make_plan(cells, replace(profile, blocks=profile.blocks - 1), seed)
    return plan


def least_s(plan: Plan) -> float:
    """First guess of a run's wall time after set-up; over the budget where that is too small for the plan."""
    rounds_s = sum(level.rounds * level.round_cost_s for level in plan.levels)
    return plan.profile.blocks * (_beside_load_s(plan) + rounds_s)


def few_rounds(plan: Plan) -> str:
    """What is too little of a plan, and what helps; empty where every level has slices enough.

    Over many blocks a stray slice is one of as many numbers; over few it decides.
    """
    blocks = plan.profile.blocks
    single = [level.id for level in plan.levels if level.rounds == 1]
    if not single or plan.profile.max_rounds is not None:
        return ""
    needed_s = least_s(plan)
    found = []
    if blocks < MANY_BLOCKS:
        found.append("one stray slice then decides")
    if needed_s > plan.profile.budget_s:
        found.append(f"{'and ' if found else ''}the run takes about {needed_s:.0f} s")
    if not found:
        return ""
    return (
        f"the budget leaves a single round a block for {', '.join(single)}: {', '.join(found)}. "
        "Give it more time (--budget), or fewer servers or workloads"
    )


def least_rounds(level: LevelPlan, profile: Profile) -> int:
    """Rounds that a level gets in every block, whatever they cost.

    An open loop is ranked by p99, which needs 10,000 latencies a cell; a run of fewer than three blocks ranks
    nothing.
    """
    rate_per_s = level.level.rate_per_s
    if rate_per_s is None or profile.blocks < RANKED_BLOCKS:
        return 1
    latencies = rate_per_s * level.workload.slice_s * profile.blocks
    return max(1, math.ceil(TAIL_LATENCIES / latencies))


def divide_rounds(
    levels: Sequence[LevelPlan], seconds: float, round_costs_s: dict[str, float], profile: Profile
) -> tuple[LevelPlan, ...]:
    """Gives each level as many rounds as its share of `seconds` pays for, within what the profile allows.

    A level that must have more than its share pays for has them at the cost of the others, down to half of
    their shares; what that does not pay for takes longer.
    """
    # A workload's share is divided between its levels, so that one more rate costs the others nothing.
    levels_of = Counter(level.workload.name for level in levels)
    share_of = {level.id: level.workload.share / levels_of[level.workload.name] for level in levels}
    seconds = max(0.0, seconds)
    half_s = seconds / max(sum(share_of.values()), 1e-6) / 2
    left_s = seconds
    rounds: dict[str, int] = {}
    unsettled = list(levels)
    while unsettled:
        shares = {level.id: share_of[level.id] for level in unsettled}
        each_s = max(half_s, left_s / sum(shares.values()))
        paid = {id_: int(each_s * share / max(round_costs_s[id_], 1e-6)) for id_, share in shares.items()}
        least = {level.id: _must_have(level, profile) for level in unsettled}
        poor = [level for level in unsettled if paid[level.id] <= least[level.id] or level.workload.steps]
        if not poor:
            rounds |= paid
            break
        rounds |= {level.id: least[level.id] for level in poor}
        left_s -= sum(least[level.id] * round_costs_s[level.id] for level in poor)
        unsettled = [level for level in unsettled if level.id not in rounds]
    most = profile.max_rounds
    return tuple(
        replace(
            level,
            rounds=rounds[level.id]
            if most is None or level.level.objective is not None
            else min(most, rounds[level.id]),
        )
        for level in levels
    )


def _must_have(level: LevelPlan, profile: Profile) -> int:
    """Rounds of a level in every block, whatever they cost; of idle connections it is one, and no more."""
    if level.workload.steps:
        return 1
    return SEARCH_ROUNDS if level.level.objective is not None else least_rounds(level, profile)


def replan(plan: Plan, block_s: float, wall_s: float, round_s: dict[str, list[float]]) -> Plan:
    """The plan with each level's rounds set anew from what a round and the rest of a block really cost.

    Args:
        plan: the plan so far.
        block_s: wall time that each remaining block may take.
        wall_s: what the last block took.
        round_s: what each of its rounds took, per level.
    """
    found = {level: sum(times) / len(times) for level, times in round_s.items() if times}
    costs = {}
    for level in plan.levels:
        cost_s = found.get(level.id, 0.0)
        # Rounds in which no cell could be measured cost next to nothing, and tell nothing of those to come.
        costs[level.id] = cost_s if cost_s >= level.workload.slice_s else level.round_cost_s
    other_s = wall_s - sum(sum(times) for times in round_s.values())
    return replace(plan, levels=divide_rounds(plan.levels, block_s - other_s, costs, plan.profile))


def every_level(workloads: Sequence[Workload], plan: Plan) -> tuple[LevelPlan, ...]:
    """The plan's levels and, without cells and rounds, those in which no chosen server can take part."""
    planned = {level.id: level for level in plan.levels}
    asked = (LevelPlan(workload, level, (), 0) for workload in workloads for level in workload.levels)
    return tuple(planned.get(level.id, level) for level in asked)


def level_groups(plan: Plan, block: int) -> tuple[tuple[LevelPlan, ...], ...]:
    """The levels in this block's order; those of a group use the same connections one after the other."""
    groups: dict[object, list[LevelPlan]] = {}
    for level in plan.levels:
        groups.setdefault(_connections_of(level), []).append(level)
    random = _random(plan.seed, block, "levels")
    order = list(groups.values())
    random.shuffle(order)
    for group in order:
        random.shuffle(group)
    return tuple(map(tuple, order))


def _connections_of(level: LevelPlan) -> object:
    """What is the same of levels that can use the same connections, with equal warm-ups.

    A Locust file's users and idle connections are a level's own.
    """
    workload = level.workload
    if workload.steps or workload.locustfile is not None:
        return level.id
    subjects = frozenset(cell.subject.id for cell in level.cells)
    load = workload.transport, workload.requests, level.level.connections, level.level.window
    return *load, workload.warmup_s, subjects


def needs_warmup(level: LevelPlan, *, after: bool) -> bool:
    """Whether a level is warmed up: a search begins with what its warm-up finds.

    Args:
        level: which.
        after: whether it follows another one on the same connections.
    """
    return not after or level.level.objective is not None


def round_order(plan: Plan, block: int, level: LevelPlan, round_number: int) -> tuple[Cell, ...]:
    """The cells of a level in this round's order."""
    cells = list(level.cells)
    _random(plan.seed, block, level.id, round_number).shuffle(cells)
    return tuple(cells)


def subject_groups(
    plan: Plan, block: int, subjects: Sequence[Subject], *, exclusive: bool
) -> list[list[Subject]]:
    """Which subjects are up at the same time: all of them, or each alone in this block's order."""
    if not exclusive:
        return [list(subjects)]
    alone = [[subject] for subject in subjects]
    _random(plan.seed, block, "subjects").shuffle(alone)
    return alone


def arrival_seed(plan: Plan, block: int, level: LevelPlan, round_number: int) -> int:
    """The seed of the arrivals of an open loop: every cell of a round gets the same moments."""
    return _random(plan.seed, block, level.id, round_number, "arrivals").getrandbits(32)


def hash_seed(plan: Plan, block: int, subject: str) -> int:
    """PYTHONHASHSEED of a subject in this block (1 to 4,294,967,295)."""
    return _random(plan.seed, block, "hash", subject).randint(1, 2**32 - 1)


def _random(*key: object) -> random.Random:
    # Seeded by text: the same on every Python version and in every process.
    return random.Random("/".join(map(str, key)))  # noqa: S311 - reproducible on purpose, not a secret


@dataclass(frozen=True, slots=True)
class Turn:
    """One block that a run is to measure.

    Attributes:
        block: its number, from 0 on over the whole run.
        levels: the IDs of those that it measures.
    """

    block: int
    levels: frozenset[str]

    def part_of(self, plan: Plan) -> Plan:
        """The plan with this block's levels only."""
        return replace(plan, levels=tuple(level for level in plan.levels if level.id in self.levels))


def every_turn(plan: Plan) -> tuple[Turn, ...]:
    """The blocks of a run from its beginning."""
    return remaining_turns({level.id: 0 for level in plan.levels}, plan.profile.blocks, 0)


def remaining_turns(whole: Mapping[str, int], blocks: int, first: int) -> tuple[Turn, ...]:
    """The blocks that a run lacks.

    What a block that was cut off has of a level in full stands. So the first new block measures the levels
    that lack the most, and every level comes to the same number of blocks in the end.

    Args:
        whole: level ID → how many blocks hold all of it.
        blocks: how many each is to have.
        first: the number of the first new block.

    Returns:
        Empty where nothing is lacking.
    """
    lacking = {level: blocks - count for level, count in whole.items()}
    most = max(lacking.values(), default=0)
    return tuple(
        Turn(first + number, frozenset(level for level, count in lacking.items() if count >= most - number))
        for number in range(most)
    )


def with_rounds(plan: Plan, rounds: Mapping[str, int]) -> Plan:
    """The plan with these rounds (level ID → how many), where they are known."""
    return replace(
        plan,
        levels=tuple(replace(level, rounds=rounds.get(level.id, level.rounds)) for level in plan.levels),
    )


LEAST_BLOCKS = 3
"""With fewer, nothing is compared, and there is nothing to know the noise for."""


def choose_twin(
    subjects: Sequence[Subject], workloads: Sequence[Workload], blocks: int, seed: int, workers: int = 1
) -> Subject | None:
    """The same subject once more, under an ID of its own; None where nothing will be compared.

    It is one of those that take part in the most levels, set up as its documentation does; which of them, the
    seed decides, so that over many runs no server's peculiarities pass for the noise of the lab.

    Args:
        subjects: those that can be started.
        workloads: those of the run.
        blocks: how many the run has.
        seed: the run's.
        workers: worker processes of every server.
    """
    if blocks < LEAST_BLOCKS or len(subjects) < 2:
        return None
    levels = {subject.id: _levels(subject, workloads, workers) for subject in subjects}
    most = max(levels.values())
    if not most:
        return None
    able = sorted((each for each in subjects if levels[each.id] == most), key=lambda each: each.id)
    usual = [each for each in able if not each.variant.tuned] or able
    return replace(random.Random(seed).choice(usual), again=True)  # noqa: S311 - a plan, not a secret


def _levels(subject: Subject, workloads: Sequence[Workload], workers: int) -> int:
    """How many levels a subject takes part in."""
    return sum(
        1
        for workload in workloads
        for level in workload.levels
        if not Cell(subject, workload, level).unsupported(workers) and level.has_rate
    )


FIRST_SHARE = 0.5
"""The search begins at this share of what a closed loop did."""
FIRST_STEP = 1.6
LAST_STEP = 1.05
"""Factors between rates: the first, and the smallest after halving its logarithm at every turn."""
LEAST_RATE_PER_S = 1.0


class Search:
    """One cell's search in one block.

    Args:
        capacity_per_s: what the server did in a closed loop over the same connections.

    Attributes:
        rate_per_s: the rate to try next.
    """

    def __init__(self, capacity_per_s: float) -> None:
        self.rate_per_s = max(LEAST_RATE_PER_S, capacity_per_s * FIRST_SHARE)
        self._step = math.log(FIRST_STEP)
        self._last_met: bool | None = None

    def step(self, *, met: bool) -> None:
        """Chooses the next rate after a slice at `rate_per_s`."""
        if self._last_met is not None and met != self._last_met:
            self._step = max(math.log(LAST_STEP), self._step / 2)
        self._last_met = met
        factor = math.exp(self._step if met else -self._step)
        self.rate_per_s = max(LEAST_RATE_PER_S, self.rate_per_s * factor)


def keeps_to(objective: Objective, result: SliceResult) -> bool:
    """Whether a slice of an open loop kept to an objective: no failure, and few enough too slow answers."""
    if any(result.failures.values()) or result.unsent:
        return False
    limit_us = objective.limit_s * 1e6
    slow = sum(count for latency_us, count in result.histogram.items() if latency_us > limit_us)
    return slow <= objective.tail * (result.offered - result.left_out)
