"""A finished chart and its files: SVG and PNG, light and dark."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.colors import is_color_like, to_hex, to_rgba
from matplotlib.text import Text

from analysis.charts.frame import DARK, STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

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
