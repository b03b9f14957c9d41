"""Whether a run that asked for a precision may end: looks at its figures after fixed numbers of blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gatebench.results.record import Record
from gatebench.words.errors import GatebenchError
from gatebench.words.precision import FIRST_LOOK, Found, Precision, next_look, outlook

LOOK_SHARE = 0.02
"""Of a run's time that its looks may take: the next one waits until the last is paid for."""
FORECAST_FROM_S = 120.0
"""Time of a run after which it looks too early to end, only to say how far it is."""

Read = Callable[[Path], Found]
"""Reads how precise a run is from the report in its folder, or raises GatebenchError."""


class Looks:
    """The looks of one run.

    A look tells how wide intervals are, and the run takes nothing else from it than whether to end.

    Args:
        precision: that was asked for.
        read: reads what the report found.
        before: whole blocks that the run had when it went on; 0 at its beginning.
        record: gets an event for each look.
        tell: told what a look found.
    """

    def __init__(
        self, precision: Precision, read: Read, before: int, record: Record, tell: Callable[[str], None]
    ) -> None:
        self._precision = precision
        self._read = read
        self._record = record
        self._tell = tell
        self._next = next_look(before)
        self._not_before_s = 0.0

    def is_due(self, blocks: int, now_s: float) -> bool:
        """Whether the run looks now; a look that is put off because looking would cost too much stays due.

        Args:
            blocks: whole blocks so far.
            now_s: time since the first block began.
        """
        worth = blocks >= FIRST_LOOK or now_s >= FORECAST_FROM_S
        return worth and blocks >= self._next and now_s >= self._not_before_s

    def paid(self, now_s: float, took_s: float) -> None:
        """Puts the next look off until what this one took is so small a share of the time as it may be."""
        self._not_before_s = now_s + took_s / LOOK_SHARE

    def look(self, blocks: int, *, block: int, block_s: float, left: int) -> bool:
        """Takes what the report just made says, and returns whether the run may end.

        Args:
            blocks: whole blocks so far.
            block: number of the last one.
            block_s: wall time of one.
            left: blocks that the budget still pays for.

        Raises:
            RecordError: the look could not be written down.
        """
        self._next = next_look(blocks)
        try:
            found = self._read(self._record.folder)
        except GatebenchError as error:
            self._tell(f"the precision so far is not known: {error}")
            return False
        ends = found.met and blocks >= FIRST_LOOK
        self._record.event(
            "look",
            block=block,
            blocks=blocks,
            asked=str(self._precision),
            reached=found.reached,
            met=ends,
            text=found.text,
        )
        if ends:
            self._tell(
                f"precision after {blocks} blocks: {found.text}; {self._precision.in_words} was asked for, "
                "so the run ends here"
            )
        else:
            self._tell(outlook(found, self._precision, blocks, block_s, left))
        return ends


def has_met(looks: Sequence[Mapping[str, Any]], precision: Precision) -> bool:
    """Whether the last `look` event of a run met this precision, so that nothing of it is missing."""
    if not looks:
        return False
    last = looks[-1]
    same = str(last["asked"]).partition("%")[2] == str(precision).partition("%")[2]  # for the same servers
    reached = last["reached"]
    return bool(same and reached is not None and reached <= precision.share and last["blocks"] >= FIRST_LOOK)
