"""One color a server in every chart of every run, safe for color-blind readers; variants share the hue."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.meta import SubjectMeta

# Okabe & Ito (2008) without its yellow, which is lost on white, filled up with colors like those of Paul
# Tol's "muted" scheme. None is so dark or so pale that the report's dark or light paper swallows it.
PALETTE = (
    "#0072b2",
    "#cc79a7",
    "#d55e00",
    "#882255",
    "#e69f00",
    "#56b4e9",
    "#999933",
    "#009e73",
    "#5f4bb6",
    "#aa4499",
    "#44aa99",
    "#7f4f24",
)
# How far a variant is mixed with white (positive) or black (negative).
_TONES = (0.0, 0.3, -0.2, 0.5, -0.35)

# The salts are chosen so that the servers and variants of this repository do not collide, which a test holds.
# A new server needs no entry here; one that collides can set `color` in its server.toml.
_HUE_SALT = b"hue 35380"
_TONE_SALT = b"tone 27"


def color(subject: SubjectMeta) -> str:
    """The subject's color as `#rrggbb`: its own from server.toml, else by the names of server and variant."""
    return subject.color or variant_color(subject.server, subject.variant)


def variant_color(server: str, variant: str) -> str:
    """The color of a server's variant; it depends on the two names alone, not on what else a run measured."""
    hue = PALETTE[_draw(server, _HUE_SALT, len(PALETTE))]
    tone = 0.0 if variant == "default" else _TONES[_draw(variant, _TONE_SALT, len(_TONES))]
    target = 255 if tone > 0 else 0
    channels = (int(hue[start : start + 2], 16) for start in (1, 3, 5))
    mixed = (round(channel + (target - channel) * abs(tone)) for channel in channels)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _draw(name: str, salt: bytes, choices: int) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, "big") % choices
