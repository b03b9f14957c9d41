"""Charts on even footing: ASGI servers on one event loop, and each server on two of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.charts import rows
from analysis.charts.ranking import leading_charts
from analysis.charts.rows import apart, parts
from analysis.charts.style import (
    INK,
    MARKERS,
    PAPER,
    QUIET,
    STRONG,
    Chart,
    Column,
    Words,
    color,
    nothing_valid,
    page,
    row_labels,
    write,
)
from analysis.figures.footing import COMMON_LOOP, USUAL_LOOP, loop_pairs, on_one_loop
from analysis.figures.statistics import MIN_BLOCKS
from analysis.surroundings import conditions
from analysis.words import short_reason, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from analysis.charts.rows import Part
    from analysis.charts.view import View
    from analysis.figures.footing import LoopPair
    from analysis.figures.leads import Metric

_RIGHT_IN = 6.6
_RATIO = Column(1, 226, "right", STRONG)
_OVER = Column(1, 242, "left", QUIET)
_LETTERS = 28
_ROOM = 0.06
"""The axis is longer by that share of its length than the intervals, at either end."""
_NOTE = (
    "The same server of the same version, with the same parser and WebSocket library, in the same short "
    "rounds: the loop is what differs. The intervals hold together with those of all pairs of the level."
)


def shares_a_loop(view: View) -> bool:
    """Whether two servers or more ran on the loop that they are compared on, beside subjects that did not."""
    cells = on_one_loop(view.level).cells
    return len({cell.server for cell in cells if cell.shown}) > 1 and len(cells) < len(view.level.cells)


def same_loop_charts(view: View) -> Iterator[Chart]:
    """The leading figure of the ASGI subjects that ran on one event loop, with places among these alone."""
    level = on_one_loop(view.level)
    for chart in leading_charts(replace(view, levels=(level,)), among=f" on {COMMON_LOOP} alone"):
        yield replace(chart, stem=f"same-loop-{chart.stem}")


def has_two_loops(view: View) -> bool:
    """Whether a server ran on two loops, at a level of which more is better."""
    return view.level.metric.better == "higher" and bool(loop_pairs(view.meta, view.level))


def loop_charts(view: View) -> Iterator[Chart]:
    """What another loop than asyncio's makes of each server, the most first."""
    pairs = sorted(loop_pairs(view.meta, view.level), key=_place)
    for part in parts(pairs):
        yield _page(view, part, pairs)


def _place(pair: LoopPair) -> tuple[float, str]:
    return -_ratio(pair)[0] if pair.rates is not None else 0.0, pair.cell.subject


def _ratio(pair: LoopPair) -> tuple[float, float, float]:
    """The other loop over the usual one, with its interval; all three alike where there is none."""
    if pair.rates is None or pair.rates.ratio is None:
        return 1.0, 1.0, 1.0
    ratio = pair.rates.ratio
    low, high = pair.rates.low or ratio, pair.rates.high or ratio
    return (ratio, low, high) if pair.rates.left == pair.cell.subject else (1 / ratio, 1 / high, 1 / low)


def _page(view: View, part: Part[LoopPair], every: list[LoopPair]) -> Chart:
    level, meta, metric = view.level, view.meta, view.level.metric
    words = Words(
        part.title(f"Another event loop than {USUAL_LOOP}’s: {level.title}"),
        f"{metric.unit} over those of the same server on {USUAL_LOOP}; line: 95 % interval",
        f"{_NOTE}\n{conditions(view.run, level)}",
    )
    figure, axes = page(words, len(part.items), right_in=_RIGHT_IN)
    row_labels(axes, [meta.subject(pair.cell.subject) for pair in part.items])
    ends = [1.0, *(end for pair in every for end in _ratio(pair))]
    spare = (max(ends) - min(ends)) * _ROOM or 0.1
    axes.set_xlim(min(ends) - spare, max(ends) + spare)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    rows.across(axes, 1.0, f"as on {USUAL_LOOP}", INK, ":")
    if not any(pair.rates is not None for pair in every):
        nothing_valid(axes)
    for number, pair in enumerate(part.items):
        _row(view, axes, number, pair, metric)
    write(axes, -0.85, "times (95 % interval)", replace(_RATIO, look=QUIET))
    write(axes, -0.85, "loop, over", _OVER)
    told = [f"{pair.cell.subject} {_in_words(pair)} of {pair.usual.subject}" for pair in every if pair.rates]
    alt = f"Throughput on another loop over that on {USUAL_LOOP}: {'; '.join(told) or 'no pair is valid'}."
    return Chart(part.stem(f"loops-{level.workload}-{level.level}"), words.title, alt, figure)


def _row(view: View, axes: Axes, number: int, pair: LoopPair, metric: Metric) -> None:
    over = f"{pair.cell.loop}, over {pair.usual.subject}"
    write(axes, number, over if len(over) <= _LETTERS * 2 else f"{over[: _LETTERS * 2 - 1]}…", _OVER)
    if pair.rates is None:
        lacking = pair.usual if pair.cell.valid else pair.cell
        apart(axes, number, f"{lacking.subject} {short_reason(lacking, figure=metric.figure)}")
        return
    ratio, low, high = _ratio(pair)
    axes.plot([low, high], [number, number], color=INK, linewidth=2.4, zorder=2)
    axes.plot(
        ratio,
        number,
        MARKERS[pair.cell.interface],
        markersize=11,
        color=color(view.meta.subject(pair.cell.subject)),
        markeredgecolor=PAPER,
        markeredgewidth=1.5,
        zorder=3,
    )
    write(axes, number, _in_words(pair), _RATIO)


def _in_words(pair: LoopPair) -> str:
    """`1.48 times (1.40 to 1.57)`; of too few blocks the ratio alone."""
    if pair.rates is None:
        return ""
    if pair.rates.low is None:
        return f"{_ratio(pair)[0]:.2f} times ({MIN_BLOCKS} blocks needed)"
    return times(pair.rates, pair.cell.subject)
