"""What a chart is drawn from, and what its caption says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.figures.cells import LevelData, level_data
from analysis.surroundings import conditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis.figures.results import LevelResult
    from analysis.reading.run import Run
    from gatebench.results.schema import LevelPlan, RunMeta, WorkloadMeta


@dataclass(frozen=True, slots=True)
class View:
    """One level, all levels of one workload, or all of a run.

    Attributes:
        levels: at least one, in the order of the run.
    """

    run: Run
    levels: Sequence[LevelResult]

    @property
    def meta(self) -> RunMeta:
        """What `run.json` says."""
        return self.run.meta

    @property
    def level(self) -> LevelResult:
        """The level, of a view of one."""
        return self.levels[0]

    @property
    def workload(self) -> WorkloadMeta:
        """The workload, of a view of one level or one workload."""
        return self.meta.workload(self.level.workload)


def conditions_of_all(view: View) -> str:
    """On what, when and from how much: the caption of a chart across levels."""
    meta = view.meta
    machine = conditions(view.run, view.level).partition("\n")[0]  # its first line speaks of the whole run
    blocks = max((cell.blocks for level in view.levels for cell in level.cells), default=0)
    loads = "; ".join(level.plan.load for level in view.levels)
    one = len({level.workload for level in view.levels}) == 1
    what = f"{loads}; " if one else ""
    run = f"Run {meta.run}, {meta.started[:10]}, Gatebench {meta.gatebench}."
    return f"{machine}\n{what}{view.run.progress(blocks)}; seed {meta.seed}. {run}"


def counted_slices(run: Run, plan: LevelPlan) -> pd.DataFrame:
    """The slices of one level that its figures rest on, without the work of selecting its histograms."""
    return _slices(run, plan).slices


def every_slice(run: Run, plan: LevelPlan) -> pd.DataFrame:
    """The same with those that others disturbed: what a server holds, they did not change."""
    return _slices(run, plan).every


def _slices(run: Run, plan: LevelPlan) -> LevelData:
    return level_data(replace(run, histograms=run.histograms.without_rows()), plan)
