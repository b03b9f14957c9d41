"""The search for the highest rate that keeps to an objective: up after a success, down after a failure.

This is the up-and-down method (W. J. Dixon and A. M. Mood, Journal of the American Statistical Association
43, 1948). It settles around the rate at which half of the slices keep to the objective. One slice a round is
enough for a step, so that every server's search goes on in the same rounds.
"""

from __future__ import annotations

import math

from gatebench.model import Objective
from loadtests.engine.tally import SliceResult

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
    return slow <= objective.tail * result.offered
