"""Percentiles as nearest ranks of counted latencies, and the tails that charts draw, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from loadtests.engine.tally import MIN_SAMPLES, QUANTILES, SAMPLES_BEYOND, nearest_rank

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd

    from analysis.figures.cells import LevelData
    from analysis.figures.statistics import Array


Counts = npt.NDArray[np.int64]
TAIL_PARTS = 10
"""A block's percentile needs a tenth of the latencies that a cell's does: ten lie beyond it."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies of one cell in µs; None where there are fewer than `MIN_SAMPLES`.

    Attributes:
        samples: number of latencies merged.
        values: p50, p90, p99, p999 and max.
    """

    samples: int
    values: Mapping[str, float | None]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a value is None, with the code `too-few-samples`."""
        return tuple(
            f"too-few-samples: {name} needs {MIN_SAMPLES[name]:,} latencies, {self.samples:,} were measured"
            for name, value in self.values.items()
            if value is None
        )


def of_histogram(frame: pd.DataFrame) -> Percentiles:
    """Percentiles of rows with the columns `latency_us` and `count`."""
    return percentiles(frame["latency_us"].to_numpy(), frame["count"].to_numpy())


def quantile(frame: pd.DataFrame, share: float) -> float | None:
    """The nearest-rank quantile of rows with `latency_us` and `count`; None without any."""
    (found,) = quantiles(frame["latency_us"].to_numpy(), frame["count"].to_numpy(), [share])
    return None if np.isnan(found) else float(found)


def percentiles(latency_us: Counts, count: Counts) -> Percentiles:
    """The percentiles of `QUANTILES` and the maximum of what `quantiles` takes."""
    samples = int(count.sum())
    names = [name for name in QUANTILES if samples >= MIN_SAMPLES[name]]
    found = quantiles(latency_us, count, [*(QUANTILES[name] for name in names), 1.0])
    values: dict[str, float | None] = dict.fromkeys([*QUANTILES, "max"])
    values |= {name: float(value) for name, value in zip([*names, "max"], found, strict=True) if samples}
    return Percentiles(samples, values)


def quantiles(latency_us: Counts, count: Counts, shares: Sequence[float]) -> Array:
    """Nearest-rank quantiles: for each share the least latency that so many of the samples do not exceed.

    Args:
        latency_us: whole microseconds, in any order; a latency may come up in several rows.
        count: how many samples each row stands for.
        shares: above 0, up to 1.

    Returns:
        As many latencies; NaN without any sample.
    """
    order = np.argsort(latency_us, kind="stable")
    cumulative = np.cumsum(count[order])
    if not len(cumulative) or not cumulative[-1]:
        return np.full(len(shares), np.nan)
    ranks = [nearest_rank(share, int(cumulative[-1])) for share in shares]
    return latency_us[order][np.searchsorted(cumulative, ranks)].astype(np.float64)


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
