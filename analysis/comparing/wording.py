"""The sentences of a comparison: they say what two runs show of each other and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.comparing.result import PairComparison, Ratio, RunComparison, Shift
    from analysis.statistics import Comparison

DRIFT = (
    "The intervals hold what differs from block to block within each run. The machine's drift from one run "
    "to the other is in the ratios and not in the intervals; in the order of subjects it cancels."
)


def ratio_in_words(ratio: Ratio | Comparison | None) -> str:
    """`0.93 (0.91 to 0.95)`; without an interval where there is none, a dash without a ratio."""
    if ratio is None or ratio.ratio is None:
        return "—"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def shift_in_words(shift: Shift) -> str:
    """What to think of a level whose cells all moved the same way."""
    return (
        f"{shift.plan.workload}/{shift.plan.level}: all {shift.cells} cells moved the same way, to "
        f"{shift.ratio:.2f} on average ({shift.lowest:.2f} to {shift.highest:.2f}). That is rather the "
        "machine's doing, or a part's that they share, than each server's own."
    )


def pair_in_words(pair: PairComparison) -> str:
    """One comparison in both runs: the ratios of left over right."""
    return (
        f"{pair.plan.workload}/{pair.plan.level}: {pair.a.left} over {pair.a.right}: "
        f"{ratio_in_words(pair.a)} in A, {ratio_in_words(pair.b)} in B"
    )


def conclusion(result: RunComparison) -> str:
    """How many cells and pairs came out how, in one line."""
    cells = [
        _count(len(result.with_verdict("regression")), "regression"),
        _count(len(result.with_verdict("improvement")), "improvement"),
        f"{len(result.with_verdict('no difference shown'))} without a difference shown",
        f"{len(result.with_verdict('not comparable'))} not comparable",
    ]
    pairs = [
        f"{len(result.with_outcome('held'))} differences held",
        f"{len(result.with_outcome('flipped'))} flipped",
        f"{len(result.with_outcome('cannot be told'))} cannot be told",
    ]
    return f"Cells: {', '.join(cells)}. Order of subjects: {', '.join(pairs)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
