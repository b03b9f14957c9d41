"""The registry of metrics: a figure's label, its unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a cell.

    Attributes:
        name: its key, which carries the unit it is stored in.
        label: what a person calls it.
        unit: the unit it is shown in.
        better: which direction is the good one.
        scale: shown value = stored value times scale.
        decimals: places after the point when shown.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower"]
    scale: float = 1.0
    decimals: int = 0

    def show(self, value: float | None) -> str:
        """The value in the shown unit, without the unit; a dash for None."""
        return "—" if value is None else f"{value * self.scale:,.{self.decimals}f}"

    @property
    def heading(self) -> str:
        """Label and unit, for a table's head or an axis."""
        return f"{self.label} ({self.unit})"


RPS = Metric("rps", "Throughput", "requests/s", "higher")
ECHOES = Metric("rps", "Throughput", "echoes/s", "higher")
P50 = Metric("p50", "Latency p50", "ms", "lower", scale=1e-3, decimals=2)
P90 = Metric("p90", "Latency p90", "ms", "lower", scale=1e-3, decimals=2)
P99 = Metric("p99", "Latency p99", "ms", "lower", scale=1e-3, decimals=2)
P999 = Metric("p999", "Latency p99.9", "ms", "lower", scale=1e-3, decimals=2)
MAXIMUM = Metric("max", "Latency max", "ms", "lower", scale=1e-3, decimals=1)
REQUESTS_PER_CONNECTION = Metric(
    "requests_per_connection", "Requests a connection", "requests", "higher", decimals=1
)
CPU = Metric("cpu_us_per_request", "Server CPU a request", "µs", "lower", decimals=1)
MEMORY = Metric("memory_mib", "Server memory", "MiB", "lower", decimals=1)

LATENCIES: tuple[Metric, ...] = (P50, P90, P99, P999, MAXIMUM)
COSTS: tuple[Metric, ...] = (CPU, MEMORY, REQUESTS_PER_CONNECTION)


def throughput(transport: str) -> Metric:
    """The throughput metric of a transport: a WebSocket answers echoes, the others requests."""
    return ECHOES if transport == "websocket" else RPS
