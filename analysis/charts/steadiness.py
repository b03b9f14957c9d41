"""Steadiness over time: every slice of a run as a dot, block after block, and the drift that all share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd

from analysis.charts.panels import (
    MOST_PANELS,
    Panel,
    by_server,
    even_values,
    grid,
    head,
    is_first,
    nothing_in_panel,
    rule,
    short_name,
)
from analysis.charts.rows import Part, parts
from analysis.charts.style import INK, LEAST_PT, MARKERS, MUTED, STYLE, Chart, Words, color
from analysis.charts.view import conditions_of_all, counted_slices
from analysis.figures.steadiness import MIN_COMPANY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from gatebench.results.schema import SubjectMeta


_TICKS = {
    1.6: (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
    4.0: (0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0),
    100.0: (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
}
"""Up to this ratio of the axis' ends → its ticks."""
_OUTSIDE = 0.005
"""Share of the slices that the axis need not hold; they are drawn at its edges."""
_NARROWEST, _WIDEST = 1.15, 8.0
_FEW_DOTS = 4_000
"""A figure with more is drawn with its dots as a picture: each as a shape would make a file of megabytes."""
_MOST_BLOCKS, _MOST_TIMES = 12, 4
_NAMES_IN = 1.8
_LINE_PT = 16
_GLYPHS = {"wsgi": "■", "asgi": "●"}
_NOTE = (
    "A dot is one slice of a closed loop: its throughput over the median of all slices of that subject at "
    "that level, in valid cells and others. A dot at the edge of a panel lies beyond it."
)
_LINE = (
    " The line is the median of all subjects in each round: what moves there is the machine, and comparisons "
    "within rounds are free of it."
)


def steadiness_charts(view: View) -> Iterator[Chart]:
    """Throughput of every slice over time, each against its own median, a panel a server."""
    levels = [level for level in view.levels if level.plan.model in {"closed", "locust"}]
    competitors = [cell.subject for cell in levels[0].cells]
    relative = [_relative(counted_slices(view.run, level.plan)) for level in levels]
    slices = pd.concat(relative, ignore_index=True)
    slices = slices[slices["subject"].isin(competitors)]
    start = slices["started_unix_ns"].min()
    slices = slices.assign(minute=(slices["started_unix_ns"] - start) / 60e9)
    panels, without = by_server(view.meta, *(level.cells for level in levels))
    for part in parts(panels, MOST_PANELS):
        yield _page(view, part, slices, without)


def _relative(slices: pd.DataFrame) -> pd.DataFrame:
    """The slices of one level with their rate over the median of their subject's."""
    rates = slices["counted"] / slices["counted_s"]
    typical = rates.groupby(slices["subject"]).transform("median")
    kept = slices[["block", "round", "subject", "workload", "level", "started_unix_ns"]]
    return kept.assign(ratio=(rates / typical).where(typical > 0)).dropna(subset="ratio")


def _page(view: View, part: Part[Panel], slices: pd.DataFrame, without: str) -> Chart:
    drift = None if view.meta.exclusive else _drift(slices)
    line = "" if drift is None else _LINE
    words = Words(
        part.title("Steadiness: every slice of the run"),
        "throughput over its own median, logarithmic; from left to right: time, blocks numbered; ±: half of "
        "the slices lie within",
        f"{_NOTE}{line}{without}\n{conditions_of_all(view)}",
    )
    limits = (1.0, 1.0) if slices.empty else _limits(slices)
    ids = {subject.id for _, subjects in part.items for subject in subjects}
    as_picture = int(slices["subject"].isin(ids).sum()) > _FEW_DOTS
    with mpl.rc_context(STYLE):
        figure, every = grid(words, len(part.items), _NAMES_IN)
        for axes, (server, subjects) in zip(every, part.items, strict=True):
            head(axes, server)
            if slices.empty:
                nothing_in_panel(axes)
                continue
            _scales(axes, slices, limits)
            for place, subject in enumerate(subjects):
                own = slices[slices["subject"] == subject.id]
                _dots(axes, subject, own, limits, as_picture=as_picture)
                _key(axes, subject, f"{short_name(subject)}{_spread(own)}", place)
            if drift is not None:
                axes.plot(drift["minute"], drift["ratio"], color=INK, linewidth=1.1, zorder=4)
    alt = f"{len(slices):,} slices over {slices['block'].nunique()} blocks, each against its own median."
    return Chart(part.stem("steadiness"), words.title, alt, figure)


def _limits(slices: pd.DataFrame) -> tuple[float, float]:
    """From where to where the axis reaches."""
    low, high = slices["ratio"].quantile([_OUTSIDE / 2, 1 - _OUTSIDE / 2])
    return max(1 / _WIDEST, min(1 / _NARROWEST, low * 0.96)), min(_WIDEST, max(_NARROWEST, high * 1.04))


def _drift(slices: pd.DataFrame) -> pd.DataFrame | None:
    """The median of each round with `MIN_COMPANY` subjects, a gap after each level of a block.

    None where no level of a block has two such rounds: one alone makes no line.
    """
    stretch = ["block", "workload", "level"]
    rounds = slices.groupby([*stretch, "round"]).agg(
        minute=("minute", "mean"), ratio=("ratio", "median"), subjects=("subject", "nunique")
    )
    rounds = rounds[rounds["subjects"] >= MIN_COMPANY]
    if rounds.empty or rounds.groupby(stretch).size().max() < 2:
        return None
    gap = pd.DataFrame({"minute": [np.nan], "ratio": [np.nan]})
    pieces = [piece for _, part in rounds.groupby(stretch) for piece in (part[["minute", "ratio"]], gap)]
    return pd.concat(pieces, ignore_index=True)


def _scales(axes: Axes, slices: pd.DataFrame, limits: tuple[float, float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    steps = next(steps for ratio, steps in _TICKS.items() if limits[1] <= ratio * limits[0])
    last = float(slices["minute"].max()) or 1.0
    axes.set_xlim(-0.02 * last, 1.02 * last)
    rule(axes, "y", {tick: f"{tick:g} ×" if is_first(axes) else "" for tick in steps})
    times = even_values(0, last)
    rule(axes, "x", {minute: f"{minute:g} min" for minute in times[:: -(-len(times) // _MOST_TIMES)]})
    _blocks(axes, slices.groupby("block")["minute"].min().tolist())


def _blocks(axes: Axes, starts: Sequence[float]) -> None:
    """A line at the start of each block, and its number where there is room for it."""
    for number, minute in enumerate(starts, start=1):
        axes.axvline(minute, color=MUTED, linewidth=1, linestyle=":", zorder=1)
        if len(starts) <= _MOST_BLOCKS:
            axes.annotate(
                str(number),
                (minute, 0),
                (3, 3),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                fontsize=LEAST_PT,
                color=MUTED,
                annotation_clip=False,
            )


def _dots(
    axes: Axes, subject: SubjectMeta, own: pd.DataFrame, limits: tuple[float, float], *, as_picture: bool
) -> None:
    axes.plot(
        own["minute"],
        own["ratio"].clip(*limits),
        MARKERS[subject.interface],
        color=color(subject),
        markersize=3,
        markeredgewidth=0,
        alpha=0.7,
        rasterized=as_picture,
        zorder=3,
    )


def _spread(own: pd.DataFrame) -> str:
    """` ±2 %`: half of the slices are at most so far from the median; empty without slices."""
    if own.empty:
        return ""
    return f" ±{(own['ratio'] - 1).abs().median() * 100:.0f} %"


def _key(axes: Axes, subject: SubjectMeta, text: str, place: int) -> None:
    """Marker and name of one subject right of the axes, from the top down."""
    x, y = axes.bbox.width / axes.figure.dpi * 72, axes.bbox.height / axes.figure.dpi * 72
    at = (x + 10, y - 6 - _LINE_PT * place)
    for letters, ink, points in ((_GLYPHS[subject.interface], color(subject), 0), (text, INK, 13)):
        axes.annotate(
            letters,
            at,
            (points, 0),
            xycoords="axes points",
            textcoords="offset points",
            fontsize=LEAST_PT,
            color=ink,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )
