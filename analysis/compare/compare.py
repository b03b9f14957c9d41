"""Compares two runs: each cell by the model of its level in either run, and the order of subjects. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from analysis.compare.conditions import cell_refusals, changes, run_doubts, run_refusals, status_refusals
from analysis.compare.result import (
    CellComparison,
    CellVerdict,
    Outcome,
    PairComparison,
    Ratio,
    RunComparison,
    Shift,
)
from analysis.figures.cells import level_data
from analysis.figures.leads import lead_table
from analysis.figures.model import Means, means
from analysis.figures.statistics import (
    LOOKING_SIGNIFICANCE,
    MIN_BLOCKS,
    MIN_EFFECT,
    SIGNIFICANCE,
    Comparison,
    block_numbers,
)
from gatebench.results.schema import SCHEMA, LevelPlan
from gatebench.words.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis.figures.results import LevelResult, Summary
    from analysis.figures.statistics import Comparison
    from analysis.reading.run import Run
    from gatebench.results.schema import LevelPlan, RunMeta


_OPPOSITE = {"higher": "lower", "lower": "higher"}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    run: Run
    summary: Summary

    @property
    def meta(self) -> RunMeta:
        """What `run.json` says."""
        return self.run.meta

    def level(self, plan: LevelPlan) -> LevelResult | None:
        """The level of that workload and name; None where this run has none."""
        wanted = plan.workload, plan.level
        return next((each for each in self.summary.levels if (each.workload, each.level) == wanted), None)


def compare_runs(a: Side, b: Side) -> RunComparison:
    """What B says against A.

    The interval of a cell's ratio holds what differs from block to block within each run. The two runs were
    made at different times, so the machine's drift from one to the other is in the ratio and not in the
    interval. In the ratios of two subjects within a run it cancels.

    Raises:
        ConfigurationError: both are the same run, or they have no cell in common.
    """
    # Two folders may have the same name.
    if (a.meta.run, a.meta.started, a.meta.seed) == (b.meta.run, b.meta.started, b.meta.seed):
        raise ConfigurationError(f"both folders hold the run {a.meta.run}; name two runs")
    cells: list[tuple[CellComparison, Difference | None]] = []
    pairs: list[PairComparison] = []
    for level in a.summary.levels:
        other = b.level(level.plan)
        if other is None:
            continue
        compared = _cells(a, b, level, other)
        cells += compared
        pairs += _pairs(level, other, _in_order(compared))
    if not cells:
        raise ConfigurationError(_nothing_in_common(a.meta, b.meta))
    looked = a.run.precision is not None or b.run.precision is not None
    judged = _judge(cells, LOOKING_SIGNIFICANCE if looked else SIGNIFICANCE)
    return RunComparison(
        a=a.meta.run,
        b=b.meta.run,
        changes=changes(a.meta, b.meta),
        cells=tuple(judged),
        pairs=tuple(pairs),
        shifts=_shifts(judged),
        older=tuple(name for name, side in (("A", a), ("B", b)) if side.meta.schema_ < SCHEMA),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Log B less log A of one cell.

    Attributes:
        mean: of B's blocks less that of A's.
        error: its standard error, in which what the blocks of each run did to all subjects is too.
        freedom: the error's degrees of freedom (Satterthwaite, 1946).
        enough: whether both runs have the blocks for an interval.
    """

    mean: float
    error: float
    freedom: float
    enough: bool


def difference(a: Means, b: Means, of_a: int, of_b: int) -> Difference:
    """What the subject in row `of_a` of A and `of_b` of B differs by; it must have a block in each."""
    variances = np.array([a.error[of_a], b.error[of_b]]) ** 2
    freedom = np.array([a.freedom[of_a], b.freedom[of_b]])
    variance, apart = variances.sum(), (variances**2 / freedom).sum()
    return Difference(
        mean=float(b.mean[of_b] - a.mean[of_a]),
        error=float(np.sqrt(variance)),
        freedom=float(variance**2 / apart if apart else freedom.sum()),
        enough=min(int(a.blocks[of_a]), int(b.blocks[of_b])) >= MIN_BLOCKS,
    )


def ratios(differences: Sequence[Difference], significance: float = SIGNIFICANCE) -> list[Ratio]:
    """B over A of each, with intervals and p that hold for all of those with blocks enough (Šidák, 1967).

    Šidák's bound holds whatever the differences have in common, such as the machine's speed.

    Args:
        differences: of all cells that have a ratio.
        significance: `LOOKING_SIGNIFICANCE` where a run may have ended for how narrow its intervals were.
    """
    family = max(1, sum(each.enough for each in differences))
    return [_ratio(each, family, significance) for each in differences]


def _ratio(found: Difference, family: int, significance: float) -> Ratio:
    if not found.enough:
        return Ratio(float(np.exp(found.mean)), None, None, None)
    tail = (1 - (1 - significance) ** (1 / family)) / 2
    half = -found.error * special.stdtrit(found.freedom, tail)
    if found.error:
        alone = 2 * special.stdtr(found.freedom, -abs(found.mean) / found.error)
    else:
        alone = float(found.mean == 0)
    low, ratio, high = (float(np.exp(found.mean + side * half)) for side in (-1, 0, 1))
    together = float(-np.expm1(family * np.log1p(-alone))) if alone < 1 else 1.0
    return Ratio(ratio, low, high, min(1.0, together * SIGNIFICANCE / significance))


def _cells(
    a: Side, b: Side, level: LevelResult, other: LevelResult
) -> list[tuple[CellComparison, Difference | None]]:
    """Every competitor that both runs have, ratios and verdicts still open, with what it differs by."""
    tables = [
        _valid(lead_table(level_data(side.run, each.plan)), each) for side, each in ((a, level), (b, other))
    ]
    of_a, of_b = ({cell.subject: cell for cell in each.cells} for each in (level, other))
    doubts = run_doubts(a.meta, b.meta)
    fitted = [
        means(block_numbers(table, with_common=True) if len(table.columns) else np.empty((0, 0)))
        for table in tables
    ]
    noise = max(each.noise.band if each.noise else MIN_EFFECT for each in (level, other))
    found: list[tuple[CellComparison, Difference | None]] = []
    for subject in a.meta.competitors:
        if subject.id not in {each.id for each in b.meta.competitors}:
            continue
        cell_a, cell_b = of_a[subject.id], of_b[subject.id]
        if cell_a.status == cell_b.status == "unsupported":
            continue
        in_both = subject, b.meta.subject(subject.id)
        refused = (
            *run_refusals(a.meta, b.meta),
            *cell_refusals(a.meta, b.meta, (level.plan, other.plan), in_both),
            *status_refusals(cell_a, cell_b),
        )
        rows = [_row(table, subject.id) for table in tables]
        blocks = [0 if row is None else int(each.blocks[row]) for each, row in zip(fitted, rows, strict=True)]
        if not refused and not all(blocks):
            refused = (f"not-measured: {level.metric.label} has no figure in one of the runs",)
        few = () if refused else _too_few(*blocks)
        compared = CellComparison(
            subject=subject,
            plan=level.plan,
            metric=level.metric,
            a=cell_a.lead,
            b=cell_b.lead,
            ratio=None,
            noise=noise,
            verdict="not comparable",
            reasons=refused or (*doubts, *few),
        )
        row_a, row_b = rows
        if refused or row_a is None or row_b is None:
            found.append((compared, None))
        else:
            found.append((compared, difference(fitted[0], fitted[1], row_a, row_b)))
    return found


def _too_few(a: int, b: int) -> tuple[str, ...]:
    if min(a, b) >= MIN_BLOCKS:
        return ()
    return (f"too-few-blocks: a verdict needs {MIN_BLOCKS} in each run, and there are {a} and {b}",)


def _valid(table: pd.DataFrame, level: LevelResult) -> pd.DataFrame:
    """The columns of the subjects whose figure may be compared; no other has a part in the model."""
    return table[[cell.subject for cell in level.cells if cell.valid and cell.subject in table]]


def _row(table: pd.DataFrame, subject: str) -> int | None:
    """Which row of the table's block numbers is the subject's; None where it has none."""
    return list(table.columns).index(subject) if subject in table else None


def _judge(
    cells: Sequence[tuple[CellComparison, Difference | None]], significance: float
) -> list[CellComparison]:
    """The cells with their ratios, whose intervals hold together over all levels, and verdicts."""
    found = iter(ratios([apart for _, apart in cells if apart is not None], significance))
    judged = []
    for cell, apart in cells:
        if apart is None:
            judged.append(cell)
            continue
        ratio = next(found)
        if cell.reasons:
            judged.append(replace(cell, ratio=replace(ratio, p=None)))
        else:
            verdict = cell_verdict(ratio, cell.metric.better, cell.noise)
            judged.append(replace(cell, ratio=ratio, verdict=verdict))
    return judged


def cell_verdict(ratio: Ratio, better: str, noise: float) -> CellVerdict:
    """The interval must exclude 1, and the effect be beyond the noise.

    Args:
        ratio: B over A, from `ratios`.
        better: `higher` or `lower`, of the figure.
        noise: ratio over 1 up to which nothing is a difference.
    """
    if ratio.low is None or ratio.high is None:
        return "no difference shown"
    excludes_one = ratio.low > 1 or ratio.high < 1
    effect = max(ratio.ratio, 1 / ratio.ratio)
    if not excludes_one or effect <= noise:
        return "no difference shown"
    return "improvement" if (ratio.ratio > 1) == (better == "higher") else "regression"


def _in_order(cells: Sequence[tuple[CellComparison, Difference | None]]) -> frozenset[str]:
    """The subjects whose place in the order may be compared: those that are not refused."""
    return frozenset(cell.subject.id for cell, apart in cells if apart is not None)


def _pairs(level: LevelResult, other: LevelResult, subjects: frozenset[str]) -> list[PairComparison]:
    in_b = {(pair.left, pair.right): pair for pair in other.comparisons}
    return [
        PairComparison(level.plan, level.metric, pair, in_b[key], outcome(pair, in_b[key]))
        for pair in level.comparisons
        if (key := (pair.left, pair.right)) in in_b and {*key} <= subjects
    ]


def outcome(a: Comparison, b: Comparison) -> Outcome:
    """Whether a difference that A shows is one in B as well; a tie in either says nothing."""
    if a.verdict not in _OPPOSITE or b.verdict not in _OPPOSITE:
        return "cannot be told"
    return "held" if a.verdict == b.verdict else "flipped"


def _shifts(cells: Sequence[CellComparison]) -> tuple[Shift, ...]:
    by_level: dict[LevelPlan, list[float]] = {}
    for cell in cells:
        if cell.ratio is not None:
            by_level.setdefault(cell.plan, []).append(cell.ratio.ratio)
    return tuple(
        Shift(plan, len(ratios), float(np.exp(np.log(ratios).mean())), min(ratios), max(ratios))
        for plan, ratios in by_level.items()
    )


def _nothing_in_common(a: RunMeta, b: RunMeta) -> list[str]:
    """What each run has, so that a reader sees why they do not meet."""
    levels = [", ".join(plan.id for plan in meta.levels) or "none" for meta in (a, b)]
    subjects = [", ".join(each.id for each in meta.competitors) or "none" for meta in (a, b)]
    return [
        f"the runs {a.run} and {b.run} have no cell in common, so there is nothing to compare",
        f"levels of A: {levels[0]}; of B: {levels[1]}",
        f"subjects of A: {subjects[0]}; of B: {subjects[1]}",
    ]
