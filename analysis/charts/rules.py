"""Grid lines and labels of a panel: an axis of matplotlib's own takes most of the time of a page of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis.charts.frame import GRID, LEAST_PT, MUTED, NOTHING_VALID, TEXT_PT, round_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes

_AWAY_PT = 6


def rule(axes: Axes, which: Literal["x", "y"], labels: Mapping[float, str]) -> None:
    """Draws a line across the panel at each value within it, and writes the value's label beside.

    Args:
        axes: of the panel, its limits set.
        which: the axis that the values are on.
        labels: value → its label; empty where another panel of the row has it.
    """
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    shown = {value: label for value, label in labels.items() if low <= value <= high}
    along = np.repeat([*shown], 3)
    across = np.tile([0.0, 1.0, np.nan], len(shown))
    if which == "x":
        place, away, x, y = axes.get_xaxis_transform(), (0, -_AWAY_PT), along, across
    else:
        place, away, x, y = axes.get_yaxis_transform(), (-_AWAY_PT, 0), across, along
    axes.plot(x, y, color=GRID, linewidth=1, transform=place, zorder=0.5)
    for value, label in shown.items():
        if label:
            axes.annotate(
                label,
                (value, 0) if which == "x" else (0, value),
                away,
                xycoords=place,
                textcoords="offset points",
                ha="center" if which == "x" else "right",
                va="top" if which == "x" else "center",
                fontsize=LEAST_PT,
                color=MUTED,
                annotation_clip=False,
                parse_math=False,
            )


def logarithmic_height(
    axes: Axes, low: float, high: float, show: Callable[[float], str], *, labelled: bool
) -> None:
    """A logarithmic y axis from `low` to `high` with round values, written by `show` where it is labelled."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    rule(axes, "y", {value: show(value) if labelled else "" for value in round_values(low, high)})


def even_values(low: float, high: float) -> list[float]:
    """Some four round values at equal distances."""
    return [float(value) for value in MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(low, high)]


def nothing_in_panel(axes: Axes) -> None:
    """Says in the panel that there is nothing to draw."""
    axes.text(
        0.5,
        0.5,
        NOTHING_VALID,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=TEXT_PT,
        color=MUTED,
    )
