"""Tails of latency distributions, block by block: shares beyond a time, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.leads import TAIL_PARTS
from analysis.figures.percentiles import quantiles
from loadtests.engine.tally import SAMPLES_BEYOND

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pandas as pd

    from analysis.figures.cells import LevelData
    from analysis.figures.percentiles import Counts
    from analysis.figures.statistics import Array


_STEPS_A_NINE = 8
_NINES = 6
SHARES: Array = np.round(
    [
        *(tenth / 10 for tenth in range(1, 9)),
        *(1 - 10 ** (-step / _STEPS_A_NINE) for step in range(_STEPS_A_NINE, _NINES * _STEPS_A_NINE + 1)),
    ],
    9,
)
"""Shares of the requests: every tenth up to p80, from p90 on eight for each further nine."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The distribution of one subject's latencies.

    Attributes:
        shares: as many of `SHARES` as there are latencies enough for.
        us: the latency in µs that each share of the requests does not exceed.
        low_us, high_us: the lowest and the highest of any block; NaN where a block has too few latencies.
    """

    shares: Array
    us: Array
    low_us: Array
    high_us: Array


def tails(data: LevelData, subjects: Collection[str]) -> Mapping[str, Tail]:
    """Subject → its distribution; without those that have too few latencies for a median.

    Of response times at one rate for all, the geometric mean over blocks; elsewhere that of all blocks
    together. So every percentile is the one that `analysis.figures.results.CellResult.figure` gives.
    """
    found: dict[str, Tail] = {}
    rows = data.histograms[
        (data.histograms["clock"] == "response") & data.histograms["subject"].isin(list(subjects))
    ]
    for subject, own in rows.groupby("subject", observed=True):
        tail = _tail(own, paced=data.plan.paced)
        if tail is not None:
            found[str(subject)] = tail
    return found


def _tail(own: pd.DataFrame, *, paced: bool) -> Tail | None:
    latency_us, count = own["latency_us"].to_numpy(), own["count"].to_numpy()
    of_block = own["block"].to_numpy()
    parts = [of_block == block for block in np.unique(of_block)]
    blocks = np.array(
        [at_shares(latency_us[part], count[part], SAMPLES_BEYOND // TAIL_PARTS) for part in parts]
    )
    line = at_shares(latency_us, count, SAMPLES_BEYOND)
    if paced:
        line = np.where(np.isnan(line), np.nan, np.exp(np.log(np.maximum(blocks, 1.0)).mean(axis=0)))
    known = ~np.isnan(line)
    if not known[SHARES == 0.5].all():
        return None
    return Tail(SHARES[known], line[known], blocks.min(axis=0)[known], blocks.max(axis=0)[known])


def at_shares(latency_us: Counts, count: Counts, beyond: int) -> Array:
    """The latency of each of `SHARES`; NaN where fewer samples than `beyond` lie beyond it."""
    enough = np.round((1 - SHARES) * count.sum(), 6) >= beyond
    found = np.full(len(SHARES), np.nan)
    found[enough] = quantiles(latency_us, count, SHARES[enough].tolist())
    return found
