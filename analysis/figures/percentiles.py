"""Percentiles as nearest ranks of counted latencies, and the tails that charts draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from loadtests.engine.tally import MIN_SAMPLES, QUANTILES, nearest_rank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from analysis.figures.statistics import Array


Counts = npt.NDArray[np.int64]


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
