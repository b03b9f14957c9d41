"""Divides the rows or panels of a chart among pages, none of them higher than a slide."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

MOST_ROWS = 24
"""Rows of a page; with more, the texts beside them would be smaller than a projector can show."""


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """The rows, or panels, on one page of a chart.

    Attributes:
        number: of the page, from 1.
        of: pages in all.
    """

    items: Sequence[T]
    number: int = 1
    of: int = 1

    def title(self, title: str) -> str:
        """The chart's title; of several pages, with the page."""
        return title if self.of == 1 else f"{title} ({self.number} of {self.of})"

    def stem(self, stem: str) -> str:
        """The chart's file name without ending; of a later page, with its number.

        Somebody else's run may have any names in it, and none of them leads out of the folder of charts.
        """
        safe = re.sub(r"[^\w.+~-]", "_", stem).lstrip(".")
        return safe if self.number == 1 else f"{safe}-{self.number}"


def parts(items: Sequence[T], most: int = MOST_ROWS) -> list[Part[T]]:
    """The items in as few pages of at most `most` as they need, evenly; one empty page without any."""
    count = max(1, -(-len(items) // most))
    ends = [round(number * len(items) / count) for number in range(count + 1)]
    return [Part(items[ends[page] : ends[page + 1]], page + 1, count) for page in range(count)]
