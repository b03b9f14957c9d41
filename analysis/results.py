"""The result of a run as frozen data, read by charts, tables and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from analysis.statistics import Comparison, Estimate

Status = Literal["ok", "invalid", "unsupported", "unavailable", "failed"]

LATENCY_NAMES = ("p50", "p90", "p99", "p999", "max")


@dataclass(frozen=True, slots=True)
class CellResult:
    """One row of the result. A figure that was not measured is None, and `reasons` says why.

    Attributes:
        reasons: each begins with a code of METHOD.md and a colon.
        blocks: blocks with at least one slice that counts.
        rps: correct answers a second inside the window.
        latency_us: p50, p90, p99, p999 and max.
    """

    subject: str
    server: str
    app: str
    interface: str
    workload: str
    level: str
    status: Status
    reasons: tuple[str, ...] = ()
    blocks: int = 0
    requests: int | None = None
    errors: Mapping[str, int] | None = None
    rps: Estimate | None = None
    latency_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    requests_per_connection: float | None = None
    cpu_us_per_request: float | None = None
    memory_mib: float | None = None

    @property
    def code(self) -> str:
        """The code of the first reason; empty where there is none."""
        return self.reasons[0].partition(":")[0] if self.reasons else ""

    def figure(self, name: str) -> float | None:
        """The figure that `analysis.metrics` calls by that name."""
        if name in LATENCY_NAMES:
            return self.latency_us[name]
        figures = {
            "rps": self.rps.estimate if self.rps else None,
            "requests_per_connection": self.requests_per_connection,
            "cpu_us_per_request": self.cpu_us_per_request,
            "memory_mib": self.memory_mib,
        }
        return figures[name]


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The cells and the comparisons of one level of one workload.

    Attributes:
        rounds: the fewest and the most rounds of a block that counts; (0, 0) without one.
        cells: one a subject, in the order of the run.
        comparisons: every pair of cells with status `ok`, in alphabetical order.
    """

    workload: str
    level: str
    connections: int
    rounds: tuple[int, int]
    cells: tuple[CellResult, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole result of a run; `analysis.summary.as_json` gives its file form."""

    run: str
    runner: str
    profile: str
    seed: int
    levels: tuple[LevelResult, ...]

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """All cells, level by level."""
        return tuple(cell for level in self.levels for cell in level.cells)
