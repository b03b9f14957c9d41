"""The slices that count, for charts of more than one level."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.cells import level_data

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Run
    from analysis.meta import LevelPlan


def counted_slices(run: Run, plan: LevelPlan) -> pd.DataFrame:
    """The slices of one level that its figures rest on, without the work of selecting its histograms."""
    return level_data(replace(run, histograms=run.histograms.without_rows()), plan).slices
