"""Runs of which the truth is known, and the tables of what the statistics make of them.

The noise of `simulated` is fitted to standard runs of one machine in its noisier hours. A test holds it to
the closed loops of `docs/headline`: it is no quieter than these, and by no more than half noisier. Slices
ten times too slow are added to it; no run had any.

`python -m tests.support.simulation 1000` prints the figures of docs/method/statistics.md, from so many runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, takewhile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.model import fit, range_limit
from analysis.figures.statistics import (
    LOOKING_SIGNIFICANCE,
    MIN_EFFECT,
    SIGNIFICANCE,
    SWEEPS,
    common_of,
    mean_interval,
    trimmed_mean,
)
from gatebench.words.precision import FIRST_LOOK, scheduled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from analysis.figures.statistics import Array

DISTANCE_TO_DEVIATION = 2**0.5 * 0.6745
"""Median distance of two normal values, over their standard deviation."""
BOUNDED_STEPS = 40
DRIFT, DRIFT_S = 0.05, 10.0
"""Standard deviation of the machine's speed, common to all servers, and the time in which it wanders off."""
START = 0.02
"""Of a server's speed from one start to the next (pairs in `docs/exclusive/together`: 0.033 over √2)."""
SLICE = 0.04
"""Of a slice that nothing disturbed."""
SLOWED, SLOWED_BY = 0.08, 0.20
"""Share of slices that something slowed, and by how much on average, in logarithms."""
STRAY = 0.005
"""Share of slices that are ten times too slow."""
SLICE_S = 0.11
NOISY_SHARE = 5
"""One subject in so many is a noisy one, where some are; at least one."""


@dataclass(frozen=True, slots=True)
class World:
    """What a simulated machine and its servers do.

    Attributes:
        stray: share of slices that are ten times too slow.
        drift_s: time in which the machine's speed wanders off.
        start: standard deviation of a server's speed from one start to the next.
        noisy: how many times as noisy as the others one subject in five is, starts and slices alike.
        bad_start: share of starts after which a server is 30 % slower until the next.
    """

    stray: float = STRAY
    drift_s: float = DRIFT_S
    start: float = START
    noisy: float = 1.0
    bad_start: float = 0.0


FITTED = World()
WORLDS = {
    "as fitted": FITTED,
    "one server in five three times as noisy": replace(FITTED, noisy=3.0),
    "3 % of slices ten times too slow": replace(FITTED, stray=0.03),
    "noise that lasts 0.3 s": replace(FITTED, drift_s=0.3),
    "3 % of starts 30 % too slow": replace(FITTED, bad_start=0.03),
}


def simulated(
    random: np.random.Generator,
    runs: int,
    subjects: int,
    blocks: int,
    rounds: int = 9,
    world: World = FITTED,
) -> Array:
    """Log rates of equal servers, shape (runs, subjects, blocks, rounds).

    The slices of a round follow each other in an order of their own. The drift is a random walk that is drawn
    back to its centre (Ornstein-Uhlenbeck), and goes on from slice to slice within a block.
    """
    steps = random.normal(0, 1, (rounds * subjects, runs, blocks))
    kept = np.exp(-SLICE_S / world.drift_s)
    for now in range(1, len(steps)):
        steps[now] = kept * steps[now - 1] + np.sqrt(1 - kept**2) * steps[now]
    machine = DRIFT * np.moveaxis(steps, 0, -1).reshape(runs, blocks, rounds, subjects)
    order = random.random(machine.shape).argsort(axis=-1)
    rates = np.moveaxis(np.take_along_axis(machine, order, axis=-1), -1, 1)
    own = random.normal(0, world.start, (runs, subjects, blocks, 1))
    own = own - 0.3 * (random.random(own.shape) < world.bad_start)
    own = own + slice_noise(random, rates.shape, world.stray)
    own = own - trimmed_mean(own).mean()  # so that a noisier server is not also a slower one
    noisy = max(1, subjects // NOISY_SHARE)
    own[:, :noisy] *= world.noisy
    return np.asarray(rates + own)


def slice_noise(random: np.random.Generator, shape: tuple[int, ...], stray: float) -> Array:
    """What slices differ by beside drift and start."""
    slowed = (random.random(shape) < SLOWED) * random.exponential(SLOWED_BY, shape)
    strays = (random.random(shape) < stray) * np.log(10)
    return np.asarray(random.normal(0, SLICE, shape) - slowed - strays)


def table(rates: Array) -> pd.DataFrame:
    """One run, shape (subjects, blocks, rounds), as `log_rate_table` gives it."""
    subjects, blocks, rounds = rates.shape
    index = pd.MultiIndex.from_product([range(blocks), range(rounds)], names=["block", "round"])
    return pd.DataFrame(rates.reshape(subjects, -1).T, index, [f"s{number:02}" for number in range(subjects)])


def numbers(rates: Array, reduce: Callable[[Array], Array] = trimmed_mean) -> Array:
    """What `block_numbers` makes of many tables without a gap: shape (runs, subjects, blocks).

    `reduce` makes one number of each block's slices, shape (runs, subjects, blocks, rounds).
    """
    slices = rates
    for _ in range(SWEEPS):
        own = np.median(slices, (2, 3), keepdims=True)
        slices = rates - np.array([common_of(run, axis=0) for run in rates - own])
    return reduce(slices)


def bounded(slices: Array, low: float, high: float) -> Array:
    """Another location of each block's slices, which the lab does not use (docs/method/statistics.md).

    It is Huber's, with bounds of their own for slices that are slower and faster than the block's centre, in
    standard deviations of the subject's slices within blocks. These are from the median distance of two
    slices of one block (Shamos), which needs no centre.
    """
    left, right = np.triu_indices(slices.shape[-1], 1)
    distances = np.abs(slices[..., left] - slices[..., right])
    scale = np.median(distances, axis=(-2, -1), keepdims=True) / DISTANCE_TO_DEVIATION
    centre = np.median(slices, axis=-1, keepdims=True)
    for _ in range(BOUNDED_STEPS):
        centre = centre + np.clip(slices - centre, -low * scale, high * scale).mean(axis=-1, keepdims=True)
    return np.asarray(centre[..., 0])


ESTIMATORS: dict[str, Callable[[Array], Array]] = {
    "trimmed mean (the lab's)": trimmed_mean,
    "Huber, 1.345": partial(bounded, low=1.345, high=1.345),
    "slower 2, faster 3": partial(bounded, low=2.0, high=3.0),
    "slower 1, faster 3": partial(bounded, low=1.0, high=3.0),
}


def stalled(random: np.random.Generator, share: float, rounds: int) -> Array:
    """Slices with and without stalls of the server itself to half its rate, shape (2, 400, 1, 10, rounds)."""
    without = slice_noise(random, (400, 1, 10, rounds), STRAY)
    return np.array([without + np.log(0.5) * (random.random(without.shape) < share), without])


def said_of_stalls(slices: Array, reduce: Callable[[Array], Array]) -> float:
    """The share of its rate that an estimator says `stalled` servers lost."""
    with_stalls, without = slices
    return float(-np.expm1(reduce(with_stalls).mean() - reduce(without).mean()))


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of each pair of each run, in logarithms; shape (runs, pairs)."""

    effect: Array
    half_width: Array

    @property
    def claimed(self) -> npt.NDArray[np.bool_]:
        """Whether the pair is called a difference."""
        return np.asarray(self.missed & (np.abs(self.effect) > np.log(MIN_EFFECT)))

    @property
    def missed(self) -> npt.NDArray[np.bool_]:
        """Whether the interval does not hold the truth, where all are equal."""
        return np.asarray(np.abs(self.effect) > self.half_width)


def told(of_blocks: Array, family: int, significance: float = SIGNIFICANCE) -> Told:
    """The model's intervals for numbers of shape (runs, subjects, blocks); a twin is not of the family."""
    fitted = [fit(run) for run in of_blocks]
    limits = [range_limit(significance, family, round(float(each.freedom[0]), 1)) for each in fitted]
    half = [each.error * limit / np.sqrt(2) for each, limit in zip(fitted, limits, strict=True)]
    return Told(np.array([each.mean for each in fitted]), np.array(half))


def power(
    random: np.random.Generator,
    runs: int,
    subjects: int,
    blocks: int,
    rounds: int,
    faster: float,
    reduce: Callable[[Array], Array] = trimmed_mean,
) -> float:
    """How often one server that much faster is told from each other one; a twin is measured as well."""
    rates = simulated(random, runs, subjects + 1, blocks, rounds)
    rates[:, 0] += np.log(faster)
    found = told(numbers(rates, reduce), subjects)
    with_first = [
        index
        for index, (left, right) in enumerate(combinations(range(subjects + 1), 2))
        if left == 0 and right < subjects
    ]
    return float(((found.effect > 0) & found.claimed)[:, with_first].mean())


def looks_until(blocks: int) -> list[int]:
    """The numbers of blocks after which a run of at most so many may end."""
    early = takewhile(lambda number: number < blocks, scheduled())
    return [*(number for number in early if number >= FIRST_LOOK), blocks]


def at_the_end(seen: Sequence[Told], precise_at: int, quantile: float) -> Told:
    """What runs say that ended at the first look at which all of their intervals were narrow enough.

    Args:
        seen: what they would say at each of their looks.
        precise_at: the precision asked for is such that at this look...
        quantile: ...so many of the runs have it. At the last look all end.
    """
    widest = np.array([each.half_width.max(axis=1) for each in seen])
    narrow = widest <= np.quantile(widest[precise_at], quantile)
    narrow[-1] = True
    end = narrow.argmax(axis=0)
    run = np.arange(len(end))
    effects, halves = (np.array(each) for each in zip(*((a.effect, a.half_width) for a in seen), strict=True))
    return Told(effects[end, run], halves[end, run])


def missed_at_the_end(seen: Sequence[Told]) -> float:
    """The share of runs with an interval that misses, for the worst of the precisions that could be asked."""
    every = (
        at_the_end(seen, look, quantile).missed.any(axis=1).mean()
        for look in range(len(seen) - 1)
        for quantile in (0.1, 0.25, 0.5, 0.75)
    )
    return float(max(every))


def pair_at_looks(rates: Array, significance: float) -> list[Told]:
    """What runs of two servers would say at each of their looks; by the paired t, as the model."""
    differences = trimmed_mean(rates[:, 0] - rates[:, 1])
    seen = []
    for look in looks_until(differences.shape[1]):
        mean, low, high, _ = mean_interval(differences[:, :look], 1 - significance)
        seen.append(Told(mean[:, None], (high - low)[:, None] / 2))
    return seen


def all_at_looks(rates: Array, significance: float) -> list[Told]:
    """The same of any number of servers, by the model."""
    _, subjects, blocks, _ = rates.shape
    return [told(numbers(rates[:, :, :look]), subjects, significance) for look in looks_until(blocks)]


def _print_looks(random: np.random.Generator, runs: int) -> None:
    print("| servers | intervals of | " + " | ".join(WORLDS) + " |")
    for subjects, blocks, share in ((2, 40, 8), (6, 20, 1), (18, 20, 1 / 3)):
        at_looks = pair_at_looks if subjects == 2 else all_at_looks
        cells: dict[float, list[str]] = {SIGNIFICANCE: [], LOOKING_SIGNIFICANCE: []}
        for world in WORLDS.values():
            rates = simulated(random, int(runs * share), subjects, blocks, 4, world)
            for significance, found in cells.items():
                found.append(f"{1 - missed_at_the_end(at_looks(rates, significance)):.1%}")
        for significance, found in cells.items():
            print(f"| {subjects} | {1 - significance:.1%} | " + " | ".join(found) + " |", flush=True)


def _print_errors(random: np.random.Generator, runs: int) -> None:
    print("| blocks of rounds | servers | " + " | ".join(WORLDS) + " |")
    for blocks, rounds in ((3, 15), (5, 3), (5, 9), (5, 20), (10, 4), (10, 9), (15, 3), (20, 3)):
        for subjects in (2, 3, 6, 18):
            cells = []
            for world in WORLDS.values():
                seen = told(numbers(simulated(random, runs, subjects, blocks, rounds, world)), subjects)
                held, false = 1 - seen.missed.any(axis=1).mean(), seen.claimed.any(axis=1).mean()
                cells.append(f"{held:.1%}, {false:.1%}")
            print(f"| {blocks} of {rounds} | {subjects} | " + " | ".join(cells) + " |", flush=True)


def _print_power(random: np.random.Generator, runs: int) -> None:
    print("| blocks of rounds | servers | 10 % found | 5 % found |")
    for blocks, rounds in ((5, 9), (10, 4), (10, 5), (15, 3), (20, 3)):
        for subjects in (2, 6, 18):
            found = (power(random, runs, subjects, blocks, rounds, faster) for faster in (1.1, 1.05))
            cells = " | ".join(f"{share:.0%}" for share in found)
            print(f"| {blocks} of {rounds} | {subjects} | {cells} |", flush=True)


def _print_estimators(runs: int) -> None:
    shares = (0.1, 0.2, 0.3)
    lost = " | ".join(f"{share:.0%} stalled, of {rounds}" for rounds in (4, 20) for share in shares)
    print(f"| estimator of a block | 10 % found | 5 % found | {lost} |")
    for name, reduce in ESTIMATORS.items():
        found = [power(np.random.default_rng(3), runs, 18, 10, 4, faster, reduce) for faster in (1.1, 1.05)]
        said = [
            said_of_stalls(stalled(np.random.default_rng(4), share, rounds), reduce)
            for rounds in (4, 20)
            for share in shares
        ]
        print(f"| {name} | " + " | ".join(f"{value:.1%}" for value in (*found, *said)) + " |", flush=True)


if __name__ == "__main__":
    _print_power(np.random.default_rng(1), int(sys.argv[1]) // 2)
    _print_looks(np.random.default_rng(3), int(sys.argv[1]))
    _print_errors(np.random.default_rng(2), int(sys.argv[1]))
    _print_estimators(int(sys.argv[1]) // 2)
