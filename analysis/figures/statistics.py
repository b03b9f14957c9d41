"""Estimates, intervals and verdicts from slices: pure functions, with the block as the unit of replication.

Slices and requests inside a block are not independent, so a block is first reduced to one number. Only these
numbers, one a block, enter an interval or a test.

The number is the trimmed mean of the block's logarithms, with 10 % cut at each end, and one slice at the
least: one slice hit by a neighbour on the machine can be ten times too slow, and a plain mean passes that on.
A median throws away a third of the precision when nothing went wrong; this trimmed mean a few percent. Its
price: it speaks of undisturbed slices. A server that stalls by itself in under a tenth of its slices shows it
in p99 and max, whose histograms hold every slice.

One model of the level tells from these numbers how far two subjects differ (`analysis.figures.model`).

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

from analysis.figures.model import fit, range_limit, range_tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd


Array = npt.NDArray[np.float64]
Verdict = Literal["higher", "lower", "tie", "not enough data"]

TRIM = 0.1
CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
LOOKING_SIGNIFICANCE = 0.025
"""Of the intervals of a run that ends once they are narrow enough: half of the error is spent on looking.

It ends the sooner, the narrower its intervals are by chance, and those then miss the truth too often: at 0.05
in up to 8 runs of 100 of two servers, at 0.025 in under 5 (`tests.support.simulation`).
"""
MIN_BLOCKS = 3
"""For an interval and a verdict. With one degree of freedom, t is 12.7, and intervals span powers of ten."""
MIN_EFFECT = 1.03
"""Effects within 3 % are never called a difference, however narrow the interval."""
MAD_TO_DEVIATION = 1.4826
"""Of a normal distribution: standard deviation over median absolute deviation."""
STEPS = 3
ROUND_BOUND = 2.0
"""Standard deviations by which one subject counts at most in what a round did to all (Huber's are 1 to 2)."""
MIN_COMPANY = 8
"""Subjects of which a robust estimate of what a round did to all of them takes little of any one's noise."""
SWEEPS = 5
"""The first medians of a subject that lacks rounds hold what the machine did in the others."""
_LEAST_TO_CUT = 3
_EMPTY_SLICE = 0.5
"""Stands for a slice without answers in a logarithm: half of the smallest count there is."""
PAIRED = "the level's model could not be fitted, so the interval is the plain paired one"
"""Of each pair of a level where too few blocks are common (`analysis.figures.model`)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval, which is None with fewer than `MIN_BLOCKS` blocks."""

    estimate: float
    low: float | None
    high: float | None
    blocks: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Left over right, from the blocks that both were in.

    Attributes:
        ratio: left/right; None without a common block.
        low: lower end of the ratio's simultaneous interval: those of all pairs of the level hold the truth
            together in 95 % of runs. None under three common blocks.
        high: its upper end.
        p: the chance that any two equal subjects of the level come out so far apart: it is under 0.05 where
            the interval excludes 1. None under three common blocks.
        because: what made it a tie, or what data it lacks, and `PAIRED` where that is so; empty for another
            difference.
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
    blocks = (part.dropna().to_numpy(dtype=np.float64) for _, part in values.groupby(level="block"))
    return np.array([trimmed_mean(block) for block in blocks if len(block)], dtype=np.float64)


def rate(log_rates: pd.Series[float]) -> Estimate | None:
    """Requests/s of one subject with its interval over blocks; None without a slice."""
    return of_blocks(block_means(log_rates))


def of_blocks(logs: Array) -> Estimate | None:
    """The figure whose logarithms these are, one a block, with its interval; None without a block."""
    if not len(logs):
        return None
    if len(logs) < MIN_BLOCKS:
        return Estimate(float(np.exp(logs.mean())), None, None, len(logs))
    mean, low, high, _ = mean_interval(logs)
    return Estimate(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), len(logs))


def block_numbers(table: pd.DataFrame, *, with_common: bool = False) -> Array:
    """One number a subject and block, shape (columns, blocks); NaN where there is no slice.

    Args:
        table: as for `compare_all`.
        with_common: what the machine did to all subjects of a round stays in the numbers.
    """
    rounds = table.to_numpy(dtype=np.float64)
    rounds = rounds if with_common else _without_common(rounds)
    blocks, of_round = np.unique(table.index.get_level_values("block"), return_inverse=True)
    numbers = np.full((table.shape[1], len(blocks)), np.nan)
    for own, slices in zip(numbers, rounds.T, strict=True):
        present = ~np.isnan(slices)
        for block in np.unique(of_round[present]):
            own[block] = trimmed_mean(slices[present & (of_round == block)])
    return numbers


def _without_common(rounds: Array) -> Array:
    """Slices, shape (rounds, subjects), without what each round did to all of its subjects.

    A subject that lacks rounds is then not taken for faster or slower by what the machine did in them, and
    a block in which everything was slow has no slices that are far from the others. A round with one subject
    tells nothing of this, and is left out.
    """
    if rounds.shape[1] < 2:
        return rounds
    rounds = np.where((~np.isnan(rounds)).sum(axis=1, keepdims=True) > 1, rounds, np.nan)
    some_rounds, some_subjects = (~np.isnan(rounds).all(axis=axis) for axis in (1, 0))
    known = rounds[np.ix_(some_rounds, some_subjects)]
    common = np.zeros((len(known), 1))
    for _ in range(SWEEPS if known.size else 0):
        common = common_of(known - np.nanmedian(known - common, axis=0), axis=1)
    rounds[np.ix_(some_rounds, some_subjects)] = known - common
    return rounds


def common_of(deviations: Array, axis: int) -> Array:
    """What the subjects of a round have in common, from their deviations from themselves along `axis`.

    Of few it is their mean: a median of three is one of them, which would then seem to have no noise. Of more
    it is Huber's estimate, so that a stray slice of one is not in the others.
    """
    if deviations.shape[axis] < MIN_COMPANY:
        return np.asarray(np.nanmean(deviations, axis=axis, keepdims=True))
    centre = np.nanmedian(deviations, axis=axis, keepdims=True)
    bound = ROUND_BOUND * MAD_TO_DEVIATION * np.nanmedian(np.abs(deviations - centre))
    for _ in range(STEPS):
        bounded = np.clip(deviations - centre, -bound, bound)
        centre = centre + np.nanmean(bounded, axis=axis, keepdims=True)
    return np.asarray(centre)


def compare_all(
    table: pd.DataFrame,
    subjects: Iterable[str],
    twins: tuple[str, str] | None = None,
    significance: float = SIGNIFICANCE,
) -> tuple[list[Comparison], Comparison | None]:
    """Every pair of `subjects`, in alphabetical order, and the pair of the twins.

    Args:
        table: from `log_rate_table` or `analysis.figures.leads.lead_table`.
        subjects: the columns to compare.
        twins: the columns of one server that was measured twice. They check the model: where it tells them
            apart, no difference of that size is called one.
        significance: `LOOKING_SIGNIFICANCE` of a run that may have ended for how narrow its intervals were.
    """
    ordered = sorted(subjects)
    columns = sorted({*ordered, *(twins or ())})
    if len(columns) < 2:
        return [], None
    pairs = _compare(columns, block_numbers(table[columns]), max(2, len(ordered)), significance)
    of_twins = next((pair for pair in pairs if {pair.left, pair.right} == set(twins or ())), None)
    bar = least_effect(of_twins)
    competing = set(ordered)
    judged = [judge(pair, bar) for pair in pairs if {pair.left, pair.right} <= competing]
    return judged, None if of_twins is None else judge(of_twins)


def _compare(columns: Sequence[str], numbers: Array, family: int, significance: float) -> list[Comparison]:
    """Every pair with its interval among `family` subjects; verdicts are still open.

    p is stretched as the intervals are, so that it is under 0.05 where an interval excludes 1.
    """
    fitted = fit(numbers)
    half, p = np.full((2, len(fitted.mean)), np.nan)
    for freedom in np.unique(fitted.freedom[~np.isnan(fitted.freedom)]):
        those = fitted.freedom == freedom
        half[those] = fitted.error[those] * range_limit(significance, family, float(freedom)) / np.sqrt(2)
        distance = np.abs(fitted.mean[those])
        no_spread = np.where(distance == 0, 0.0, np.inf)
        errors = np.divide(distance, fitted.error[those], out=no_spread, where=fitted.error[those] > 0)
        tail = range_tail(errors * np.sqrt(2), family, float(freedom))
        p[those] = np.minimum(1.0, tail * SIGNIFICANCE / significance)
    found = []
    for index, (left, right) in enumerate(combinations(columns, 2)):
        blocks, mean = int(fitted.blocks[index]), fitted.mean[index]
        if blocks < MIN_BLOCKS:
            ratio = float(np.exp(mean)) if blocks else None
            found.append(Comparison(left, right, blocks, ratio, None, None, None, "not enough data"))
            continue
        low, ratio, high = (float(np.exp(mean + side * half[index])) for side in (-1, 0, 1))
        why = PAIRED if fitted.paired else ""
        found.append(
            Comparison(left, right, blocks, ratio, low, high, float(p[index]), "not enough data", why)
        )
    return found


def least_effect(twins: Comparison | None) -> float:
    """The ratio over 1 that a difference must exceed: 3 %, or that of twins which were told apart."""
    if twins is None or verdict(twins) not in {"higher", "lower"} or twins.ratio is None:
        return MIN_EFFECT
    return max(twins.ratio, 1 / twins.ratio)


def judge(pair: Comparison, bar: float = MIN_EFFECT) -> Comparison:
    """The pair with its verdict, and what made it a tie; `bar` is from `least_effect`."""
    because = "; ".join(filter(None, (explanation(pair, bar), pair.because)))
    return replace(pair, verdict=verdict(pair, bar), because=because)


def verdict(pair: Comparison, bar: float = MIN_EFFECT) -> Verdict:
    """What may be said of a pair: the interval must exclude 1, and the effect be beyond `bar`."""
    if pair.ratio is None or pair.low is None or pair.high is None:
        return "not enough data"
    if explanation(pair, bar):
        return "tie"
    return "higher" if pair.ratio > 1 else "lower"


def explanation(pair: Comparison, bar: float = MIN_EFFECT) -> str:
    """Which of the two conditions made the pair a tie, or what data it lacks; empty for a difference."""
    if pair.ratio is None or pair.low is None or pair.high is None:
        return f"a verdict needs {MIN_BLOCKS} blocks with both, and there are {pair.blocks}"
    if pair.low <= 1 <= pair.high:
        return "the interval holds 1"
    if max(pair.ratio, 1 / pair.ratio) > bar:
        return ""
    if bar > MIN_EFFECT:
        return f"within the {bar - 1:.1%} by which a server that was measured twice differs from itself here"
    return f"within {MIN_EFFECT - 1:.0%}, which is never called a difference"
