"""How long requests take, from the quick half to the slowest in a thousand: a curve a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from analysis.cells import level_data
from analysis.charts.frame import STYLE, Words
from analysis.charts.output import Chart
from analysis.charts.pages import Part, parts
from analysis.charts.panels import (
    MOST_PANELS,
    End,
    Panel,
    by_server,
    grid,
    head,
    is_first,
    left_out,
    name_ends,
    others,
)
from analysis.charts.rules import logarithmic_height, nothing_in_panel, rule
from analysis.charts.tails import Array, Tail, tails
from analysis.colors import color
from analysis.conditions import conditions
from analysis.standings import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

    from analysis.charts.view import View
    from analysis.meta import SubjectMeta

_TICKS = {0.5: "p50", 0.9: "p90", 0.99: "p99", 0.999: "p99.9", 0.9999: "p99.99", 0.99999: "p99.999"}
_OTHERS_EVERY = 2
"""A grey line needs fewer points than one that is read."""
_LEAST_NINES = 2.05
_BAND = 0.2
_NOTE = (
    "A curve ends where fewer than {beyond} lie beyond it: what is rarer was not measured often enough. The "
    "band reaches from the lowest to the highest block."
)


def distribution_charts(view: View) -> Iterator[Chart]:
    """The percentile curves of the valid subjects of one level, a panel a server, the best first."""
    cells = ordered(view.level)
    panels, without = by_server(view.meta, cells)
    valid = [cell.subject for cell in cells if cell.status == "ok"]
    found = tails(level_data(view.run, view.level.plan), valid)
    for part in parts(panels, MOST_PANELS):
        yield _page(view, part, found, without)


def _page(view: View, part: Part[Panel], found: Mapping[str, Tail], without: str) -> Chart:
    level, meta = view.level, view.meta
    kind = "Delay to each subscriber" if view.workload.exchange == "broadcast" else "Latency"
    kind = "Response time" if level.plan.paced else kind
    beyond = "100 latencies, or 10 of any block," if level.plan.paced else "100 latencies"
    words = Words(
        part.title(f"{kind} distribution: {level.title}"),
        "milliseconds, logarithmic, lower is better; from left to right: percentiles; grey: the others",
        f"{_NOTE.format(beyond=beyond)}{without}\n{conditions(meta, level)}",
    )
    with mpl.rc_context(STYLE):
        figure, every = grid(words, len(part.items))
        for axes, (server, subjects) in zip(every, part.items, strict=True):
            _scales(axes, list(found.values()))
            ids = {subject.id for subject in subjects}
            others(axes, [_thinned(tail) for name, tail in found.items() if name not in ids])
            own = [(subject, found[subject.id]) for subject in subjects if subject.id in found]
            for subject, tail in own:
                _curve(axes, subject, tail)
            cells = {cell.subject: cell for cell in level.cells}
            head(axes, server, left_out([(each, cells[each.id]) for each in subjects]))
            ends = [End(subject, _nines(tail.shares)[-1], tail.us[-1] / 1000) for subject, tail in own]
            name_ends(axes, ends)
    alt = f"Percentile curves of {len(found)} subjects; the level's table holds p50, p90, p99 and p99.9."
    return Chart(part.stem(f"distribution-{level.workload}-{level.level}"), words.title, alt, figure)


def _nines(shares: Array) -> Array:
    """Where a share stands on the axis: 1 for 90 %, 2 for 99 %."""
    return np.asarray(-np.log10(1 - shares))


def _scales(axes: Axes, found: Sequence[Tail]) -> None:
    if not found:
        nothing_in_panel(axes)
        return
    lowest, highest = (min(tail.us[0] for tail in found), max(tail.us[-1] for tail in found))
    axes.set_xlim(0, max(_LEAST_NINES, *(_nines(tail.shares)[-1] for tail in found)))
    low, high = lowest / 1000 / 1.3, highest / 1000 * 1.3
    logarithmic_height(axes, low, high, lambda value: f"{value:g} ms", labelled=is_first(axes))
    rule(axes, "x", dict(zip(_nines(np.array(list(_TICKS))).tolist(), _TICKS.values(), strict=True)))


def _thinned(tail: Tail) -> Array:
    kept = np.r_[0 : len(tail.us) : _OTHERS_EVERY, len(tail.us) - 1]
    return np.column_stack([_nines(tail.shares[kept]), tail.us[kept] / 1000])


def _curve(axes: Axes, subject: SubjectMeta, tail: Tail) -> None:
    x, paint = _nines(tail.shares), color(subject)
    low, high = tail.low_us / 1000, tail.high_us / 1000
    axes.fill_between(x, low, high, color=paint, alpha=_BAND, linewidth=0, zorder=2)
    axes.plot(x, tail.us / 1000, color=paint, linewidth=2.2, zorder=3)
