"""How precise a run's ratios are: what a run that asked for a precision looks at, and its report says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.model import range_limit
from analysis.figures.statistics import LOOKING_SIGNIFICANCE
from gatebench.words.precision import FIRST_LOOK, Found, as_percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from analysis.figures.results import LevelResult, Summary
    from analysis.figures.statistics import Comparison
    from gatebench.words.precision import Precision


MOST_BLOCKS = 10_000
"""A forecast of more blocks is none: no run is so long."""


def half_width(pair: Comparison) -> float | None:
    """Half the width of a ratio's interval as a share of it (0.03 for ±3 %); None without an interval.

    In logarithms, where the interval is symmetric: the root of high over low, less 1.
    """
    if pair.low is None or pair.high is None or pair.low <= 0:
        return None
    return float(np.sqrt(pair.high / pair.low)) - 1


def find(summary: Summary, precision: Precision) -> Found:
    """What the intervals of a run are like, held against the precision that was asked for."""
    concerned = [
        (level, pair)
        for level in summary.levels
        for pair in level.comparisons
        if precision.concerns(level.workload, pair.left, pair.right)
    ]
    having = {level.plan.id for level, _ in concerned}
    without = tuple(
        level.plan.id
        for level in summary.levels
        if precision.concerns(level.workload) and level.plan.id not in having
    )
    if not concerned:
        text = "there is no valid pair to compare, so no precision can be reached"
        return Found(
            asked=str(precision),
            blocks=0,
            reached=None,
            met=False,
            pairs=0,
            widest="",
            needed_blocks=None,
            without=without,
            text=text,
        )
    level, pair = max(concerned, key=lambda each: _or_endless(each[1]))
    reached = half_width(pair)
    blocks = min(each.blocks for _, each in concerned)
    met = reached is not None and reached <= precision.share and blocks >= FIRST_LOOK
    widest = f"{level.plan.id}: {pair.left} / {pair.right}"
    needed = [needed_blocks(pair, level, precision.share) for level, pair in concerned]
    return Found(
        asked=str(precision),
        blocks=blocks,
        reached=reached,
        met=met,
        pairs=len(concerned),
        widest=widest,
        needed_blocks=None if None in needed else max(each or 0 for each in needed),
        without=without,
        text=_text(reached, widest, pair, concerned),
    )


def in_words(
    found: Found, ending: Mapping[str, Any] | None, looks: Sequence[Mapping[str, Any]], most: int
) -> str:
    """Which precision was asked for, which was reached, and why the run ended.

    Args:
        found: by the report.
        ending: the last `finished` event; None while the run goes on.
        looks: the `look` events.
        most: blocks of the plan.
    """
    asked = f"Precision: {found.asked} was asked for"
    counts = [look["blocks"] for look in looks]
    after = f"; looked after {', '.join(map(str, counts))} blocks" if counts else ""
    without = f" Without a ratio: {', '.join(found.without)}." if found.without else ""
    if ending is None:
        return f"{asked}; so far {found.text}{after}.{without}"
    if ending.get("ended_for") == "precision":
        ended = f"the run ended for it, after {found.blocks} of at most {most} blocks"
        return f"{asked} and reached: {found.text}; {ended}{after}.{without}"
    how = "the budget was used up" if ending["outcome"] == "complete" else "the run was ended early"
    if found.met:
        return f"{asked} and reached: {found.text}; {how}{after}.{without}"
    takes = f" By the spread seen it takes about {found.needed_blocks} blocks." if found.needed_blocks else ""
    return f"{asked} and not reached when {how}: {found.text}{after}.{takes}{without}"


def _or_endless(pair: Comparison) -> float:
    half = half_width(pair)
    return np.inf if half is None else half


def _text(
    reached: float | None, widest: str, pair: Comparison, concerned: Sequence[tuple[LevelResult, Comparison]]
) -> str:
    if reached is None:
        return f"no interval yet of {widest} ({pair.because})"
    if len(concerned) == 1:
        return f"{as_percent(reached)} ({widest})"
    known = [half for _, each in concerned if (half := half_width(each)) is not None]
    return (
        f"{as_percent(reached)} for the widest of {len(concerned)} ratios ({widest}), "
        f"{as_percent(float(np.median(known)))} in the median"
    )


def needed_blocks(pair: Comparison, level: LevelResult, share: float) -> int | None:
    """Blocks after which the pair's interval is so narrow, by the spread so far; None where nobody can tell.

    The standard error shrinks with the root of the blocks, and the limit of the studentized range with their
    degrees of freedom. A pair alone has one less than blocks; among more subjects, whose variances lend each
    other freedom, they are taken to be twice that.
    """
    half = half_width(pair)
    if half is None:
        return None
    family = _family(level)
    error = np.log1p(half) / _limit(family, pair.blocks) * np.sqrt(pair.blocks)
    wanted = np.log1p(share)
    few, many = pair.blocks, MOST_BLOCKS
    if np.log1p(half) <= wanted:
        return max(pair.blocks, FIRST_LOOK)
    if error * _limit(family, many) / np.sqrt(many) > wanted:
        return None
    while many - few > 1:
        middle = (few + many) // 2
        enough = error * _limit(family, middle) / np.sqrt(middle) <= wanted
        few, many = (few, middle) if enough else (middle, many)
    return max(many, FIRST_LOOK)


def _family(level: LevelResult) -> int:
    return len({subject for pair in level.comparisons for subject in (pair.left, pair.right)})


def _limit(family: int, blocks: int) -> float:
    freedom = float(blocks - 1) * (1 if family == 2 else 2)
    return range_limit(LOOKING_SIGNIFICANCE, family, freedom)
