"""The chart of what an application, such as a framework, adds to the plain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

from analysis.charts.rows import apart, bar, parts
from analysis.charts.style import QUIET, STYLE, Chart, Column, Words, nothing_valid, page, row_labels, write
from analysis.charts.view import counted_slices
from analysis.figures.applications import added, by_application, pairs
from analysis.figures.leads import CPU
from analysis.surroundings import conditions
from analysis.words import interval, names, short_reason, times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.charts.rows import Part
    from analysis.charts.view import View
    from analysis.figures.applications import Added

_RIGHT_IN = 5.3
_INTERVAL = Column(1, 104, "right", QUIET)
_SHARE = Column(1, 168, "right", QUIET)
_TIMES = Column(1, 184, "left", QUIET)
_ROOM = 1.2
"""The axis is that much longer than the longest bar, for the figure beside it."""
_NOTE = (
    "CPU time of the server's processes a request, less that of the plain application behind the same server "
    "in the same blocks: what the framework and its views cost. Share: of all the request's CPU time; "
    "the rest is what the server takes with the plain application."
)


def has_applications(view: View) -> bool:
    """Whether the level has the cost of a request, of the plain application and of another."""
    return view.level.plan.model == "closed" and bool(pairs(view.meta, view.level))


def application_charts(view: View) -> Iterator[Chart]:
    """CPU microseconds a request over the plain application, one application after the other."""
    rows = by_application(added(view.meta, view.level, counted_slices(view.run, view.level.plan)))
    highest = max((row.cpu_us.high or row.cpu_us.estimate for row in rows if row.cpu_us), default=0.0)
    for part in parts(rows):
        yield _page(view, part, highest, [row.cell.app for row in rows])


def _page(view: View, part: Part[Added], highest: float, apps: list[str]) -> Chart:
    level, meta = view.level, view.meta
    words = Words(
        part.title(f"What the application adds: {level.title}"),
        f"CPU {CPU.unit} a request over the plain application's behind the same server; line: 95 % interval",
        f"{_NOTE}\n{conditions(view.run, level)}",
    )
    with mpl.rc_context(STYLE):
        figure, axes = page(words, len(part.items), right_in=_RIGHT_IN)
        row_labels(axes, [meta.subject(row.cell.subject) for row in part.items])
        low = min((row.cpu_us.low or 0.0 for row in part.items if row.cpu_us), default=0.0)
        axes.set_xlim(min(0.0, low), max(highest, 0.0) * _ROOM or 1.0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        if not highest:
            nothing_valid(axes)
        for number, row in enumerate(part.items):
            _row(view, axes, number, row)
        has_rates = any(row.rates is not None and row.rates.low is not None for row in part.items)
        rates = "requests/s over plain's" if has_rates else "requests/s: not comparable"
        has_intervals = any(interval(row.cpu_us, CPU) for row in part.items)
        over = "95 % interval" if has_intervals else ""
        for text, column in ((over, _INTERVAL), ("share", _SHARE), (rates, _TIMES)):
            write(axes, -0.85, text, column)
    what = names(list(dict.fromkeys(apps)))
    alt = f"What {what} add to the CPU time of a request; the tables hold the CPU time of each."
    return Chart(part.stem(f"application-{level.workload}-{level.level}"), words.title, alt, figure)


def _row(view: View, axes: mpl.axes.Axes, number: int, row: Added) -> None:
    if row.cpu_us is None:
        lacking = row.plain if row.plain.status_of(CPU.figure) != "ok" else row.cell
        of = "plain: " if lacking is row.plain else ""
        known = lacking.status_of(CPU.figure) == "ok"
        apart(axes, number, "not measured" if known else f"{of}{short_reason(lacking, figure=CPU.figure)}")
        return
    bar(axes, number, row.cpu_us, CPU.show(row.cpu_us.estimate), view.meta.subject(row.cell.subject))
    write(axes, number, interval(row.cpu_us, CPU), _INTERVAL)
    if row.share is not None:
        write(axes, number, f"{row.share * 100:.0f} %", _SHARE)
    if row.rates is not None and row.rates.low is not None:
        write(axes, number, times(row.rates, row.cell.subject), _TIMES)
