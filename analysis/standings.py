"""Ranks with their uncertainty: the places a subject can hold, and who ties with the leader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.results import CellResult, LevelResult
    from analysis.statistics import Comparison, Verdict

_ORDER = ("ok", "invalid", "failed", "unavailable", "unsupported")
_INVERSE: dict[Verdict, Verdict] = {"higher": "lower", "lower": "higher"}


@dataclass(frozen=True, slots=True)
class Standing:
    """One cell in the order of a level.

    Attributes:
        best: the best place that the verdicts leave open: one more than the subjects proven higher. None
            for a cell that is not `ok`, and for one with too few blocks to be compared with any other.
        worst: the worst place they leave open.
        leads: whether it is the leader or a tie with it.
    """

    cell: CellResult
    best: int | None
    worst: int | None
    leads: bool

    @property
    def places(self) -> str:
        """`1`, or `2 to 4` where ties leave it open; empty without a place."""
        if self.best is None:
            return ""
        return str(self.best) if self.best == self.worst else f"{self.best} to {self.worst}"


def ordered(level: LevelResult) -> list[CellResult]:
    """The cells for display: valid ones by throughput, then the others by what became of them."""
    return sorted(
        level.cells,
        key=lambda cell: (_ORDER.index(cell.status), -(cell.figure("rps") or 0.0), cell.subject),
    )


def compared(level: LevelResult, left: str, right: str) -> Comparison:
    """The comparison of two valid subjects, whichever of them is its left one."""
    return next(pair for pair in level.comparisons if {pair.left, pair.right} == {left, right})


def verdict_on(level: LevelResult, subject: str, other: str) -> Verdict:
    """What is known of `subject` against `other`: higher, lower, tie, or not enough data."""
    pair = compared(level, subject, other)
    return pair.verdict if pair.left == subject else _INVERSE.get(pair.verdict, pair.verdict)


def standings(level: LevelResult) -> list[Standing]:
    """Every cell of the level in the order of display, the valid ones with their places."""
    cells = ordered(level)
    decided = [pair for pair in level.comparisons if pair.verdict != "not enough data"]
    comparable = {subject for pair in decided for subject in (pair.left, pair.right)}
    ranked = [cell for cell in cells if cell.subject in comparable]
    rows: list[Standing] = []
    for cell in cells:
        if cell.subject not in comparable:
            rows.append(Standing(cell, None, None, leads=False))
            continue
        verdicts = [verdict_on(level, cell.subject, other.subject) for other in ranked if other is not cell]
        leads = cell is ranked[0] or verdict_on(level, cell.subject, ranked[0].subject) == "tie"
        best, worst = 1 + verdicts.count("lower"), len(ranked) - verdicts.count("higher")
        rows.append(Standing(cell, best, worst, leads))
    return rows
