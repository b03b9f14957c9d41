"""One color a server in every chart of every run, safe for color-blind readers; variants share the hue."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.meta import SubjectMeta

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
# readers with full color vision and without red or green, which tests hold. A new server needs no entry
# here; one that collides can set `color` in its server.toml.
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
