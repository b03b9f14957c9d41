"""What a person hears of a run while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gatebench.words.model import Cell, Subject
from gatebench.words.text import counted
from loadtests.engine.tally import SliceResult


class Observer(Protocol):
    """Hears of a run's progress."""

    def note(self, text: str) -> None:
        """Something a person should know, such as a server that failed."""

    def stage(self, text: str) -> None:
        """What is being done now."""

    def measured(self, cell: Cell, result: SliceResult) -> None:
        """One slice more."""

    def block_finished(self, block: str, done: int, of: int, elapsed_s: float) -> None:
        """The block so named was measured, as the `done`th of those to be measured, in all in `elapsed_s`."""

    def looked(self, text: str) -> None:
        """How precise the run is so far, and what it takes to be as precise as was asked for."""


def starting(subjects: Sequence[Subject]) -> str:
    """`starting 3 servers (uvicorn twice, to learn the run's own noise)`."""
    count = sum(not subject.responder for subject in subjects)
    if not count:
        return "starting the null responder"
    twin = next((subject.original_id for subject in subjects if subject.again), "")
    noise = f" ({twin} twice, to learn the run's own noise)" if twin else ""
    return f"starting {counted(count, 'server')}{noise}"
