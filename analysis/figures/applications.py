"""What an application adds to the plain one behind the same server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.figures.cells import cpu_by_block
from analysis.figures.results import compared
from analysis.figures.statistics import MIN_BLOCKS, Comparison, Estimate, mean_interval
from gatebench.words.model import PLAIN_APPLICATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis.figures.results import CellResult, LevelResult
    from gatebench.results.schema import RunMeta


@dataclass(frozen=True, slots=True)
class Added:
    """A subject with another application, held against the plain one behind the same server.

    Attributes:
        cell: the subject's.
        plain: of the same server and variant with the plain application.
        cpu_us: CPU time a request beyond that of `plain`, with its 95 % interval over the blocks that both
            were in; None where either figure is not `ok`.
        share: of the subject's CPU time a request, what `cpu_us` is: 0 to 1, below 0 where it needs less.
        rates: their leading figures compared; None where they are not.
    """

    cell: CellResult
    plain: CellResult
    cpu_us: Estimate | None
    share: float | None
    rates: Comparison | None


def pairs(meta: RunMeta, level: LevelResult) -> list[tuple[CellResult, CellResult]]:
    """Each cell of another application with that of the plain one, where a run has both."""
    subjects = {subject.id: subject for subject in meta.subjects if subject.twin_of is None}
    cells = {cell.subject: cell for cell in level.cells if cell.subject in subjects}
    plain = {
        (subjects[name].server, subjects[name].variant): cell
        for name, cell in cells.items()
        if cell.app == PLAIN_APPLICATION and cell.status != "unsupported"
    }
    return [
        (cell, beside)
        for name, cell in cells.items()
        if cell.app != PLAIN_APPLICATION and cell.status != "unsupported"
        if (beside := plain.get((subjects[name].server, subjects[name].variant))) is not None
    ]


def added(meta: RunMeta, level: LevelResult, slices: pd.DataFrame) -> list[Added]:
    """What each application adds, in the order of the level's cells.

    Args:
        meta: of the run.
        level: one whose requests have a cost.
        slices: those that the level's figures rest on.
    """
    costs = cpu_by_block(slices)
    found = []
    for cell, plain in pairs(meta, level):
        cpu_us = _beyond(costs, cell, plain)
        total = cell.cpu_us_per_request
        share = cpu_us.estimate / total if cpu_us is not None and total else None
        rates = compared(level, cell.subject, plain.subject) if cell.valid and plain.valid else None
        found.append(Added(cell, plain, cpu_us, share, rates))
    return found


def _beyond(costs: pd.DataFrame, cell: CellResult, plain: CellResult) -> Estimate | None:
    shown = [each.status_of("cpu_us_per_request") == "ok" and each.cpu is not None for each in (cell, plain)]
    if not all(shown) or not {cell.subject, plain.subject} <= set(costs.columns):
        return None
    differences = (costs[cell.subject] - costs[plain.subject]).dropna().to_numpy(dtype=np.float64)
    if not len(differences):
        return None
    if len(differences) < MIN_BLOCKS:
        return Estimate(float(differences.mean()), None, None, len(differences))
    mean, low, high, _ = mean_interval(differences)
    return Estimate(float(mean), float(low), float(high), len(differences))


def by_application(rows: Sequence[Added]) -> list[Added]:
    """The applications from the cheapest on, all rows of one together; within it the cheapest server first.

    An application stands where the median of its rows puts it, both of its forms together.
    """
    of_app: dict[str, list[float]] = {}
    for row in rows:
        of_app.setdefault(row.cell.app, []).extend([row.cpu_us.estimate] if row.cpu_us else [])
    medians = {app: float(np.median(costs)) if costs else np.inf for app, costs in of_app.items()}

    def place(row: Added) -> tuple[float, str, float, str]:
        cost = row.cpu_us.estimate if row.cpu_us else np.inf
        return medians[row.cell.app], row.cell.app, cost, row.cell.subject

    return sorted(rows, key=place)
