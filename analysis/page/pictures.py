"""Charts as they go into the page: shrunk, in the reader's light or dark colors, with links to files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from analysis.charts.style import DARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_LONG_NUMBER = re.compile(r"(?<![\d.])([1-9]\d*\.\d\d)\d+")
_NUMBERS = frozenset({"d", "x", "y", "transform", "width", "height", "points"})
_NAME = re.compile(r"#(.+)")
_ADDRESS = re.compile(r"url\((#[^)]+)\)")
_AROUND_LETTER = re.compile(r" ?([A-Za-z]) ?")
_MOVED = re.compile(r"translate\((\S+) 0\)")
_FILES = (("SVG", "", "svg"), ("PNG", "", "png"), ("dark SVG", "-dark", "svg"), ("dark PNG", "-dark", "png"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart as it goes into the page.

    Attributes:
        svg: in light inks.
        alt: what it shows, for those who cannot see it.
        stem: of its files under charts/, without ending.
        title: what it is called in a list; empty for `alt`.
    """

    svg: bytes
    alt: str
    stem: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture in its place on the page.

    Attributes:
        address: the image as a data URI; None where the page would become too large, and its files are
            linked to instead.
        size: its width and height in points, which keep its place free until it is drawn.
        files: what each file is called → its path relative to the page; only files that exist.
    """

    address: Markup | None
    size: tuple[int, int]
    alt: str
    title: str
    files: Mapping[str, str]


def placed(groups: Sequence[Sequence[Picture]], folder: Path, room: int) -> list[list[Shown]]:
    """Each picture with its image and the links to its files, in the same groups.

    Where there are too many for one page, the first of every group come before the second of any.

    Args:
        groups: the pictures of each part of the page.
        folder: of the run.
        room: bytes of images that the page may hold.
    """
    addresses: dict[tuple[int, int], Markup] = {}
    for group, number in _in_turns(groups):
        address = themed(groups[group][number].svg)
        room -= len(address)
        if room < 0:
            break
        addresses[group, number] = address
    return [
        [_shown(picture, addresses.get((group, number)), folder) for number, picture in enumerate(pictures)]
        for group, pictures in enumerate(groups)
    ]


def _in_turns(groups: Sequence[Sequence[Picture]]) -> Iterable[tuple[int, int]]:
    places = [(number, group) for group, pictures in enumerate(groups) for number in range(len(pictures))]
    return ((group, number) for number, group in sorted(places))


def _shown(picture: Picture, address: Markup | None, folder: Path) -> Shown:
    paths = {name: f"charts/{picture.stem}{kind}.{ending}" for name, kind, ending in _FILES}
    files = {name: path for name, path in paths.items() if picture.stem and (folder / path).is_file()}
    return Shown(address, _size(picture.svg), picture.alt, picture.title or picture.alt, files)


def _size(svg: bytes) -> tuple[int, int]:
    found = re.search(rb'viewBox="\S+ \S+ (\S+) (\S+)"', svg)
    return (round(float(found[1])), round(float(found[2]))) if found else (16, 9)


def themed(svg: bytes) -> Markup:
    """The picture as a data URI, ready for an attribute, that follows the reader's color scheme.

    It stays an image of its own, so that the names inside one chart cannot meet those of another.
    """
    text = shrunk(svg)
    light, dark = "", ""
    for number, (ink, night) in enumerate(DARK.items()):
        text = text.replace(ink, f"var(--i{number})")
        light += f"--i{number}:{ink};"
        dark += f"--i{number}:{night};"
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    start = text.index(">", text.index("<svg")) + 1
    plain = (text[:start] + style + text[start:]).replace('"', "'")
    # A third shorter than base64. What is left as it is may stand in a quoted attribute.
    return Markup("data:image/svg+xml," + re.sub("[%#&]", _encoded, plain))  # noqa: S704 - a quote cannot be in it


def _encoded(match: re.Match[str]) -> str:
    return f"%{ord(match.group()):02X}"


def shrunk(svg: bytes) -> str:
    """The same picture in half the bytes: no comments or white space, short names, hundredths of a point."""
    root = ET.fromstring(svg)  # noqa: S314 - matplotlib has just written it
    for element in root.findall(f"{_SVG}metadata"):
        root.remove(element)
    names: dict[str, str] = {}
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip() or None, None
        _shorten(element, names)
    for element in root.iter():
        name = element.attrib.pop("id", "")
        if name in names:  # nobody asks for the others
            element.set("id", names[name])
    _flatten(root)
    ET.register_namespace("", _SVG[1:-1])
    return ET.tostring(root, encoding="unicode").replace(" />", "/>")


def _flatten(parent: ET.Element) -> None:
    """Takes away groups that say nothing of what is in them."""
    for child in list(parent):
        _flatten(child)
        if child.tag == f"{_SVG}g" and not child.attrib:
            place = list(parent).index(child)
            parent[place : place + 1] = list(child)


def _shorten(element: ET.Element, names: dict[str, str]) -> None:
    """Numbers and references of one element; `names` gets a short one for each that is referred to."""

    def renamed(match: re.Match[str]) -> str:
        return f"#{names.setdefault(match[1], f'n{len(names):x}')}"

    target = element.attrib.pop(_HREF, "")
    if target:
        element.set("href", _NAME.sub(renamed, target))
    moved = _MOVED.fullmatch(element.get("transform", ""))
    if moved and element.tag == f"{_SVG}use":
        del element.attrib["transform"]
        element.set("x", f"{float(moved[1]):.1f}".removesuffix(".0"))
    for name in ("style", "clip-path", "fill"):
        if name in element.attrib:
            value = element.attrib[name].replace(": ", ":").replace("; ", ";")
            element.set(name, _ADDRESS.sub(lambda match: f"url({_NAME.sub(renamed, match[1])})", value))
    for name in _NUMBERS & element.attrib.keys():
        value = " ".join(element.attrib[name].split())
        value = _AROUND_LETTER.sub(r"\1", value) if name == "d" else value
        element.set(name, _LONG_NUMBER.sub(r"\1", value))
