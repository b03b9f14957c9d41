"""Charts with a panel for each server."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.charts.style import (
    CAPTION_PT,
    GREY,
    GRID,
    HEIGHT_IN,
    INK,
    LEAST_PT,
    LEFT_IN,
    MARKERS,
    MUTED,
    NOTHING_VALID,
    PAPER,
    STYLE,
    TEXT_PT,
    WIDTH_IN,
    Words,
    below_in,
    color,
    round_values,
    sheet,
)
from analysis.figures.gates import RATE_MISSED
from analysis.words import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.charts.style import Words
    from analysis.figures.gates import FigureName
    from analysis.figures.results import CellResult
    from gatebench.results.schema import RunMeta, SubjectMeta


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


Panel: TypeAlias = "tuple[str, list[SubjectMeta]]"
"""A server and its subjects."""

MOST_PANELS = 12
_COLUMNS = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}
_MOST_COLUMNS = 4
_TOP_IN, _TICKS_IN, _FOOT_IN = 1.2, 0.75, 0.25
_HEADS_IN = {1: 0.9, 2: 0.9, 3: 0.68}
"""Rows of panels → the room above each, for its name and for one or two lines of notes."""
_HIGH_IN = 1.4
"""A panel of that height has room for two."""
NAMES_IN = 1.3
"""Room right of a panel for the names of its lines."""
_NOTE_PT, _NOTE_LINE_PT = 6, 15
_LETTERS_AN_INCH = 12.0
"""Letters of the smallest size to an inch."""
_NAME_PT, _APART_PT = 14, 15
_LETTERS_OF_A_NAME, _MOST_NAMES = 12, 5


@dataclass(frozen=True, slots=True)
class End:
    """Where a line ends, in the units of the axes."""

    subject: SubjectMeta
    x: float
    y: float


def by_server(meta: RunMeta, *levels: Sequence[CellResult]) -> tuple[list[Panel], str]:
    """The panels in the order of the first level's cells, and a sentence on the servers that have none.

    A server has none where no level is supported by any of its subjects. Another application makes another
    panel, and so do more subjects than can have their names beside it.
    """
    found: dict[str, list[SubjectMeta]] = defaultdict(list)
    for cell in levels[0]:
        subject = meta.subject(cell.subject)
        found[subject.server + _application(subject)].append(subject)
    supporting = {cell.subject for cells in levels for cell in cells if cell.status != "unsupported"}
    panels: list[Panel] = []
    without: list[str] = []
    for name, subjects in found.items():
        if not any(subject.id in supporting for subject in subjects):
            without.append(name)
            continue
        chunks = [subjects[start : start + _MOST_NAMES] for start in range(0, len(subjects), _MOST_NAMES)]
        panels += [(f"{name}, {n}" if n > 1 else name, chunk) for n, chunk in enumerate(chunks, start=1)]
    return panels, f" Not supported by {names(without)}." if without else ""


def _application(subject: SubjectMeta) -> str:
    """`+flask`; empty where the ID does not name an application."""
    suffix = f"+{subject.app}"
    return suffix if subject.id.endswith(suffix) else ""


def grid(words: Words, panels: int, names_in: float = NAMES_IN) -> tuple[Figure, list[Axes]]:
    """A slide with that many pairs of axes, row by row; `names_in` inches are left right of each."""
    with mpl.rc_context(STYLE):
        figure = sheet(words)
        columns = _COLUMNS.get(panels, _MOST_COLUMNS)
        rows = -(-panels // columns)
        pitch = (WIDTH_IN - LEFT_IN - _TICKS_IN) / columns
        head_in = _HEADS_IN[rows]
        height = (HEIGHT_IN - _TOP_IN - below_in(words)) / rows
        found: list[Axes] = []
        for number in range(panels):
            row, column = divmod(number, columns)
            left = LEFT_IN + _TICKS_IN + column * pitch
            bottom = HEIGHT_IN - _TOP_IN - (row + 1) * height + _FOOT_IN
            box = (
                left / WIDTH_IN,
                bottom / HEIGHT_IN,
                (pitch - names_in) / WIDTH_IN,
                (height - head_in - _FOOT_IN) / HEIGHT_IN,
            )
            axes = figure.add_axes(box)
            axes.set_facecolor(PAPER)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
            axes.xaxis.set_visible(False)
            axes.yaxis.set_visible(False)
            found.append(axes)
        return figure, found


def is_first(axes: Axes) -> bool:
    """Whether a panel is the first of its row, which has the labels of all of them."""
    return bool(axes.get_position().x0 * WIDTH_IN < LEFT_IN + _TICKS_IN + 0.1)


def head(axes: Axes, server: str, notes: str = "") -> None:
    """The server's name above its panel, and under it what is to be known of it, in one or two lines."""
    width_in = axes.bbox.width / axes.figure.dpi + NAMES_IN
    most = 2 if axes.bbox.height / axes.figure.dpi > _HIGH_IN else 1
    lines = textwrap.wrap(notes, round(width_in * _LETTERS_AN_INCH), max_lines=most, placeholder=" …")
    above_pt = _NOTE_PT + len(lines) * _NOTE_LINE_PT + 2
    for text, points, size, ink, weight in (
        (server, above_pt, TEXT_PT, INK, "bold"),
        ("\n".join(lines), _NOTE_PT, CAPTION_PT, MUTED, "normal"),
    ):
        axes.annotate(
            text,
            (0, 1),
            (0, points),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=size,
            color=ink,
            fontweight=weight,
            va="bottom",
            annotation_clip=False,
            parse_math=False,
        )


def left_out(cells: Sequence[tuple[SubjectMeta, CellResult]], figure: FigureName) -> str:
    """`sync, gthread: unsupported; gevent: limited: uneven`: what there is to know of one figure."""
    why: Mapping[str, list[str]] = defaultdict(list)
    for subject, cell in cells:
        if cell.status_of(figure) != "ok":
            why[reason_in_brief(cell, figure)].append(short_name(subject))
    return "; ".join(f"{', '.join(which)}: {reason}" for reason, which in why.items())


def reason_in_brief(cell: CellResult, figure: FigureName | None = None) -> str:
    """What a figure of a cell is: its status, with the code of its first reason where that says more.

    Args:
        cell: whose.
        figure: which; the leading one where none is named.
    """
    figure = figure or cell.leading
    status, code = cell.status_of(figure), cell.code_of(figure)
    if status == "ok":
        return "no figure"
    if code == RATE_MISSED.code:
        return "overloaded"
    return status if code in {"", status} else f"{status}: {code}"


def short_name(subject: SubjectMeta) -> str:
    """The subject's ID without what the panel's head says already, short enough to stand beside it."""
    name = subject.id.removesuffix(_application(subject)).removeprefix(f"{subject.server}-")
    return name if len(name) <= _LETTERS_OF_A_NAME else f"{name[: _LETTERS_OF_A_NAME - 1]}…"


def others(axes: Axes, lines: Sequence[npt.NDArray[np.float64]], marker: str = "") -> None:
    """All lines that are not the panel's own, each of shape (points, 2), as one artist with gaps."""
    if lines:
        gap = np.full((1, 2), np.nan)
        x, y = np.concatenate([part for line in lines for part in (line, gap)]).T
        axes.plot(x, y, marker=marker, color=GREY, markersize=5, linewidth=1, zorder=1)


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Writes each line's name right of the axes at the height of its end, apart where two would meet."""
    ends = sorted(ends, key=lambda end: end.y)
    width_pt, height_pt = (side / axes.figure.dpi * 72 for side in (axes.bbox.width, axes.bbox.height))
    places = [axes.transAxes.inverted().transform(axes.transData.transform((end.x, end.y))) for end in ends]
    heights_pt = _apart([float(place[1]) * height_pt for place in places])
    for end, (x, y), name_pt in zip(ends, places, heights_pt, strict=True):
        marker, to = MARKERS[end.subject.interface], (1 + (_NAME_PT - 3) / width_pt, name_pt / height_pt)
        axes.plot([x, to[0]], [y, to[1]], color=GREY, linewidth=1, transform=axes.transAxes, clip_on=False)
        axes.plot(end.x, end.y, marker, color=color(end.subject), markersize=6, zorder=5, clip_on=False)
        axes.annotate(
            short_name(end.subject),
            (1, name_pt / height_pt),
            (_NAME_PT, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=LEAST_PT,
            color=INK,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )


def _apart(heights_pt: Sequence[float]) -> list[float]:
    """Ascending heights, moved as little as it takes for each to have a line of text to itself."""
    groups: list[list[float]] = []
    for height in heights_pt:
        groups.append([height])
        while len(groups) > 1 and _top(groups[-2]) + _APART_PT > _bottom(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_bottom(group) + place * _APART_PT for group in groups for place in range(len(group))]


def _bottom(group: Sequence[float]) -> float:
    """Where the lowest of a group stands whose middle is the mean of its heights."""
    return sum(group) / len(group) - _APART_PT * (len(group) - 1) / 2


def _top(group: Sequence[float]) -> float:
    return _bottom(group) + _APART_PT * (len(group) - 1)


_WIDE = 8
"""From this ratio of its ends on, the axis of the levels is logarithmic."""
_MOST_TICKS = 6
_STRIP, _UNDER_STRIP = 0.14, 0.8
"""Share of a panel's height that its hatched strip takes, and where under it the highest figure lies."""


@dataclass(frozen=True, slots=True)
class Point:
    """One level of one subject.

    Attributes:
        x: where the level stands.
        y: its leading figure in its shown unit; None where there is none to show.
        low, high: of its 95 % interval; None without one.
    """

    x: float
    y: float | None
    low: float | None
    high: float | None
    cell: CellResult


def point(x: float, cell: CellResult, scale: float) -> Point:
    """The cell's leading figure times `scale` at `x`."""
    lead = cell.lead
    if lead is None:
        return Point(x, None, None, None, cell)
    low, high = (None if end is None else end * scale for end in (lead.low, lead.high))
    return Point(x, lead.estimate * scale, low, high, cell)


def has_strip(panels: Sequence[Panel], points: Mapping[str, Sequence[Point]]) -> bool:
    """Whether any of these panels has a hatched strip, which the caption then explains."""
    return any(_is_apart(each) for _, subjects in panels for one in subjects for each in points[one.id])


def draw(
    words: Words,
    panels: Sequence[Panel],
    points: Mapping[str, Sequence[Point]],
    scale: Callable[[Axes, float, float, float], None],
    floor: Sequence[Point] = (),
) -> Figure:
    """A page of panels.

    Args:
        words: around them.
        panels: those of the page.
        points: subject → its points in ascending order, of all pages.
        scale: makes the y axis of one panel; gets the lowest and the highest end of any interval, and how
            high in the panel (0 to 1) the highest is to be.
        floor: what the machine does without a server, for a dashed line in every panel.
    """
    known = _valid(floor)
    with mpl.rc_context(STYLE):
        figure, every = grid(words, len(panels))
        for axes, panel in zip(every, panels, strict=True):
            _scales(axes, points, scale, known)
            _panel(axes, panel, points)
            if known:
                x, y = [each.x for each in known], [each.y or 0.0 for each in known]
                axes.plot(x, y, color=MUTED, linewidth=1.6, linestyle="--", zorder=1)
        return figure


def _panel(axes: Axes, panel: Panel, points: Mapping[str, Sequence[Point]]) -> None:
    server, subjects = panel
    own = {subject.id for subject in subjects}
    rest = [_valid(line) for subject, line in points.items() if subject not in own]
    others(axes, [np.array([(each.x, each.y) for each in line]) for line in rest if line], ".")
    in_strip = [subject.id for subject in subjects if any(map(_is_apart, points[subject.id]))]
    if in_strip:
        _strip(axes)
    for subject in subjects:
        place = in_strip.index(subject.id) if subject.id in in_strip else 0
        _line(axes, subject, points[subject.id], place)
    head(axes, server, "; ".join(_left_out(subjects, points)))
    last = [(subject, _valid(points[subject.id])[-1:]) for subject in subjects]
    ends = [End(subject, each.x, each.y or 0.0) for subject, one in last for each in one]
    name_ends(axes, ends)


def _is_apart(point: Point) -> bool:
    """Whether it stands in the strip."""
    return point.cell.lead_status in {"withheld", "failed"}


def _valid(line: Sequence[Point]) -> list[Point]:
    return [each for each in line if each.y is not None]


def _scales(
    axes: Axes,
    points: Mapping[str, Sequence[Point]],
    scale: Callable[[Axes, float, float, float], None],
    floor: Sequence[Point],
) -> None:
    every = [each for line in points.values() for each in line]
    ends = [end for each in every for end in (each.y, each.low, each.high) if end is not None]
    ends += [each.y for each in floor if ends and each.y is not None]
    levels = sorted({each.x for each in every})
    if levels[-1] >= _WIDE * levels[0]:
        axes.set_xscale("log")
        axes.set_xlim(levels[0] / 1.3, levels[-1] * 1.3)
    else:
        margin = (levels[-1] - levels[0]) * 0.12
        axes.set_xlim(levels[0] - margin, levels[-1] + margin)
    ticks = levels[:: -(-len(levels) // _MOST_TICKS)]
    if ends:
        scale(axes, min(ends), max(ends), _UNDER_STRIP)
    else:
        axes.set_ylim(0, 1)
        nothing_in_panel(axes)
    rule(axes, "x", {tick: in_short(tick) for tick in ticks})


def in_short(value: float) -> str:
    """`750`, `2k`, `12.5k`."""
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


def _strip(axes: Axes) -> None:
    """A hatched strip for the levels that gave no valid figure."""
    box = Rectangle((0, 1 - _STRIP), 1, _STRIP, transform=axes.transAxes, facecolor=PAPER, zorder=1.5)
    box.set(edgecolor=GREY, hatch="////", linewidth=0)
    axes.add_patch(box)


def _line(axes: Axes, subject: SubjectMeta, line: Sequence[Point], place: int) -> None:
    """Figures with their intervals, and a dotted line up into the strip where a valid figure is the last."""
    paint, marker = color(subject), MARKERS[subject.interface]
    drawn = [each.y if each.y is not None else np.nan for each in line]
    axes.plot([each.x for each in line], drawn, color=paint, linewidth=2.2, zorder=3)
    for each in _valid(line):
        if each.low is not None and each.high is not None:
            axes.plot([each.x] * 2, [each.low, each.high], color=INK, linewidth=1.6, zorder=3.5)
        face = paint if each.cell.valid else PAPER
        axes.plot(
            each.x,
            each.y or 0.0,
            marker,
            color=paint,
            markerfacecolor=face,
            markeredgewidth=1.8,
            markersize=6,
            zorder=4,
        )
    before: Point | None = None
    for each in line:
        if _is_apart(each):
            # Variants that fail at the same level stand beside each other in the strip.
            height = 1 - _STRIP * (0.5, 0.25, 0.75)[place % 3]
            y = axes.transData.inverted().transform(axes.transAxes.transform((0, height)))[1]
            if before is not None and before.y is not None:
                axes.plot([before.x, each.x], [before.y, y], ":", color=paint, linewidth=1.8, zorder=3)
            axes.plot(
                each.x,
                y,
                marker,
                markersize=8,
                markerfacecolor=PAPER,
                markeredgecolor=paint,
                markeredgewidth=1.8,
                zorder=4,
            )
            before = None
        elif each.y is not None:
            before = each


def _left_out(subjects: Sequence[SubjectMeta], points: Mapping[str, Sequence[Point]]) -> list[str]:
    """`sync: unsupported`, `h11: overloaded at 7.5k, 9k`: those with no figure or a limited one, and why."""
    why: dict[str, list[str]] = defaultdict(list)
    for subject in subjects:
        of_level: dict[str, list[str]] = defaultdict(list)
        for each in points[subject.id]:
            if each.y is None or not each.cell.valid:
                of_level[reason_in_brief(each.cell)].append(in_short(each.x))
        for reason, levels in of_level.items():
            everywhere = len(levels) == len(points[subject.id])
            where = "" if everywhere else f" at {', '.join(levels)}"
            why[f"{reason}{where}"].append(short_name(subject))
    return [f"{', '.join(names)}: {reason}" for reason, names in why.items()]
