"""Percentiles as nearest ranks of counted latencies, and the tails that charts draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
MIN_SAMPLES: Mapping[str, int] = {"p50": 200, "p90": 1_000, "p99": 10_000, "p999": 100_000, "max": 1}
"""A percentile is published only with at least 100 samples beyond it; fewer, and a few requests decide."""


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
    ascending = frame.sort_values("latency_us")
    cumulative = ascending["count"].cumsum().to_numpy()
    if not len(cumulative):
        return None
    rank = int(np.ceil(round(share * float(cumulative[-1]), 6)))
    return float(ascending["latency_us"].to_numpy()[np.searchsorted(cumulative, rank)])


def percentiles(latency_us: npt.NDArray[np.int64], count: npt.NDArray[np.int64]) -> Percentiles:
    """Nearest-rank percentiles: the smallest latency that at least that share of the samples does not exceed.

    Args:
        latency_us: whole microseconds, in any order; a latency may come up in several rows.
        count: how many samples each row stands for.
    """
    counted = count > 0
    order = np.argsort(latency_us[counted], kind="stable")
    latencies = latency_us[counted][order]
    cumulative = np.cumsum(count[counted][order])
    samples = int(cumulative[-1]) if len(cumulative) else 0
    values: dict[str, float | None] = {}
    for name, quantile in QUANTILES.items():
        if samples < MIN_SAMPLES[name]:
            values[name] = None
            continue
        # A product such as 0.99 * 10,000 can come out a hair over the whole number it should be.
        rank = int(np.ceil(round(quantile * samples, 6)))
        values[name] = float(latencies[np.searchsorted(cumulative, rank)])
    values["max"] = float(latencies[-1]) if samples else None
    return Percentiles(samples, values)
