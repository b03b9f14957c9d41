"""The order of subjects in two runs, comparison by comparison, as tables for a terminal."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from analysis.comparing.result import Outcome, PairComparison, RunComparison

_COLUMNS: dict[Outcome, str] = {
    "held": "held: better in both than",
    "flipped": "flipped: better in A, worse in B than",
    "cannot be told": "cannot be told from",
}


def order_tables(result: RunComparison) -> Group:
    """For each level every pair of subjects once: which held, which flipped, which cannot be told.

    A pair stands beside the subject with the better figure in A.
    """
    parts: list[RenderableType] = []
    for plan, pairs in groupby(result.pairs, key=lambda pair: pair.plan):
        title = Text(f"{plan.workload}, {plan.load}: each two subjects", style="italic")
        parts += [title, _level(list(pairs)), Text()]
    return Group(*parts)


def _level(pairs: Sequence[PairComparison]) -> Table:
    others: dict[str, dict[Outcome, list[str]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        better, worse = in_a(pair)
        others[better][pair.outcome].append(worse)
    shown = [outcome for outcome in _COLUMNS if any(each[outcome] for each in others.values())]
    table = Table(box=None, pad_edge=False)
    table.add_column("subject", no_wrap=True)
    for outcome in shown:
        table.add_column(_COLUMNS[outcome], overflow="fold")
    # Who is better than more of the others comes first.
    for subject in sorted(others, key=lambda name: -sum(map(len, others[name].values()))):
        found = others[subject]
        table.add_row(Text(subject), *(Text(", ".join(found[outcome]) or "–") for outcome in shown))
    return table


def in_a(pair: PairComparison) -> tuple[str, str]:
    """The subject with the better figure in A, and the other."""
    left_is_higher = (pair.a.ratio or 1.0) > 1
    if left_is_higher == (pair.metric.better == "higher"):
        return pair.a.left, pair.a.right
    return pair.a.right, pair.a.left
