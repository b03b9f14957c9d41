"""Which levels each block of a run measures: all of them, or, of a run that goes on, what it lacks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatebench.plan import Plan


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
