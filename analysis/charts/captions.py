"""Captions of charts of more than one level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.conditions import conditions

if TYPE_CHECKING:
    from analysis.charts.view import View


def conditions_of_all(view: View) -> str:
    """On what, when and from how much: the caption of a chart across levels."""
    meta = view.meta
    machine = conditions(meta, view.level).partition("\n")[0]  # its first line speaks of the whole run
    blocks = max((cell.blocks for level in view.levels for cell in level.cells), default=0)
    loads = "; ".join(level.plan.load for level in view.levels)
    one = len({level.workload for level in view.levels}) == 1
    what = f"{loads}; " if one else ""
    run = f"Run {meta.run}, {meta.started[:10]}, Gatebench {meta.gatebench}."
    return f"{machine}\n{what}{blocks} of {meta.blocks} blocks; seed {meta.seed}. {run}"
