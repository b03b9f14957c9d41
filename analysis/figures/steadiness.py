"""Whether a server's rate moves within its blocks: the last third of the rounds against the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.statistics import MIN_BLOCKS, Array, mean_interval

if TYPE_CHECKING:
    import pandas as pd


CONFIDENCE = 0.99
"""A cell that is steady is refused by chance in under 1 % of runs."""
MIN_ROUNDS = 2
"""Of a block, so that the last can be held against the first; thirds of fewer than six are one slice."""
MIN_COMPANY = 5
"""Subjects whose median is the machine's drift and not one server's own.

Of three servers, one that loses 10 % drags the median along: it seems to lose 5 %, and the steady ones seem
to gain as much.
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """How a subject's rate moves from the first to the last third of a block, over all blocks.

    Attributes:
        ratio: last third over first; 1.0 for a steady one.
        low, high: its 99 % interval over blocks.
        blocks: those with `MIN_ROUNDS` rounds of the subject.
        shared: whether the common drift of the round is taken out of it.
    """

    ratio: float
    low: float
    high: float
    blocks: int
    shared: bool

    @property
    def certain(self) -> bool:
        """Whether the interval excludes 1: the server moves the same way in every block."""
        return self.low > 1 or self.high < 1


def drifts(log_rates: pd.DataFrame, *, exclusive: bool) -> dict[str, Drift]:
    """The drift of every subject of a level that has `MIN_BLOCKS` blocks of `MIN_ROUNDS` rounds.

    A disturbance of the machine meets all servers of a round alike, so the median of the round is subtracted,
    once each subject is centred on its own block: where the servers differ tenfold, the median would else be
    one server's. With fewer than `MIN_COMPANY` subjects, and where servers are up one at a time, there is no
    common drift to see; a server is then judged by itself.

    Each block gives one number, the difference of the two medians; Student's t over blocks tells a trend that
    every block repeats from a machine's wandering. A stray slice does not move a median of three; of fewer it
    moves one block's number, which widens the interval. `tests/unit/figures/test_simulation.py` has how often
    chance refuses, and what is found.

    Args:
        log_rates: from `analysis.figures.statistics.log_rate_table`.
        exclusive: whether the servers were up one at a time.
    """
    if log_rates.empty:
        return {}
    shared = not exclusive and log_rates.shape[1] >= MIN_COMPANY
    by_block = [
        _centred(part.to_numpy(dtype=np.float64), shared) for _, part in log_rates.groupby(level="block")
    ]
    found: dict[str, Drift] = {}
    for column, subject in enumerate(log_rates.columns):
        own = (block[:, column][~np.isnan(block[:, column])] for block in by_block)
        moves = np.array([_move(rounds) for rounds in own if len(rounds) >= MIN_ROUNDS])
        if len(moves) >= MIN_BLOCKS:
            found[str(subject)] = _drift(moves, shared)
    return found


def _centred(block: Array, shared: bool) -> Array:
    """One block, shape (rounds, subjects), with each subject's median at 0, less the round's median."""
    seen = block[:, ~np.isnan(block).all(axis=0)]
    rounds = seen - np.nanmedian(seen, axis=0)
    centre = np.nanmedian(rounds, axis=1, keepdims=True) if shared else 0.0
    return block - centre


def _move(rounds: Array) -> float:
    third = max(1, len(rounds) // 3)
    return float(np.median(rounds[-third:]) - np.median(rounds[:third]))


def _drift(moves: Array, shared: bool) -> Drift:
    mean, low, high, _ = mean_interval(moves, CONFIDENCE)
    return Drift(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), len(moves), shared)
