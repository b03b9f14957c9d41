"""How precise a run is asked to be: when it looks at its intervals, and whether it may end. Pure.

A run that asks for a precision ends with the block after which every ratio is known so well, or with its
budget. It looks at widths of intervals and never at the ratios themselves, after numbers of blocks that are
fixed beforehand. METHOD.md, "The statistics", says what that does to the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

FIRST_LOOK = 5
"""Blocks before which no run ends: the spread of fewer is too easily small by chance."""
FORECAST = 3
"""Blocks after which a run says how far it is from its precision; it cannot end there."""
APART = math.sqrt(2)
"""Each look has so many times as many blocks as the one before."""
LEAST_SHARE, MOST_SHARE = 0.005, 0.5
"""What can be asked for. Within 3 % nothing is called a difference; half a percent is beyond any machine."""


@dataclass(frozen=True, slots=True)
class Precision:
    """What is asked for.

    Attributes:
        share: half the width of a ratio's simultaneous interval, as a share of the ratio: 0.03 is ±3 %.
        subjects: IDs of those whose ratios with each other have to be so precise; empty for all.
        workloads: the workloads in which they have to be; empty for all.
    """

    share: float
    subjects: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`3%`, or `3% keep-alive uvicorn`, as a person types it."""
        return " ".join((f"{self.share * 100:g}%", *self.workloads, *self.subjects))

    @property
    def in_words(self) -> str:
        """`±3 %`."""
        return as_percent(self.share)

    def concerns(self, workload: str, *subjects: str) -> bool:
        """Whether a ratio of these subjects in this workload is one of those that have to be so precise."""
        wanted = not self.subjects or set(subjects) <= set(self.subjects)
        return wanted and (not self.workloads or workload in self.workloads)


def as_percent(share: float) -> str:
    """`±3 %`, `±2.8 %`, `±31 %`."""
    return f"±{share * 100:.2g} %" if share < 1 else f"±{share * 100:,.0f} %"


def parse_share(text: str) -> float:
    """`3%`, `3 %` or `0.5%` → the share.

    Raises:
        ValueError: it is no percentage, or one that no run can reach or that says nothing.
    """
    number = text.removesuffix("%").strip()
    try:
        share = float(number) / 100
    except ValueError:
        share = math.nan
    if not text.endswith("%") or not math.isfinite(share):
        msg = f'"{text}" is not a percentage such as "3%"'
        raise ValueError(msg)
    if not LEAST_SHARE <= share <= MOST_SHARE:
        msg = (
            f'"{text}" is not between {LEAST_SHARE * 100:g}% and {MOST_SHARE * 100:g}%, half the width of '
            "a ratio's interval; try 3%"
        )
        raise ValueError(msg)
    return share


def words_of(text: str) -> tuple[str, tuple[str, ...]]:
    """`"3 % uvicorn granian-*"` → its percentage, and the names after it."""
    first, *rest = text.replace(",", " ").split() or [""]
    if rest[:1] == ["%"]:
        return f"{first}%", tuple(rest[1:])
    return first, tuple(rest)


def scheduled() -> Iterator[int]:
    """The numbers of whole blocks after which a run looks: 3, 5, 7, 10, 14, 20, 28 and so on, without end."""
    yield FORECAST
    number = float(FIRST_LOOK)
    while True:
        yield round(number)
        number *= APART


def next_look(after: int) -> int:
    """The first scheduled number of blocks beyond `after`."""
    return next(number for number in scheduled() if number > after)


@dataclass(frozen=True, slots=True)
class Found:
    """What the intervals of a run are like so far; `summary.json` has it under `precision`.

    Attributes:
        asked: as a person typed it.
        blocks: the fewest that any of the ratios rests on; 0 without a ratio.
        reached: half the width of the widest interval, as a share of its ratio; None where there is no ratio,
            or one without an interval.
        met: whether that is what was asked for, of ratios of at least `FIRST_LOOK` blocks.
        pairs: how many ratios are concerned.
        widest: the level and the two subjects of the widest interval, or of one that is missing.
        needed_blocks: how many it would take, by the spread so far; None where that cannot be told.
        without: levels that have no ratio.
        text: all of it in a sentence.
    """

    asked: str
    blocks: int
    reached: float | None
    met: bool
    pairs: int
    widest: str
    needed_blocks: int | None
    without: tuple[str, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        """Its keys and values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """From what `to_json` gave; the keys that are no field are left out."""
        known = {each.name: content[each.name] for each in fields(cls)}
        return cls(**known | {"without": tuple(content["without"])})


def outlook(found: Found, precision: Precision, blocks: int, block_s: float, least_left: int) -> str:
    """What a person is told of a look that does not end the run.

    Args:
        found: by the look.
        precision: that was asked for.
        blocks: whole blocks so far.
        block_s: wall time of one.
        least_left: blocks that the budget still pays for.
    """
    so_far = f"precision after {blocks} blocks: {found.text}"
    if found.met or found.needed_blocks is None:
        return so_far
    missing = max(1, found.needed_blocks - blocks)
    minutes = math.ceil(missing * block_s / 60)
    takes = f"by the spread so far {precision.in_words} takes about {missing} blocks more ({minutes} min)"
    if missing <= least_left:
        return f"{so_far}; {takes}"
    whole_min = math.ceil((blocks + missing) * block_s / 60)
    return (
        f"{so_far}; {takes}, and the budget pays for {least_left}: it will not be reached. It takes about "
        f"--budget {whole_min}m (BUDGET={whole_min}m) from the beginning, or fewer servers or workloads "
        "(--servers, --workloads)"
    )
