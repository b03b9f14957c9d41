"""What a chart is drawn of: the raw data of a run, and the results of one or more of its levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.load import Run
    from analysis.meta import RunMeta, WorkloadMeta
    from analysis.results import LevelResult


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
