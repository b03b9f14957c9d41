"""Ranks with their uncertainty: the places a subject can hold, and who ties with the leader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.results import CellResult, LevelResult
    from analysis.statistics import Comparison, Verdict

_ORDER = ("ok", "invalid", "failed", "unavailable", "unsupported")
_INVERSE: dict[Verdict, Verdict] = {"higher": "lower", "lower": "higher"}


@dataclass(frozen=True, slots=True)
class Standing:
    """One cell in the order of a level.

    Attributes:
        best: the best place that the verdicts leave open: one more than the subjects proven better. None
            for a cell that is not `ok`, and for one with too few blocks to be compared with any other.
        worst: the worst place they leave open.
        leads: whether it is the leader or a tie with it.
        ties: the subjects that it ties with.
    """

    cell: CellResult
    best: int | None
    worst: int | None
    leads: bool
    ties: frozenset[str] = frozenset()

    @property
    def places(self) -> str:
        """`1`, or `2 to 4` where ties leave it open; empty without a place."""
        if self.best is None:
            return ""
        return str(self.best) if self.best == self.worst else f"{self.best} to {self.worst}"


def ordered(level: LevelResult) -> list[CellResult]:
    """The cells for display: valid ones by the leading figure, then the others by what became of them."""
    sign = -1 if level.metric.better == "higher" else 1

    def place(cell: CellResult) -> tuple[int, bool, float, str]:
        figure = sign * cell.lead.estimate if cell.lead else 0.0
        return _ORDER.index(cell.status), cell.lead is None, figure, cell.subject

    return sorted(level.cells, key=place)


def compared(level: LevelResult, left: str, right: str) -> Comparison:
    """The comparison of two valid subjects, whichever of them is its left one."""
    return next(pair for pair in level.comparisons if {pair.left, pair.right} == {left, right})


def verdict_on(level: LevelResult, subject: str, other: str) -> Verdict:
    """What is known of `subject`'s figure against that of `other`: higher, lower, tie, or too little data."""
    pair = compared(level, subject, other)
    return pair.verdict if pair.left == subject else _INVERSE.get(pair.verdict, pair.verdict)


def standings(level: LevelResult) -> list[Standing]:
    """Every cell of the level in the order of display, the valid ones with their places."""
    cells = ordered(level)
    decided = [pair for pair in level.comparisons if pair.verdict != "not enough data"]
    comparable = {subject for pair in decided for subject in (pair.left, pair.right)}
    ranked = [cell for cell in cells if cell.subject in comparable]
    better = level.metric.better
    # Looking each pair up in the level would take seconds where there are thousands.
    known: dict[tuple[str, str], Verdict] = {}
    for pair in level.comparisons:
        known[pair.left, pair.right] = pair.verdict
        known[pair.right, pair.left] = _INVERSE.get(pair.verdict, pair.verdict)
    rows: list[Standing] = []
    for cell in cells:
        if cell.subject not in comparable:
            rows.append(Standing(cell, None, None, leads=False))
            continue
        others = [other.subject for other in ranked if other is not cell]
        verdicts = [known[cell.subject, other] for other in others]
        ties = frozenset(other for other in others if known[cell.subject, other] == "tie")
        leads = cell is ranked[0] or ranked[0].subject in ties
        best, worst = 1 + verdicts.count(_INVERSE[better]), len(ranked) - verdicts.count(better)
        rows.append(Standing(cell, best, worst, leads, ties))
    return rows


def tied_runs(rows: Sequence[Standing]) -> list[tuple[int, int]]:
    """First and last index of each run of neighbors that all tie with each other, the longest possible ones.

    Two runs may overlap: a tie with two subjects does not make those a tie.
    """
    runs: list[tuple[int, int]] = []
    for first in range(len(rows)):
        last = first
        while last + 1 < len(rows) and all(
            rows[last + 1].cell.subject in row.ties for row in rows[first : last + 1]
        ):
            last += 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
