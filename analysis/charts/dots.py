"""Percentiles of one subject as three dots on a logarithmic axis of milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.charts.frame import GREY, MARKERS, PAPER, logarithmic, nothing_valid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

FILLED, PALE, HOLLOW = 1.0, 0.4, 0.0
"""Opacity of the dots of p50, p90 and p99."""
TOO_FEW = " —: too few samples."
"""For the caption of a chart that has such a dash among its figures."""
LEGEND = "milliseconds, logarithmic, lower is better; filled: p50, pale: p90, hollow: p99"


def milliseconds_axis(axes: Axes, values_us: Sequence[float]) -> None:
    """An axis that holds all of `values_us`; without any, it says that nothing is valid."""
    if not values_us:
        nothing_valid(axes)
        return
    low_ms, high_ms = min(values_us) / 1000, max(values_us) / 1000
    logarithmic(axes, low_ms / 1.3, high_ms * 1.3, lambda value: f"{value:g} ms")


def draw_dots(axes: Axes, number: int, interface: str, paint: str, values_us: Sequence[float | None]) -> None:
    """p50, p90 and p99, in that order, of one row; what is None is left out."""
    shape = MARKERS[interface]
    opacities = (FILLED, PALE, HOLLOW)
    known = [
        (opacity, value / 1000)
        for opacity, value in zip(opacities, values_us, strict=True)
        if value is not None
    ]
    axes.plot([value for _, value in known], [number] * len(known), color=GREY, linewidth=3, zorder=2)
    for opacity, value in known:
        axes.plot(
            value,
            number,
            shape,
            markersize=13,
            markerfacecolor=PAPER,
            markeredgecolor=paint,
            markeredgewidth=2.4,
            zorder=3,
        )
        if opacity:
            axes.plot(value, number, shape, markersize=11, color=paint, alpha=opacity, zorder=4)
