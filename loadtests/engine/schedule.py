"""When an open loop means to send: the same moments for every server that is asked at the same rate."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

ArrivalProcess = Literal["constant", "poisson"]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrivals of one slice.

    Attributes:
        process: `constant` spaces them evenly. `poisson` draws them independently and evenly over the window,
            which is a Poisson process of which the number is known: every server gets as many.
        seed: the same seed gives the same moments.
        part, parts: the engines of a load share one schedule; this one sends every `parts`-th arrival, from
            number `part` on.
    """

    rate_per_s: float
    process: ArrivalProcess
    seed: int
    part: int = 0
    parts: int = 1

    def share(self, part: int, parts: int) -> Arrivals:
        """This one's share of what it would send, divided among `parts`."""
        return replace(self, part=self.part + part * self.parts, parts=self.parts * parts)

    def offsets_ns(self, window_ns: int) -> list[int]:
        """When to send, in nanoseconds since the slice began, in order."""
        count = max(1, round(self.rate_per_s * window_ns / 1e9))
        if self.process == "constant":
            moments = [int((number + 0.5) * window_ns / count) for number in range(count)]
        else:
            draw = random.Random(self.seed).random  # noqa: S311 - reproducible on purpose, not a secret
            moments = sorted(int(draw() * window_ns) for _ in range(count))
        return moments[self.part :: self.parts]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Arrivals | None:
        """The arrivals that `to_json` described; None for None, which is a closed loop."""
        return None if data is None else cls(**data)
