"""Shows a run to the person who waits for it: stage, time left, and the standings so far."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gatebench.cli.options import as_typed
from gatebench.words.model import Cell
from loadtests.engine.tally import SliceResult

ROWS = 8
DRAW_EVERY_S = 0.5
SLICES_APART_S = 3.0
"""While slices end in shorter time than this, the screen is drawn between them and not in them."""


class Standings:
    """Geometric mean over the slices of each cell so far; a preview, without gates or intervals.

    Of a fixed rate, the mean response time of each slice; of every other load, its throughput.
    """

    def __init__(self) -> None:
        self._logs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._paced: set[str] = set()

    def add(self, cell: Cell, result: SliceResult) -> None:
        """Takes one slice."""
        key = f"{cell.workload.name}/{cell.level.id}"
        if cell.level.model == "idle" or not result.counted or not result.histogram:
            return
        value = result.counted / result.counted_s
        if cell.level.model in {"open", "ladder"}:
            self._paced.add(key)
            answers = sum(result.histogram.values())
            value = sum(latency_us * count for latency_us, count in result.histogram.items()) / answers / 1e3
        if value:
            self._logs[key][cell.subject.id].append(math.log(value))

    def best(self, level: str) -> list[str]:
        """The subjects of a level with their figure, the best first."""
        figures = {subject: math.exp(sum(logs) / len(logs)) for subject, logs in self._logs[level].items()}
        if level in self._paced:
            return [
                f"{name} {value:.2f} ms" for name, value in sorted(figures.items(), key=lambda item: item[1])
            ]
        return [
            f"{name} {value:,.0f}/s" for name, value in sorted(figures.items(), key=lambda item: -item[1])
        ]

    def what(self, level: str) -> str:
        """What the figures of a level are, where that is not answers a second."""
        return "mean response time: " if level in self._paced else ""

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels measured so far."""
        return tuple(sorted(self._logs))


class Screen(Live):
    """Draws itself now and then, but not in a slice.

    Drawing takes a core for milliseconds, and there may be none but those that are measured.
    """

    _measured_s = -math.inf
    _drawn_s = -math.inf

    def refresh(self) -> None:
        """Draws, unless slices follow one another; `measured` does it then."""
        if time.monotonic() > self._measured_s + SLICES_APART_S:
            super().refresh()

    def measured(self) -> None:
        """A slice has ended, and the next has not begun: draws, where that was some time ago."""
        self._measured_s = time.monotonic()
        if self._measured_s >= self._drawn_s + DRAW_EVERY_S:
            super().refresh()
            self._drawn_s = time.monotonic()


class TerminalObserver:
    """Draws progress on a terminal; elsewhere it prints a line for each stage that takes long.

    Args:
        expected_s: first estimate of the run's wall time after set-up.
        at_most: whether the run may end sooner.
    """

    def __init__(self, console: Console, expected_s: float, *, at_most: bool = False) -> None:
        self._console = console
        self._expected_s = expected_s
        self._about = "at most" if at_most else "about"
        self._precision = ""
        self._standings = Standings()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID = self._progress.add_task("", total=1.0, left="")
        self._screen = Screen(
            console=console, get_renderable=self._render, refresh_per_second=1 / DRAW_EVERY_S, transient=True
        )
        self._began: float | None = None
        self._stage = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._screen.stop()

    def note(self, text: str) -> None:
        """Something a person should know; it stays on the screen."""
        self._console.print(escape(as_typed(text) if "\n" not in text else text), soft_wrap=True)

    def stage(self, text: str) -> None:
        """What is being done now."""
        plain = text.partition(": round ")[0]
        if not self._console.is_terminal and plain != self._stage:
            self._console.print(escape(f"{time.strftime('%H:%M:%S')} {plain}"), soft_wrap=True)
        self._stage = plain
        self._progress.update(self._task, description=escape(text))

    def measured(self, cell: Cell, result: SliceResult) -> None:
        """One slice more."""
        if self._began is None:
            self._began = time.monotonic()
        if not cell.subject.again and not cell.subject.responder:
            self._standings.add(cell, result)
        elapsed_s = time.monotonic() - self._began
        left_s = max(0.0, self._expected_s - elapsed_s)
        self._progress.update(
            self._task,
            completed=min(1.0, elapsed_s / self._expected_s),
            left=f"{self._about} {left_s / 60:.0f} min left",
        )
        if self._console.is_terminal:
            self._screen.measured()

    def block_finished(self, block: str, done: int, of: int, elapsed_s: float) -> None:
        """Corrects the estimate of the whole run and, off a terminal, prints the standings."""
        self._expected_s = elapsed_s / done * of
        if not self._console.is_terminal:
            left_s = self._expected_s - elapsed_s
            self._console.print(f"{block} measured; {self._about} {left_s:.0f} s left; so far, unchecked:")
            for level in self._standings.levels:
                best = ", ".join(self._standings.best(level)[:ROWS])
                self._console.print(f"  {level}: {self._standings.what(level)}{best}", soft_wrap=True)

    def looked(self, text: str) -> None:
        """How precise the run is so far: it stays on the screen, and the last is above the progress."""
        self.note(text)
        self._precision = text

    def _render(self) -> Group:
        table = Table(
            title="so far (answers a second, or mean response time; unchecked)",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        columns = []
        for level in self._standings.levels:
            table.add_column(level)
            columns.append(self._standings.best(level)[:ROWS])
        for row in range(max(map(len, columns), default=0)):
            table.add_row(*(column[row] if row < len(column) else "" for column in columns))
        precision = [Text(self._precision)] if self._precision else []
        return Group(*([table] if columns else []), *precision, self._progress)
