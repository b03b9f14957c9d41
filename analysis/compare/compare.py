"""Compares two runs: cells by Welch's interval on block means, and the order of subjects. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

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
from analysis.figures.statistics import (
    MIN_BLOCKS,
    MIN_EFFECT,
    SIGNIFICANCE,
    Comparison,
    block_means,
    difference_interval,
    holm,
    noise_band,
)
from gatebench.results.schema import LevelPlan
from gatebench.words.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis.figures.results import LevelResult, Summary
    from analysis.figures.statistics import Array, Comparison
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
    cells: list[CellComparison] = []
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
    judged = _judge(cells)
    return RunComparison(
        a=a.meta.run,
        b=b.meta.run,
        changes=changes(a.meta, b.meta),
        cells=tuple(judged),
        pairs=tuple(pairs),
        shifts=_shifts(judged),
    )


def welch(a: Array, b: Array) -> Ratio:
    """B over A from the logarithms of two independent runs' blocks, with the p of "no difference"."""
    if min(len(a), len(b)) < MIN_BLOCKS:
        return Ratio(float(np.exp(b.mean() - a.mean())), None, None, None)
    mean, low, high, p = difference_interval(a, b)
    return Ratio(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), float(p))


def _cells(a: Side, b: Side, level: LevelResult, other: LevelResult) -> list[CellComparison]:
    """Every competitor that both runs have; their p-values are not adjusted and verdicts open."""
    tables = lead_table(level_data(a.run, level.plan)), lead_table(level_data(b.run, other.plan))
    of_a, of_b = ({cell.subject: cell for cell in each.cells} for each in (level, other))
    doubts = run_doubts(a.meta, b.meta)
    noise = max(MIN_EFFECT, *(_noise(table, side.meta) for table, side in zip(tables, (a, b), strict=True)))
    found = []
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
        means = [_means(table, subject.id) for table in tables]
        if not refused and not all(len(each) for each in means):
            refused = (f"not-measured: {level.metric.label} has no figure in one of the runs",)
        ratio = None if refused else welch(*means)
        few = () if refused else _too_few(*map(len, means))
        found.append(
            CellComparison(
                subject=subject,
                plan=level.plan,
                metric=level.metric,
                a=cell_a.lead,
                b=cell_b.lead,
                ratio=ratio,
                noise=noise,
                verdict="not comparable",
                reasons=refused or (*doubts, *few),
            )
        )
    return found


def _too_few(a: int, b: int) -> tuple[str, ...]:
    if min(a, b) >= MIN_BLOCKS:
        return ()
    return (f"too-few-blocks: a verdict needs {MIN_BLOCKS} in each run, and there are {a} and {b}",)


def _noise(table: pd.DataFrame, meta: RunMeta) -> float:
    """A run's own A/A band in one level; 1 where no subject was measured twice in it."""
    twin = meta.twin
    return (noise_band(table, twin.original, twin.id) if twin is not None else None) or 1.0


def _means(table: pd.DataFrame, subject: str) -> Array:
    return block_means(table[subject]) if subject in table else np.array([], dtype=np.float64)


def _judge(cells: Sequence[CellComparison]) -> list[CellComparison]:
    """The cells with their verdicts, p adjusted over all that may have one (Holm)."""
    judged = list(cells)
    open_cells = [index for index, cell in enumerate(cells) if not cell.reasons]
    raw = [ratio.p or 0.0 for index in open_cells if (ratio := cells[index].ratio) is not None]
    adjusted = dict(zip(open_cells, holm(raw), strict=True))
    for index, cell in enumerate(cells):
        if cell.ratio is None:
            continue
        ratio = replace(cell.ratio, p=adjusted.get(index))
        verdict = cell.verdict if cell.reasons else cell_verdict(ratio, cell.metric.better, cell.noise)
        judged[index] = replace(cell, ratio=ratio, verdict=verdict)
    return judged


def cell_verdict(ratio: Ratio, better: str, noise: float) -> CellVerdict:
    """The interval, the adjusted p and the size of the effect must agree.

    Args:
        ratio: B over A, its p adjusted.
        better: `higher` or `lower`, of the figure.
        noise: ratio over 1 up to which nothing is a difference.
    """
    if ratio.low is None or ratio.high is None or ratio.p is None:
        return "no difference shown"
    excludes_one = ratio.low > 1 or ratio.high < 1
    effect = max(ratio.ratio, 1 / ratio.ratio)
    if not excludes_one or ratio.p >= SIGNIFICANCE or effect <= noise:
        return "no difference shown"
    return "improvement" if (ratio.ratio > 1) == (better == "higher") else "regression"


def _in_order(cells: Sequence[CellComparison]) -> frozenset[str]:
    """The subjects whose place in the order may be compared: those that are not refused."""
    return frozenset(cell.subject.id for cell in cells if cell.ratio is not None)


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
