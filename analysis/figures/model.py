"""The statistical model of one level: how noisy each subject is, and intervals that hold for all pairs.

The number of subject s in block b is the subject's own level, plus what the block did to all of them, plus
noise with that subject's variance: y_sb = m_s + c_b + e_sb. A ratio of two subjects needs no c_b, because it
cancels within each block. The variances do need it: without it the machine's change from block to block would
pass for noise of the subjects.

The variance of a few blocks is a poor estimate. How far those of all subjects differ beyond chance tells what
any of them is likely to be, and each is moderated by that (Smyth, 2004: empirical Bayes, as in limma). Here
moderation only raises a variance: lowering that of a subject which truly is noisier makes false differences.

The intervals are those of Tukey and Kramer, from the studentized range, with each pair's own standard error
(Games & Howell, 1976). Of two subjects alone all of this is the paired t.

Where the effects of subjects and blocks cannot be told apart, as in a chain of subjects of which each shares
few blocks with the next, each pair has its own standard error: the paired one, of its own differences alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, special

if TYPE_CHECKING:
    from analysis.figures.statistics import Array


_SWEEPS = 20
"""Of the least squares where a subject lacks a block; where none does, the first is exact."""
_SETTLED = 1e-3
"""Of the residuals' root mean square: what the last sweep may still change. More has not converged."""
_LEAST_SHARE = 1e-5
"""Of the mean variance: stands for one of zero, which has no logarithm (as in limma)."""
_SINGULAR = 1e-9
"""The least share of its noise that a subject's residual may keep; its blocks' effects have the rest."""
_ALIKE = 1e-3
"""Variance of the log variances beyond chance up to which all subjects are taken to be equally noisy."""
_FEW = 4
"""Degrees of freedom of a variance: from five blocks on."""
_NORMAL = np.linspace(-8.0, 8.0, 161)
_WIDTHS = np.linspace(0.0, 16.0, 641)
_NODES, _WEIGHTS = special.roots_legendre(96)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Every pair of subjects, in the order of `itertools.combinations`: one value a pair.

    Attributes:
        blocks: in which both are.
        mean: of the left one's numbers less the right one's in these blocks; NaN without one.
        error: its standard error; NaN for a subject with fewer than two blocks.
        freedom: the error's degrees of freedom.
        paired: whether the model could not be fitted; each error is then that of the pair's own differences.
    """

    blocks: Array
    mean: Array
    error: Array
    freedom: Array
    paired: bool = False


def fit(numbers: Array) -> Pairs:
    """The differences of all pairs, with their standard errors by the model.

    Args:
        numbers: logarithms, shape (subjects, blocks), of two subjects or more; NaN where one lacks a block.
    """
    left, right = np.array(list(combinations(range(len(numbers)), 2))).T
    differences = numbers[left] - numbers[right]
    blocks = (~np.isnan(differences)).sum(axis=1)
    divisor = np.where(blocks > 0, blocks, np.nan)
    mean = np.nansum(differences, axis=1) / divisor
    kept = _connected(numbers)
    known = ~np.isnan(kept).all(axis=1)
    fitted = _variances(kept[known]) if known.any() else None
    if known.any() and fitted is None:
        freedom = np.where(blocks > 1, blocks - 1.0, np.nan)
        spread = np.nansum((differences - mean[:, None]) ** 2, axis=1) / freedom
        return Pairs(blocks, mean, np.sqrt(spread / divisor), freedom, paired=True)
    variance, freedom = np.full((2, len(numbers)), np.nan)
    if fitted is not None:
        variance[known], freedom[known] = fitted.variance, fitted.freedom
    return Pairs(
        blocks=blocks,
        mean=mean,
        error=np.sqrt((variance[left] + variance[right]) / divisor),
        freedom=np.minimum(freedom[left], freedom[right]),
    )


@dataclass(frozen=True, slots=True)
class Means:
    """What each subject's numbers say by themselves, one value a subject.

    Attributes:
        blocks: in which it is.
        mean: of its numbers; NaN without one.
        error: the mean's standard error, in which what the blocks did to all subjects is too; NaN with fewer
            than two blocks.
        freedom: the error's degrees of freedom.
    """

    blocks: Array
    mean: Array
    error: Array
    freedom: Array


def means(numbers: Array) -> Means:
    """Each subject's mean with its standard error by the model: its own moderated variance and the blocks'.

    What blocks do to all subjects is one thing, known from as many values as there are blocks: its degrees of
    freedom do not grow with the subjects (Satterthwaite, 1946). Where the model cannot be fitted, and of one
    subject alone, the variance is that of the subject's own numbers.

    Args:
        numbers: logarithms, shape (subjects, blocks); NaN where a subject lacks a block.
    """
    present = ~np.isnan(numbers)
    blocks = present.sum(axis=1)
    divisor = np.where(blocks > 0, blocks, np.nan)
    mean = np.nansum(numbers, axis=1) / divisor
    freedom = np.where(blocks > 1, blocks - 1.0, np.nan)
    variance = np.nansum((numbers - mean[:, None]) ** 2, axis=1) / freedom
    known = present.any(axis=1)
    whole = present[known].all(axis=1)
    fitted = None
    if known.sum() > 1 and whole.any():
        connected = (~np.isnan(_connected(numbers[known])) == present[known]).all()
        fitted = _variances(numbers[known]) if connected else None
    if fitted is not None and (fitted.variance > 0).all():
        # Without its residual each number is the subject's level and the effect of its block.
        effects = (numbers[known] - fitted.left)[whole][0]
        seen = float(effects.var(ddof=1))
        beyond = max(0.0, seen - float(1 / (1 / fitted.variance).sum()))
        variance[known] = fitted.variance + beyond
        apart = fitted.variance**2 / fitted.freedom + seen**2 / (len(effects) - 1)
        freedom[known] = variance[known] ** 2 / apart
    return Means(blocks, mean, np.sqrt(variance / divisor), freedom)


def _connected(numbers: Array) -> Array:
    """The numbers without blocks that have one subject, and without subjects that have one such block."""
    while True:
        present = ~np.isnan(numbers)
        kept = present & (present.sum(axis=0) > 1) & (present.sum(axis=1, keepdims=True) > 1)
        if (kept == present).all():
            return numbers
        numbers = np.where(kept, numbers, np.nan)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """Each subject's moderated variance from block to block, its degrees of freedom, and the residuals."""

    variance: Array
    freedom: Array
    left: Array


def _variances(numbers: Array) -> _Fitted | None:
    """The model of subjects with two blocks or more, each of which has two subjects or more.

    None where the least squares do not converge, or leave a subject no residual of its own.
    """
    present = ~np.isnan(numbers)
    freedom = present.sum(axis=1) - 1.0
    weights, left = np.ones(len(numbers)), numbers
    for _ in range(2):  # once more with weights from the first variances, as weighted least squares
        shares = present * weights[:, None]
        shares = shares / np.maximum(shares.sum(axis=0), weights.min())
        if (found := _residuals(numbers, shares)) is None:
            return None
        left = found
        # A residual lacks the share that the subject itself has in the effect of its block.
        lacking = 1 - shares.sum(axis=1) / present.sum(axis=1)
        if lacking.min() < _SINGULAR:
            return None
        moderated, moderated_freedom = moderate((left**2).sum(axis=1) / (freedom * lacking), freedom)
        if not moderated.all():
            break
        weights = moderated.min() / moderated
    return _Fitted(moderated, moderated_freedom, left)


def _residuals(numbers: Array, shares: Array) -> Array | None:
    """What is left without the subjects' and the blocks' effects; 0 where a subject lacks a block.

    None where the last sweep still changes it.
    """
    left = before = numbers
    complete = not np.isnan(numbers).any()
    for _ in range(1 if complete else _SWEEPS):
        before = left
        left = left - np.nanmean(left, axis=1, keepdims=True)
        left = left - np.nansum(left * shares, axis=0)
    changed = 0.0 if complete else float(np.nanmax(np.abs(left - before)))
    settled = changed <= _SETTLED * float(np.sqrt(np.nanmean(left**2)))
    return np.nan_to_num(left) if settled else None


def moderate(variances: Array, freedom: Array) -> tuple[Array, Array]:
    """Variances raised to what all of them together say, and the degrees of freedom that they then have.

    The prior is a scaled inverse chi-squared distribution, fitted to the mean and the variance of the log
    variances (Smyth, 2004, section 6.2). The freedom gained from it is at most that of the pooled variance;
    of few blocks, from which nobody can tell whether subjects are alike, that of a pair's own two variances.
    """
    pooled = float(np.average(variances, weights=freedom))
    most = np.minimum(freedom.sum() * (1 - 1 / len(variances)), np.where(freedom < _FEW, 2 * freedom, np.inf))
    if pooled == 0:
        return variances, freedom
    logs = np.log(np.maximum(variances, _LEAST_SHARE * pooled))
    logs = logs - special.digamma(freedom / 2) + np.log(freedom / 2)
    beyond_chance = float(logs.var(ddof=1) - special.polygamma(1, freedom / 2).mean())
    if beyond_chance < _ALIKE:
        return np.maximum(variances, pooled), most
    half = _inverse_trigamma(beyond_chance)
    typical = np.exp(logs.mean() + special.digamma(half) - np.log(half))
    moderated = (2 * half * typical + freedom * variances) / (2 * half + freedom)
    return np.maximum(variances, moderated), np.minimum(freedom + 2 * half, most)


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = value, of a value over 0."""
    found = optimize.brentq(lambda log: special.polygamma(1, np.exp(log)) - value, -20.0, 20.0)
    return float(np.exp(found))


def range_tail(widths: Array, subjects: int, freedom: float) -> Array:
    """The chance that the studentized range of that many means exceeds each width.

    `scipy.stats.studentized_range` agrees to three digits, and would take seconds for the pairs of a level.
    """
    scale = np.sqrt(special.chdtri(freedom, (1 - _NODES) / 2) / freedom)
    tails = np.interp(np.multiply.outer(widths, scale), _WIDTHS, _normal_range_tail(subjects))
    return np.asarray(tails @ _WEIGHTS / 2)


@lru_cache(maxsize=128)
def _normal_range_tail(subjects: int) -> Array:
    """The chance that the range of that many standard normal values exceeds each of `_WIDTHS`."""
    above = special.ndtr(_NORMAL) - special.ndtr(_NORMAL - _WIDTHS[:, None])
    density = np.exp(-(_NORMAL**2) / 2) / np.sqrt(2 * np.pi)
    within = subjects * (density * above ** (subjects - 1)).sum(axis=1) * (_NORMAL[1] - _NORMAL[0])
    return np.asarray(np.clip(1 - within, 0, 1))


@lru_cache(maxsize=4096)
def range_limit(significance: float, subjects: int, freedom: float) -> float:
    """The width that the studentized range exceeds with that chance."""
    return float(
        optimize.brentq(
            lambda width: float(range_tail(np.array(width), subjects, freedom)) - significance, 0.0, 1e4
        )
    )
