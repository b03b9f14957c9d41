"""Estimates, intervals and verdicts from slices: pure functions, with the block as the unit of replication.

Slices and requests inside a block are not independent, so a block is first reduced to one number: the trimmed
mean of its logarithms. Only these numbers, one a block, enter an interval or a test.

Why a trimmed mean with 10 % cut at each end, and one slice at the least: one slice hit by a neighbour on
the machine can be ten times too slow, and a plain mean passes that on. A median throws away a third of the
precision when nothing went wrong; this trimmed mean a few percent. Its price: it speaks of undisturbed
slices. A server that stalls by itself in under a tenth of its slices shows it in p99 and max, whose
histograms hold every slice.

Why logarithms: a ratio and its inverse then weigh the same, and a common drift of the machine cancels by
subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd


Array = npt.NDArray[np.float64]
Verdict = Literal["higher", "lower", "tie", "not enough data"]

TRIM = 0.1
CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
MIN_BLOCKS = 3
"""For an interval and a verdict. With one degree of freedom, t is 12.7, and intervals span powers of ten."""
MIN_EFFECT = 1.03
"""Effects within 3 % are never called a difference, however narrow the interval."""
_LEAST_TO_CUT = 3
_EMPTY_SLICE = 0.5
"""Stands for a slice without answers in a logarithm: half of the smallest count there is."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, which is None with fewer than `MIN_BLOCKS` blocks."""

    estimate: float
    low: float | None
    high: float | None
    blocks: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Left over right, from the rounds that both were in.

    Attributes:
        ratio: left/right; None without a common block.
        low: lower end of the unadjusted 95 % interval of the ratio; None under two common blocks.
        high: its upper end.
        p: Holm-adjusted over all pairs of the same workload and level; None under three common blocks.
        because: what made it a tie, or what data it lacks; empty for a difference.
    """

    left: str
    right: str
    blocks: int
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict
    because: str = ""


def trimmed_mean(values: npt.ArrayLike) -> Array:
    """The mean over the last axis without the lowest and the highest tenth, rounded down to whole values.

    From three values on, one is cut at each end: of fewer than ten a tenth is none, and one stray slice would
    move its block. Intervals would then be half as wide again and cover the truth 98 times in 100.
    """
    ascending = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = ascending.shape[-1]
    cut = max(1, int(TRIM * count)) if count >= _LEAST_TO_CUT else 0
    return np.asarray(ascending[..., cut : count - cut].mean(axis=-1))


Interval: TypeAlias = tuple[Array, Array, Array, Array]
"""A mean, the ends of its interval (low, high), and the two-sided p of "mean = 0"."""


def mean_interval(block_values: Array, confidence: float = CONFIDENCE) -> Interval:
    """The mean over the last axis, which must hold at least two values."""
    blocks = block_values.shape[-1]
    error = block_values.std(axis=-1, ddof=1) / np.sqrt(blocks)
    return _student(block_values.mean(axis=-1), error, blocks - 1, confidence)


def difference_interval(a: Array, b: Array) -> Interval:
    """The mean of B less that of A, each of at least two values.

    Welch's interval (Welch, 1947): the two may be noisy to different degrees and differ in blocks.
    """
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    variance = parts[0] + parts[1]
    spread = parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1)
    freedom = variance**2 / spread if spread else len(a) + len(b) - 2
    return _student(b.mean() - a.mean(), variance**0.5, freedom, CONFIDENCE)


def _student(mean: Array, error: Array, freedom: float, confidence: float) -> Interval:
    """Student's interval from a mean and its standard error.

    Without any spread the interval has no width and p is 0 (1 where the mean is 0).
    """
    half = error * special.stdtrit(freedom, (1 + confidence) / 2)
    no_spread = np.where(mean == 0, 0.0, np.inf)
    t = np.divide(np.abs(mean), error, out=no_spread, where=error > 0)
    p = 2 * special.stdtr(freedom, -t)
    return np.asarray(mean), np.asarray(mean - half), np.asarray(mean + half), np.asarray(p)


def log_rate_table(slices: pd.DataFrame) -> pd.DataFrame:
    """Natural logarithms of requests/s: one row a (block, round), one column a subject.

    `slices` holds one level of one workload; a missing slice is NaN. A subject that never gave a correct
    answer has no column: no logarithm is that of its rate.
    """
    answers = slices.groupby("subject", observed=True)["counted"].transform("sum")
    slices = slices[answers > 0]
    rates = np.log(slices["counted"].clip(lower=_EMPTY_SLICE) / slices["counted_s"])
    return slices.assign(log_rate=rates).pivot_table(
        index=["block", "round"], columns="subject", values="log_rate", sort=True
    )


def block_means(values: pd.Series[float]) -> Array:
    """The trimmed mean of each block, in the order of the blocks; `values` is indexed by (block, round)."""
    return _means_of(np.asarray(part, dtype=np.float64) for _, part in values.groupby(level="block"))


def _means_of(blocks: Iterable[Array]) -> Array:
    """The trimmed mean of each block that has a value which is not NaN."""
    present = (block[~np.isnan(block)] for block in blocks)
    return np.array([trimmed_mean(block) for block in present if len(block)], dtype=np.float64)


def rate(log_rates: pd.Series[float]) -> Estimate | None:
    """Requests/s of one subject with its interval over blocks; None without a slice."""
    means = block_means(log_rates)
    if not len(means):
        return None
    if len(means) < MIN_BLOCKS:
        return Estimate(float(np.exp(means.mean())), None, None, len(means))
    mean, low, high, _ = mean_interval(means)
    return Estimate(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), len(means))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm, 1979): controls the chance of any false claim in the family."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def compare_all(
    table: pd.DataFrame, subjects: Iterable[str], noise_band: float = MIN_EFFECT
) -> list[Comparison]:
    """Every pair of `subjects`, in alphabetical order, with Holm's adjustment over all of them.

    Args:
        table: from `log_rate_table`.
        subjects: the columns to compare.
        noise_band: the run's own A/A noise as a ratio over 1; effects in it are ties.
    """
    ordered = sorted(subjects)
    if len(ordered) < 2:
        return []
    # Plain arrays: a run may have thousands of pairs, and grouping a frame for each would take a minute.
    blocks = [part.to_numpy(dtype=np.float64) for _, part in table[ordered].groupby(level="block")]
    pairs = [
        _compare(
            ordered[left], ordered[right], _means_of(block[:, left] - block[:, right] for block in blocks)
        )
        for left, right in combinations(range(len(ordered)), 2)
    ]
    tested = [index for index, pair in enumerate(pairs) if pair.p is not None]
    for index, p in zip(tested, holm([pairs[index].p or 0.0 for index in tested]), strict=True):
        pairs[index] = replace(pairs[index], p=p)
    return [
        replace(pair, verdict=verdict(pair, noise_band), because=explanation(pair, noise_band))
        for pair in pairs
    ]


def _compare(left: str, right: str, means: Array) -> Comparison:
    """One pair from its blocks' log ratios, with its p-value not adjusted yet and its verdict still open."""
    ratio = float(np.exp(means.mean())) if len(means) else None
    if len(means) < MIN_BLOCKS:
        return Comparison(left, right, len(means), ratio, None, None, None, "not enough data")
    _, low, high, p = mean_interval(means)
    return Comparison(
        left, right, len(means), ratio, float(np.exp(low)), float(np.exp(high)), float(p), "not enough data"
    )


def verdict(pair: Comparison, noise_band: float = MIN_EFFECT) -> Verdict:
    """What may be said of a pair: the interval, the adjusted p and the size of the effect must all agree."""
    if pair.p is None or pair.ratio is None or pair.low is None or pair.high is None:
        return "not enough data"
    if explanation(pair, noise_band):
        return "tie"
    return "higher" if pair.ratio > 1 else "lower"


def explanation(pair: Comparison, noise_band: float = MIN_EFFECT) -> str:
    """Which of the three conditions made the pair a tie, or what data it lacks; empty for a difference."""
    if pair.p is None or pair.ratio is None or pair.low is None or pair.high is None:
        return f"a verdict needs {MIN_BLOCKS} blocks with both, and there are {pair.blocks}"
    if pair.low <= 1 <= pair.high:
        return "the interval holds 1"
    if pair.p >= SIGNIFICANCE:
        return f"p is {pair.p:.2g} once adjusted for all pairs, and {SIGNIFICANCE:g} is the limit"
    if max(pair.ratio, 1 / pair.ratio) > max(noise_band, MIN_EFFECT):
        return ""
    if noise_band > MIN_EFFECT:
        return f"within this run's own noise of {noise_band - 1:.1%}"
    return f"within {MIN_EFFECT - 1:.0%}, which is never called a difference"


def noise_band(table: pd.DataFrame, subject: str, twin: str) -> float | None:
    """The A/A noise of one level as a ratio over 1: an effect up to it may be no server's doing.

    The greater of two: the half-width of the 95 % interval of the twins' mean log ratio over blocks, which
    chance alone stays within in 19 of 20 runs; and the effect that was seen between them. Where the twins'
    own interval excludes 1, something other than chance tells them apart, and the band is that effect.

    Args:
        table: logarithms, from `log_rate_table` or `analysis.figures.leads.lead_table`.
        subject: one of its columns.
        twin: the column of the same server's second copy.

    Returns:
        None where the two have fewer than `MIN_BLOCKS` blocks in common.
    """
    if subject not in table or twin not in table:
        return None
    means = block_means(table[subject] - table[twin])
    if len(means) < MIN_BLOCKS:
        return None
    mean, low, high, _ = mean_interval(means)
    return float(np.exp(max(abs(mean), (high - low) / 2)))
