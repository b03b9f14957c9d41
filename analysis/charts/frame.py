"""The frame that all charts share: page, title, row labels, caption, ink, and how a figure is saved."""

from __future__ import annotations

import io
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from analysis.colors import color

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from analysis.meta import SubjectMeta

# Each ink is used for nothing else, so that the report can exchange it for its dark counterpart.
INK = "#1b1f24"
MUTED = "#57606b"
GRID = "#d4d9df"
PAPER = "#fffffe"
GREY = "#c3c8ce"

WIDE = 200.0
"""From this ratio of its ends on, a logarithmic axis has no room for three ticks a decade."""
WIDTH_IN, HEIGHT_IN = 16.0, 9.0
_LEAST_HEIGHT_IN = 4.5
_DOTS_PER_INCH = 120
_ROWS_ON_A_PAGE = 16
_ROW_IN = 0.4
_THICKEST_ROW_IN = 0.62
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 4.35, 0.45, 1.55, 1.75
_CAPTION_FROM_IN, _CAPTION_LINE_IN, _TICKS_IN = 0.25, 0.24, 0.5

TITLE_PT, TEXT_PT, SMALL_PT, CAPTION_PT = 25, 15, 12, 11.5
_TITLE_LETTERS = 62
"""A longer title is set smaller, so that it stays on its line."""

# Shapes, not only colors, tell the interfaces apart.
MARKERS = {"wsgi": "s", "asgi": "o"}

_STYLE: dict[Any, Any] = {  # matplotlib types its keys as a list of every setting there is
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": TEXT_PT,
    "text.parse_math": False,  # nobody's words are formulas, whatever dollars are in them
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "hatch.linewidth": 1.2,
    "svg.hashsalt": "gatebench",  # the same data give the same bytes
}


@dataclass(frozen=True, slots=True)
class Look:
    """Size in points, ink and weight of a text."""

    size: float
    ink: str
    weight: Literal["normal", "bold"] = "normal"


STRONG = Look(TEXT_PT, INK, "bold")
PLAIN = Look(TEXT_PT, INK)
HEADING = Look(TEXT_PT, MUTED)
QUIET = Look(SMALL_PT, MUTED)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of texts beside the axes.

    Attributes:
        edge: the edge of the axes that it is measured from: 0 left, 1 right.
        points: distance of its texts' aligned end from that edge.
    """

    edge: Literal[0, 1]
    points: float
    align: Literal["left", "right"]
    look: Look


_NAME = Column(0, -112, "right", STRONG)
_VERSION = Column(0, -104, "left", QUIET)
_INTERFACE = Column(0, -24, "right", QUIET)
_MARKER_PT = -11


@dataclass(frozen=True, slots=True)
class Words:
    """The texts around a chart."""

    title: str
    subtitle: str
    caption: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A finished chart.

    Attributes:
        stem: file name without ending.
        alt: what it shows, for those who cannot see it.
    """

    stem: str
    alt: str
    figure: Figure

    def svg(self) -> bytes:
        """The chart as SVG, letters as shapes, without a date: the same data give the same bytes."""
        return self._saved("svg", {"Date": None, "Creator": "Gatebench"})

    def png(self) -> bytes:
        """The chart as PNG, 1920 pixels wide."""
        return self._saved("png", {"Software": "Gatebench"})

    def _saved(self, kind: str, metadata: dict[str, str | None]) -> bytes:
        file = io.BytesIO()
        with mpl.rc_context(_STYLE):
            self.figure.savefig(file, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
        return file.getvalue()


def page(words: Words, rows: int, right_in: float = _RIGHT_IN) -> tuple[Figure, Axes]:
    """A 16:9 page with one pair of axes for `rows` rows, higher where there are more than fit on a slide.

    A few rows keep the thickness of many, and their page is lower instead.

    Args:
        words: the texts around the axes.
        rows: number of rows, numbered from 0 at the top.
        right_in: space in inches to keep free right of the axes.
    """
    with mpl.rc_context(_STYLE):
        highest = HEIGHT_IN + max(0, rows - _ROWS_ON_A_PAGE) * _ROW_IN
        lines = [part for line in words.caption.split("\n") for part in textwrap.wrap(line, 170)]
        below = max(_BOTTOM_IN, _CAPTION_FROM_IN + len(lines) * _CAPTION_LINE_IN + _TICKS_IN)
        used = min(highest - _TOP_IN - below, max(rows, 1) * _THICKEST_ROW_IN)
        height = max(_LEAST_HEIGHT_IN, _TOP_IN + used + below)
        figure = Figure(figsize=(WIDTH_IN, height), facecolor=PAPER)
        FigureCanvasAgg(figure)
        bottom = height - _TOP_IN - used
        width = WIDTH_IN - _LEFT_IN - right_in
        axes = figure.add_axes((_LEFT_IN / WIDTH_IN, bottom / height, width / WIDTH_IN, used / height))
        axes.set_facecolor(PAPER)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_yticks([])
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.grid(axis="x", color=GRID, linewidth=1)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", length=0, labelsize=SMALL_PT)
        left = 0.45 / WIDTH_IN
        title_pt = TITLE_PT * min(1, _TITLE_LETTERS / len(words.title))
        figure.text(left, 1 - 0.62 / height, words.title, fontsize=title_pt, fontweight="bold")
        figure.text(left, 1 - 1.05 / height, words.subtitle, fontsize=TEXT_PT, color=MUTED)
        figure.text(
            left,
            _CAPTION_FROM_IN / height,
            "\n".join(lines),
            fontsize=CAPTION_PT,
            color=MUTED,
            va="bottom",
            linespacing=1.45,
        )
        return figure, axes


def row_labels(axes: Axes, subjects: Sequence[SubjectMeta]) -> None:
    """Name, version, interface and its marker left of each row."""
    for row, subject in enumerate(subjects):
        write(axes, row, subject.id, _NAME)
        write(axes, row, subject.version or "", _VERSION)
        write(axes, row, subject.interface.upper(), _INTERFACE)
        axes.plot(
            0,
            row,
            marker=MARKERS[subject.interface],
            color=color(subject),
            markersize=9,
            transform=right_by(axes, _MARKER_PT),
            clip_on=False,
            linestyle="none",
        )


def right_by(axes: Axes, points: float) -> Transform:
    """Coordinates for drawing beside the axes: x in their widths, moved right by some points; y in rows."""
    return axes.get_yaxis_transform() + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def write(axes: Axes, row: float, text: str, column: Column) -> None:
    """A text in a column left or right of the axes."""
    axes.annotate(
        text,
        (column.edge, row),
        (column.points, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        va="center",
        ha=column.align,
        annotation_clip=False,
        parse_math=False,
        fontsize=column.look.size,
        color=column.look.ink,
        fontweight=column.look.weight,
    )


def beside(axes: Axes, x: float, row: float, text: str, look: Look) -> None:
    """A text right of the point (x, row), on paper so that no grid line crosses it."""
    axes.annotate(
        text,
        (x, row),
        (10, 0),
        textcoords="offset points",
        va="center",
        ha="left",
        annotation_clip=False,
        parse_math=False,
        fontsize=look.size,
        color=look.ink,
        fontweight=look.weight,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
    )


def logarithmic(axes: Axes, low: float, high: float, show: Callable[[float], str]) -> None:
    """A logarithmic axis from `low` to `high`, ticks at 1, 2 and 5 (at 1 on a wide one) written by `show`."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    steps = (1.0, 2.0, 5.0) if high / low < WIDE else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="both", length=0)


def nothing_valid(axes: Axes) -> None:
    """Says under the axis that the chart has nothing to draw."""
    axes.set_xticks([])
    axes.set_xlabel("no valid figure", fontsize=TEXT_PT, color=MUTED)
