"""The result of a run as frozen data, read by charts, tables and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from analysis.details import NONE, Details
from analysis.meta import LevelPlan
from analysis.metrics import Metric
from analysis.statistics import Comparison, Estimate

Status = Literal["ok", "invalid", "unsupported", "unavailable", "failed"]

LATENCY_NAMES = ("p50", "p90", "p99", "p999", "max")


@dataclass(frozen=True, slots=True)
class CellResult:
    """One row of the result. A figure that was not measured is None, and `reasons` says why.

    Attributes:
        reasons: each begins with a code of METHOD.md and a colon.
        blocks: blocks with at least one slice that counts.
        rps: correct answers a second inside the window; None where no one rate was sent.
        lead: the figure that the level is ranked by (`analysis.leads`), with its interval.
        latency_us: p50, p90, p99, p999 and max, from the moment a request was to be sent.
        typical: at one rate for all, the percentiles of a block (`analysis.leads.typical_percentiles`); they
            are shown instead of those of all blocks together.
        service_us: the same from the moment it was sent; open loops only.
        last_us: the same to the last subscriber of a broadcast.
        mib_per_s: bodies of requests and answers.
        memory_mib: of processes or of a container; `analysis.wording.memory_note` says which.
        memory_peak_mib: of containers only.
        fit: R² of the line through memory over idle connections, of the worst block.
        details: examples of its failures, and what a Locust file did by name.
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
    lead: Estimate | None = None
    latency_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    typical: Mapping[str, float | None] = field(default_factory=dict)
    service_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    last_us: Mapping[str, float | None] = field(default_factory=lambda: dict.fromkeys(LATENCY_NAMES))
    mib_per_s: float | None = None
    fit: float | None = None
    requests_per_connection: float | None = None
    cpu_us_per_request: float | None = None
    memory_mib: float | None = None
    memory_peak_mib: float | None = None
    details: Details = NONE

    @property
    def code(self) -> str:
        """The code of the first reason; empty where there is none."""
        return self.reasons[0].partition(":")[0] if self.reasons else ""

    def figure(self, name: str) -> float | None:
        """The figure that `analysis.metrics` calls by that name."""
        if name in self.typical:
            return self.typical[name]
        if name in LATENCY_NAMES:
            return self.latency_us[name]
        clock, _, quantile = name.partition("_")
        if quantile in LATENCY_NAMES and clock in {"service", "last"}:
            return (self.service_us if clock == "service" else self.last_us)[quantile]
        lead = self.lead.estimate if self.lead else None
        figures = {
            "rps": self.rps.estimate if self.rps else None,
            "within_objective": lead,
            "connection_kib": lead,
            "mib_per_s": self.mib_per_s,
            "fit": self.fit,
            "requests_per_connection": self.requests_per_connection,
            "cpu_us_per_request": self.cpu_us_per_request,
            "memory_mib": self.memory_mib,
            "memory_peak_mib": self.memory_peak_mib,
        }
        return figures[name]


@dataclass(frozen=True, slots=True)
class Noise:
    """A level's own noise: what the same server, measured twice, can differ by.

    Attributes:
        subject: the server that was measured twice.
        band: as a ratio over 1.
    """

    subject: str
    band: float


@dataclass(frozen=True, slots=True)
class LevelResult:
    """The cells and the comparisons of one level of one workload.

    Attributes:
        plan: how it was loaded.
        rounds: the fewest and the most rounds of a block that counts; (0, 0) without one.
        metric: what the level is ranked by.
        cells: one a subject, in the order of the run.
        comparisons: of that metric, every pair of cells with status `ok`, in alphabetical order.
        noise: None in a run that measured no server twice, or where one of the two copies is not valid.
    """

    plan: LevelPlan
    metric: Metric
    rounds: tuple[int, int]
    cells: tuple[CellResult, ...]
    comparisons: tuple[Comparison, ...]
    noise: Noise | None = None

    @property
    def workload(self) -> str:
        """The workload's name."""
        return self.plan.workload

    @property
    def level(self) -> str:
        """The level's ID."""
        return self.plan.level

    @property
    def title(self) -> str:
        """Workload and load in words: `keep-alive, 64 connections`."""
        return f"{self.workload}, {self.plan.load}"


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
