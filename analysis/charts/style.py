"""How every chart looks: colours, type, page, files."""

from __future__ import annotations

import hashlib
import io
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gatebench.results.schema import SubjectMeta


# Okabe & Ito (2008) without its yellow, which is lost on white, filled up with colors like those of Paul
# Tol's "muted" scheme. None is so dark or so pale that the report's dark or light paper swallows it.
PALETTE = (
    "#0072b2",
    "#cc79a7",
    "#d55e00",
    "#ba3277",
    "#e69f00",
    "#56b4e9",
    "#999933",
    "#009e73",
    "#6c56ce",
    "#aa4499",
    "#44aa99",
    "#8f5a2a",
)
# Relative luminance of a variant's color: on either paper it has a contrast of 2 or more.
_TONES = (0.13, 0.19, 0.27, 0.36, 0.46)

# The salts are chosen so that the colors of this repository's subjects lie as far apart as they can, for
# readers with full color vision and without red or green, which tests hold, of those that a run has which
# names none. A new server needs no entry here; one that collides can set `color` in its server.toml.
_HUE_SALT = b"hue 77597"
_TONE_SALT = b"tone 28616"

_GAMMA = 2.4
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def color(subject: SubjectMeta) -> str:
    """The subject's color as `#rrggbb`: its own from server.toml, else by the names of server and variant."""
    return subject.color or variant_color(subject.server, subject.variant)


def variant_color(server: str, variant: str) -> str:
    """The color of a server's variant; it depends on the two names alone, not on what else a run measured."""
    hue = PALETTE[_draw(server, _HUE_SALT, len(PALETTE))]
    if variant == "default":
        return hue
    return _with_luminance(hue, _TONES[_draw(variant, _TONE_SALT, len(_TONES))])


def luminance(paint: str) -> float:
    """Relative luminance of `#rrggbb`, 0 for black to 1 for white (WCAG 2.2)."""
    return _mixed_luminance(_light(paint))


def _light(paint: str) -> list[float]:
    """Red, green and blue as amounts of light, 0 to 1 (IEC 61966-2-1)."""
    channels = [int(paint[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** _GAMMA for each in channels]


def _mixed_luminance(light: Sequence[float]) -> float:
    return sum(weight * amount for weight, amount in zip(_LUMINANCE, light, strict=True))


def _with_luminance(paint: str, wanted: float) -> str:
    """The same hue, darkened or mixed with white until it has that luminance."""
    light = _light(paint)
    now = _mixed_luminance(light)
    white = max(0.0, (wanted - now) / (1 - now))
    factor = min(1.0, wanted / now)
    mixed = [amount * factor + (1 - amount) * white for amount in light]
    values = [12.92 * each if each <= 0.0031308 else 1.055 * each ** (1 / _GAMMA) - 0.055 for each in mixed]
    return "#" + "".join(f"{round(255 * value):02x}" for value in values)


def _draw(name: str, salt: bytes, choices: int) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, "big") % choices


# Each ink is used for nothing else, so that it can be exchanged for its dark counterpart.
INK = "#1b1f24"
MUTED = "#57606b"
GRID = "#d4d9df"
PAPER = "#fffffe"
GREY = "#c3c8ce"
DARK: Mapping[str, str] = {
    INK: "#e8ecf1",
    MUTED: "#a3adb8",
    GRID: "#46505b",
    PAPER: "#29313a",
    GREY: "#6b7580",
}
"""Ink → what stands in its place on dark paper."""

WIDTH_IN, HEIGHT_IN = 16.0, 9.0
"""A slide's size. No chart is higher: rows that do not fit go on on a second page. A few make it lower."""
WIDE = 200.0
"""From this ratio of its ends on, a logarithmic axis has no room for three ticks a decade."""
LEFT_IN, TOP_IN = 0.45, 1.55
_LEAST_HEIGHT_IN = 4.5
_THICKEST_ROW_IN = 0.62
_LABELS_IN, _RIGHT_IN, _BOTTOM_IN = 4.35, 0.45, 1.75
_CAPTION_FROM_IN, _CAPTION_LINE_IN, _TICKS_IN = 0.25, 0.24, 0.5
_LETTERS_A_LINE = 170

TITLE_PT, TEXT_PT, SMALL_PT, CAPTION_PT, LEAST_PT = 25, 15, 12, 11.5, 11
_LEADING = 1.4
"""A row is at least so many times as high as its text."""
_TITLE_LETTERS = 62
"""A longer title is set smaller, so that it stays on its line."""

# Shapes, not only colors, tell the interfaces apart.
MARKERS = {"wsgi": "s", "asgi": "o"}

STYLE: dict[Any, Any] = {  # matplotlib types its keys as a list of every setting there is
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": TEXT_PT,
    "text.parse_math": False,  # nobody's words are formulas, whatever dollars are in them
    "text.hinting": "no_hinting",  # half of the time that a PNG takes would be spent on it
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "hatch.linewidth": 1.2,
    "svg.hashsalt": "gatebench",  # the same data give the same bytes
}

NOTHING_VALID = "no valid figure"


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
_LETTERS_OF_A_NAME, _MOST_LETTERS, _LETTERS_OF_A_VERSION = 19, 26, 8
"""From how many letters on names are set smaller, and at which they and versions are cut."""


@dataclass(frozen=True, slots=True)
class Words:
    """The texts around a chart."""

    title: str
    subtitle: str
    caption: str


def page(words: Words, rows: int, right_in: float = _RIGHT_IN) -> tuple[Figure, Axes]:
    """A page with one pair of axes for `rows` rows; a few rows are no thicker, and their page is lower.

    Args:
        words: the texts around the axes.
        rows: number of rows, numbered from 0 at the top.
        right_in: space in inches to keep free right of the axes.
    """
    with mpl.rc_context(STYLE):
        below = below_in(words)
        used = min(HEIGHT_IN - TOP_IN - below, max(rows, 1) * _THICKEST_ROW_IN)
        height = max(_LEAST_HEIGHT_IN, TOP_IN + used + below)
        figure = sheet(words, height)
        bottom = height - TOP_IN - used
        width = WIDTH_IN - _LABELS_IN - right_in
        axes = figure.add_axes((_LABELS_IN / WIDTH_IN, bottom / height, width / WIDTH_IN, used / height))
        axes.set_ylim(rows - 0.4, -0.6)
        bare(axes)
        return figure, axes


def _caption_lines(words: Words) -> list[str]:
    return [part for line in words.caption.split("\n") for part in textwrap.wrap(line, _LETTERS_A_LINE)]


def below_in(words: Words) -> float:
    """Inches that ticks and caption need under the axes."""
    return max(_BOTTOM_IN, _CAPTION_FROM_IN + len(_caption_lines(words)) * _CAPTION_LINE_IN + _TICKS_IN)


def sheet(words: Words, height_in: float = HEIGHT_IN) -> Figure:
    """An empty page with title, subtitle and caption. What is drawn on it must be drawn under `STYLE` too."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), facecolor=PAPER)
        FigureCanvasAgg(figure)
        left = LEFT_IN / WIDTH_IN
        title_pt = TITLE_PT * min(1, _TITLE_LETTERS / len(words.title))
        figure.text(left, 1 - 0.62 / height_in, words.title, fontsize=title_pt, fontweight="bold")
        figure.text(left, 1 - 1.05 / height_in, words.subtitle, fontsize=TEXT_PT, color=MUTED)
        figure.text(
            left,
            _CAPTION_FROM_IN / height_in,
            "\n".join(_caption_lines(words)),
            fontsize=CAPTION_PT,
            color=MUTED,
            va="bottom",
            linespacing=1.45,
        )
        return figure


def bare(axes: Axes) -> None:
    """Axes of rows: a grid to read values by, and no frame."""
    axes.set_facecolor(PAPER)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0, labelsize=SMALL_PT)


def row_labels(axes: Axes, subjects: Sequence[SubjectMeta]) -> None:
    """Name, version, interface and its marker left of each row."""
    longest = max((len(subject.id) for subject in subjects), default=0)
    size_pt = min(TEXT_PT, TEXT_PT * _LETTERS_OF_A_NAME / max(longest, 1))
    names = replace(_NAME, look=replace(STRONG, size=size_pt))
    for row, subject in enumerate(subjects):
        write(axes, row, _cut(subject.id, _MOST_LETTERS), names)
        write(axes, row, _cut(subject.version or "", _LETTERS_OF_A_VERSION), _VERSION)
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


def _cut(text: str, letters: int) -> str:
    """At most so many letters of it, without those in the middle."""
    ends = letters // 2
    return text if len(text) <= letters else f"{text[: letters - ends - 1]}…{text[-ends:]}"


def right_by(axes: Axes, points: float) -> Transform:
    """Coordinates for drawing beside the axes: x in their widths, moved right by some points; y in rows."""
    return axes.get_yaxis_transform() + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def width_pt(text: str, look: Look) -> float:
    """How wide a text is in points, in its full size; many rows of a page may make it smaller."""
    if not text:
        return 0.0
    with mpl.rc_context(STYLE):
        letters = FontProperties(size=look.size, weight=look.weight)
        return float(TextPath((0, 0), text, prop=letters).get_extents().width)


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
        fontsize=_fitting_pt(axes, column.look.size),
        color=column.look.ink,
        fontweight=column.look.weight,
    )


def _fitting_pt(axes: Axes, size_pt: float) -> float:
    """That size, or what many rows leave of it."""
    low, high = axes.get_ylim()
    row_in = axes.bbox.height / axes.figure.dpi / abs(high - low)
    return max(LEAST_PT, min(size_pt, row_in * 72 / _LEADING))


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
        fontsize=_fitting_pt(axes, look.size),
        color=look.ink,
        fontweight=look.weight,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.5},
    )


def logarithmic(axes: Axes, low: float, high: float, show: Callable[[float], str]) -> None:
    """A logarithmic x axis from `low` to `high` with round values, written by `show`."""
    axes.set(xscale="log", xlim=(low, high))
    values = round_values(low, high)
    # Only these ticks: each further one costs time, drawn or not.
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_major_formatter(FixedFormatter([show(value) for value in values]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", length=0)


def round_values(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade, or 1 alone where the ends are far apart."""
    steps = (1, 2, 5) if high / low < WIDE else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [value for value in every if low <= value <= high]


def nothing_valid(axes: Axes) -> None:
    """Says under the axis that the chart has nothing to draw."""
    axes.set_xticks([])
    axes.set_xlabel(NOTHING_VALID, fontsize=TEXT_PT, color=MUTED)


DOTS_PER_INCH = 120
_FAST = 1
"""Compression of a PNG: a tenth larger than the best in a quarter of its time."""
_PAINTED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


@dataclass(frozen=True, slots=True)
class Chart:
    """A finished chart.

    Attributes:
        stem: file name without ending; no other chart of the run has it.
        title: as written on it.
        alt: what it shows, for those who cannot see it.
    """

    stem: str
    title: str
    alt: str
    figure: Figure

    def svg(self) -> bytes:
        """The chart as SVG, letters as shapes, without a date: the same data give the same bytes."""
        return self._saved("svg", {"Date": None, "Creator": "Gatebench"})

    def png(self) -> bytes:
        """The chart as PNG, 1920 pixels wide."""
        return self._saved("png", {"Software": "Gatebench"}, {"compress_level": _FAST})

    def files(self, *, as_png: bool = True) -> dict[str, bytes]:
        """File name → content, light and dark. Leaves the figure in its dark inks: draw nothing after it."""
        svg = self.svg()
        files = {f"{self.stem}.svg": svg, f"{self.stem}-dark.svg": dark_svg(svg)}
        if as_png:
            files[f"{self.stem}.png"] = self.png()
            darken(self.figure)
            files[f"{self.stem}-dark.png"] = self.png()
        return files

    def _saved(
        self, kind: str, metadata: dict[str, str | None], encoding: dict[str, int] | None = None
    ) -> bytes:
        more: dict[str, Any] = {"pil_kwargs": encoding} if encoding else {}
        file = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=metadata, **more)
        return file.getvalue()


def dark_svg(svg: bytes) -> bytes:
    """The same picture in dark inks."""
    for ink, night in DARK.items():
        svg = svg.replace(ink.encode(), night.encode())
    return svg


def darken(figure: Figure) -> None:
    """Exchanges every ink of a figure for its dark counterpart; the subjects' colors stay."""
    for artist in _artists(figure):
        for name in _PAINTED:
            get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            ink = _dark(get()) if get and put else None
            if ink and put:
                put(ink)


def _artists(figure: Figure) -> Iterator[Artist]:
    for artist in figure.findobj():
        yield artist
        box = artist.get_bbox_patch() if isinstance(artist, Text) else None
        if box is not None:
            yield box


def _dark(paint: Any) -> tuple[str, float] | None:
    """The counterpart of one ink, as opaque as it; None for what is none, such as a subject's color."""
    if getattr(paint, "ndim", 1) == 2 and len(paint) == 1:  # a collection has a list of them
        paint = paint[0]
    ink = DARK.get(to_hex(paint)) if is_color_like(paint) else None
    return (ink, to_rgba(paint)[3]) if ink else None
