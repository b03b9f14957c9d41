"""What subjects were seen to run on, and what of a level is compared on even footing. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.figures.results import compared
from gatebench.words.footing import NOT_OBSERVED, OWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analysis.figures.results import CellResult, LevelResult
    from analysis.figures.statistics import Comparison
    from gatebench.results.schema import RunMeta, SubjectMeta

COMMON_LOOP = "uvloop"
"""The loop on which servers are compared with each other: the one that most of them can run on."""
USUAL_LOOP = "asyncio"
"""Python's own, which every server can run on."""
_LEFT_OUT = {"unsupported", "unavailable", "failed"}


def loops_in_words(cells: Iterable[CellResult]) -> str:
    """`uvicorn on uvloop, granian-asgi on asyncio`, where these ran on more than one loop; else empty."""
    on: dict[str, list[str]] = defaultdict(list)
    for cell in cells:
        if cell.loop:
            on[cell.loop].append(cell.subject)
    if len(on) < 2:
        return ""
    return ", ".join(f"{_joined(subjects)} on {loop}" for loop, subjects in on.items())


def footing_in_words(meta: RunMeta, level: LevelResult) -> str:
    """On which loop, and with which library, the ASGI subjects of a level ran; empty without any of them."""
    of_sockets = meta.workload(level.workload).transport == "websocket"
    on: dict[str, list[str]] = defaultdict(list)
    for cell in level.cells:
        if cell.interface == "asgi" and cell.status not in _LEFT_OUT:
            on[_runs_on(meta.subject(cell.subject), of_sockets=of_sockets)].append(cell.subject)
    if not on:
        return ""
    if set(on) == {NOT_OBSERVED}:
        return "Event loops: not observed in this run."
    each = (
        f"{what}: {_joined(subjects)}"
        for what, subjects in sorted(on.items(), key=lambda item: -len(item[1]))
    )
    return f"ASGI as observed: {'; '.join(each)}."


def _runs_on(subject: SubjectMeta, *, of_sockets: bool) -> str:
    """`uvloop, httptools`: the loop, and what parses HTTP or, of WebSockets, speaks them."""
    found = subject.observed
    if found is None or not found.loop:
        return NOT_OBSERVED
    spoken = found.websocket if of_sockets else found.http
    kind = "WebSocket" if of_sockets else "parser"
    return f"{found.loop}, {f'own {kind}' if spoken == OWN else spoken}"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def on_one_loop(level: LevelResult, loop: str = COMMON_LOOP) -> LevelResult:
    """The level with nothing but the subjects that were seen on that loop, and their comparisons."""
    cells = tuple(cell for cell in level.cells if cell.loop == loop)
    kept = {cell.subject for cell in cells}
    pairs = tuple(pair for pair in level.comparisons if {pair.left, pair.right} <= kept)
    return replace(level, cells=cells, comparisons=pairs)


@dataclass(frozen=True, slots=True)
class LoopPair:
    """One server on two loops, and nothing else that was seen to differ.

    Attributes:
        cell: on another loop than Python's own.
        usual: on that one.
        rates: their leading figures compared; None where one of them has none that may be.
    """

    cell: CellResult
    usual: CellResult
    rates: Comparison | None


def loop_pairs(meta: RunMeta, level: LevelResult) -> list[LoopPair]:
    """Each server on another loop beside itself on asyncio's, in the order of the level's cells.

    They are of one version, with the same application behind them, and have loaded the same libraries for
    HTTP and WebSocket.
    """
    cells = [cell for cell in level.cells if cell.loop and cell.status != "unsupported"]
    usual: dict[tuple[str, ...], list[CellResult]] = defaultdict(list)
    for cell in cells:
        if cell.loop == USUAL_LOOP:
            usual[_besides(meta.subject(cell.subject))].append(cell)
    return [
        LoopPair(
            cell,
            other,
            compared(level, cell.subject, other.subject) if cell.valid and other.valid else None,
        )
        for cell in cells
        if cell.loop != USUAL_LOOP
        for other in usual[_besides(meta.subject(cell.subject))]
    ]


def _besides(subject: SubjectMeta) -> tuple[str, ...]:
    """What two subjects must have in common for their loops to be all that differs."""
    found = subject.observed
    libraries = (found.http, found.websocket) if found is not None else ("", "")
    return (subject.server, subject.version or "", subject.app, *libraries)
