"""The comparison of two runs as frozen data, A the earlier or reference one and B the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analysis.figures.leads import Metric
from analysis.figures.statistics import MIN_EFFECT, Comparison, Estimate
from gatebench.results.schema import LevelPlan, SubjectMeta

if TYPE_CHECKING:
    from analysis.figures.statistics import Comparison
    from gatebench.results.schema import LevelPlan, SubjectMeta


CellVerdict = Literal["regression", "improvement", "no difference shown", "not comparable"]
Outcome = Literal["held", "flipped", "cannot be told"]


@dataclass(frozen=True, slots=True)
class Change:
    """A condition that differs; `a` and `b` are empty where a run has no such thing."""

    what: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """B over A of one cell's leading figure, from independent runs.

    Attributes:
        low, high: the simultaneous interval of `ratio`: those of all cells that have one hold the truth
            together in 95 of 100 pairs of runs, the drift between the runs aside. None under three blocks in
            either run.
        p: the chance that any of as many unchanged cells comes out so far from 1: under 0.05 where the
            interval excludes 1. None where the cell has no verdict.
    """

    ratio: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True)
class CellComparison:
    """One cell that both runs planned.

    Attributes:
        a, b: its leading figure in each run, in the metric's stored unit; None where it has none.
        ratio: None where the cell is not comparable at all.
        noise: ratio over 1 up to which nothing is a difference: 3 %, or what told a run's twins apart.
        reasons: why there is no verdict; each begins with a code and a colon. Empty where there is one.
    """

    subject: SubjectMeta
    plan: LevelPlan
    metric: Metric
    a: Estimate | None
    b: Estimate | None
    ratio: Ratio | None
    noise: float
    verdict: CellVerdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairComparison:
    """Two subjects against each other within A, and the same two within B.

    Attributes:
        a, b: left over right.
    """

    plan: LevelPlan
    metric: Metric
    a: Comparison
    b: Comparison
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Shift:
    """What all cells of a level did together.

    Attributes:
        ratio: geometric mean of B over A.
        lowest, highest: of the single cells.
    """

    plan: LevelPlan
    cells: int
    ratio: float
    lowest: float
    highest: float

    @property
    def alike(self) -> bool:
        """Whether three cells or more all moved the same way, and by more than is never a difference."""
        beyond = max(self.ratio, 1 / self.ratio) > MIN_EFFECT
        return beyond and self.cells >= 3 and (self.highest < 1 or self.lowest > 1)


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Everything that two runs say of each other.

    Attributes:
        a, b: IDs of the runs.
        changes: what differs in their conditions.
        cells: every cell that both runs planned, in the order of A.
        pairs: every pair of subjects that both runs compared.
        older: which of the two, `A` or `B`, an earlier version measured, that had other statistics.
    """

    a: str
    b: str
    changes: tuple[Change, ...]
    cells: tuple[CellComparison, ...]
    pairs: tuple[PairComparison, ...]
    shifts: tuple[Shift, ...]
    older: tuple[str, ...] = ()

    def with_verdict(self, verdict: CellVerdict) -> tuple[CellComparison, ...]:
        """The cells with that verdict."""
        return tuple(cell for cell in self.cells if cell.verdict == verdict)

    def with_outcome(self, outcome: Outcome) -> tuple[PairComparison, ...]:
        """The pairs with that outcome."""
        return tuple(pair for pair in self.pairs if pair.outcome == outcome)

    @property
    def says_something(self) -> bool:
        """Whether anything at all could be compared."""
        return bool(self.pairs) or any(cell.ratio is not None for cell in self.cells)
