"""Small multiples: a panel a server on one page, its lines in color among the grey ones of all others."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from analysis.charts.frame import (
    CAPTION_PT,
    GREY,
    HEIGHT_IN,
    INK,
    LEAST_PT,
    LEFT_IN,
    MARKERS,
    MUTED,
    PAPER,
    STYLE,
    TEXT_PT,
    WIDTH_IN,
    Words,
    below_in,
    sheet,
)
from analysis.colors import color
from analysis.gates import RATE_MISSED
from analysis.wording import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.meta import RunMeta, SubjectMeta
    from analysis.results import CellResult

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


def left_out(cells: Sequence[tuple[SubjectMeta, CellResult]]) -> str:
    """`sync, gthread: unsupported; gevent: invalid: little`: those of a server without a line, and why."""
    why: Mapping[str, list[str]] = defaultdict(list)
    for subject, cell in cells:
        if cell.status != "ok":
            why[reason_in_brief(cell)].append(short_name(subject))
    return "; ".join(f"{', '.join(which)}: {reason}" for reason, which in why.items())


def reason_in_brief(cell: CellResult) -> str:
    """Why a cell has no figure here: its status, with the code of its first reason where that says more."""
    if cell.status == "ok":
        return "no figure"
    if cell.code == RATE_MISSED.code:
        return "overloaded"
    return cell.status if cell.code in {"", cell.status} else f"{cell.status}: {cell.code}"


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
