"""One color a server: far apart from those of others, and never swallowed by the paper."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from analysis.charts.style import DARK, INK, MUTED, PALETTE, PAPER, color, luminance, variant_color
from gatebench.registry.servers import parse_server
from gatebench.words.paths import ROOT
from tests.support.charts import KEEP_ALIVE, UVICORN, level_view

Matrix = npt.NDArray[np.float64]

# Machado, Oliveira & Fernandes (2009), severity 1.0, on amounts of light.
VISIONS: dict[str, Matrix] = {
    "full": np.eye(3),
    "without red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "without green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
}
# Ottosson (2020): from light to Oklab, in which equal distances look about equal.
TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.793617785, -0.0040720468],
        [1.9779984951, -2.428592205, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.808675766],
    ]
)

SERVERS = ROOT / "servers"
SHIPPED = [
    (server.name, variant.name)
    for server in (parse_server(folder) for folder in sorted(SERVERS.iterdir()) if folder.is_dir())
    for variant in server.variants
    if variant.selected
]
"""What a run that names no servers has. Other variants keep to their server's hue; labels tell them apart."""


def seen(paint: str, vision: str) -> Matrix:
    """Where a color stands in Oklab for readers with that vision."""
    channels = np.array([int(paint[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    light = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return np.asarray(TO_LAB @ np.cbrt(TO_CONES @ np.clip(VISIONS[vision] @ light, 0, 1)))


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: 1 for the same luminance, 21 for black on white."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_servers_of_this_repository_have_different_hues() -> None:
    servers = {server for server, _ in SHIPPED}

    assert len({variant_color(server, "default") for server in servers}) == len(servers) > 7


@pytest.mark.parametrize(
    ("vision", "least"), [("full", 0.06), ("without red", 0.03), ("without green", 0.03)]
)
def test_the_subjects_of_this_repository_can_be_told_apart(vision: str, least: float) -> None:
    paints = {subject: variant_color(*subject) for subject in SHIPPED}
    apart = {
        (one, other): float(np.linalg.norm(seen(paints[one], vision) - seen(paints[other], vision)))
        for one, other in combinations(SHIPPED, 2)
        if vision == "full" or one[0] != other[0]
    }

    assert min(apart.values()) > least, min(apart, key=lambda pair: apart[pair])


@pytest.mark.parametrize("paper", [PAPER, DARK[PAPER]], ids=["light", "dark"])
def test_no_color_is_swallowed_by_the_paper(paper: str) -> None:
    variants = {variant for _, variant in SHIPPED}
    names = [f"server-{number}" for number in range(50)]

    paints = {*PALETTE, *(variant_color(server, variant) for server in names for variant in variants)}
    assert min(contrast(paint, paper) for paint in paints) > 2


@pytest.mark.parametrize("paper", ["light", "dark"])
def test_texts_have_the_contrast_that_reading_needs(paper: str) -> None:
    inks = {ink: ink if paper == "light" else DARK[ink] for ink in DARK}

    assert min(contrast(inks[ink], inks[PAPER]) for ink in (INK, MUTED)) > 4.5


def test_an_unknown_server_gets_a_color_of_the_palette() -> None:
    assert variant_color("my-own-server", "default") in PALETTE


def test_a_color_from_server_toml_wins(tmp_path: Path) -> None:
    view = level_view(tmp_path, [replace(UVICORN, color="#123456")], KEEP_ALIVE)

    assert color(view.meta.subject("uvicorn")) == "#123456"
