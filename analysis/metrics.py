"""The registry of metrics: a figure's label, its unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from analysis.meta import RunMeta, WorkloadMeta


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
        noun: what a sentence calls it after "the highest" or "the lowest".
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower"]
    scale: float = 1.0
    decimals: int = 0
    noun: str = "figure"

    def show(self, value: float | None) -> str:
        """The value in the shown unit, without the unit; a dash for None."""
        return "—" if value is None else f"{value * self.scale:,.{self.decimals}f}"

    @property
    def heading(self) -> str:
        """Label and unit, for a table's head or an axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def superlative(self) -> str:
        """Which end of the scale is the good one."""
        return "highest" if self.better == "higher" else "lowest"


RPS = Metric("rps", "Throughput", "requests/s", "higher")
ECHOES = Metric("rps", "Throughput", "echoes/s", "higher")
MESSAGES = Metric("rps", "Throughput", "messages/s", "higher")
BROADCASTS = Metric("rps", "Throughput", "broadcasts/s", "higher", decimals=1)
HANDSHAKES = Metric("rps", "Throughput", "handshakes/s", "higher")
HELD = Metric("rps", "Held", "connections", "higher")
WITHIN_OBJECTIVE = Metric(
    "within_objective", "Rate within the objective", "requests/s", "higher", noun="rate within the objective"
)
CONNECTION_MEMORY = Metric(
    "connection_kib",
    "Server memory of an idle connection",
    "KiB",
    "lower",
    decimals=1,
    noun="server memory of an idle connection",
)
FIT = Metric("fit", "R² of the line", "", "higher", decimals=3)
MIB_PER_S = Metric("mib_per_s", "Bodies, both ways", "MiB/s", "higher", decimals=1)
SERVICE_P50 = Metric("service_p50", "Service time p50", "ms", "lower", scale=1e-3, decimals=2)
SERVICE_P99 = Metric("service_p99", "Service time p99", "ms", "lower", scale=1e-3, decimals=2)
LAST_P50 = Metric("last_p50", "To the last subscriber p50", "ms", "lower", scale=1e-3, decimals=2)
LAST_P99 = Metric("last_p99", "To the last subscriber p99", "ms", "lower", scale=1e-3, decimals=2)
P50 = Metric("p50", "Latency p50", "ms", "lower", scale=1e-3, decimals=2)
P90 = Metric("p90", "Latency p90", "ms", "lower", scale=1e-3, decimals=2)
P99 = Metric("p99", "Latency p99", "ms", "lower", scale=1e-3, decimals=2)
P999 = Metric("p999", "Latency p99.9", "ms", "lower", scale=1e-3, decimals=2)
MAXIMUM = Metric("max", "Latency max", "ms", "lower", scale=1e-3, decimals=1)
REQUESTS_PER_CONNECTION = Metric(
    "requests_per_connection", "Requests a connection", "requests", "higher", decimals=1
)
CPU = Metric("cpu_us_per_request", "Server CPU a request", "µs", "lower", decimals=1)
PSS = Metric("memory_mib", "Server memory, PSS", "MiB", "lower", decimals=1)
ANONYMOUS = replace(PSS, label="Server memory, anonymous")
MEMORY_PEAK = Metric("memory_peak_mib", "Server memory, peak", "MiB", "lower", decimals=1)

LATENCIES: tuple[Metric, ...] = (P50, P90, P99, P999, MAXIMUM)


def memory_metrics(meta: RunMeta) -> tuple[Metric, ...]:
    """The figures of a server's memory that a run has, the leading one first."""
    own = ANONYMOUS if meta.counts_anonymous else PSS
    return (own, MEMORY_PEAK) if meta.in_containers else (own,)


def _relabelled(label: str) -> tuple[Metric, ...]:
    return tuple(replace(each, label=each.label.replace("Latency", label)) for each in LATENCIES)


RESPONSES = _relabelled("Response time")
"""The latencies of an open loop, whose clock runs from the moment a request was to be sent."""
DELAYS = _relabelled("To a subscriber")
"""The latencies of a broadcast."""
RESPONSE_P99 = replace(P99, label="Response time p99", noun="p99 of the response time")


def throughput(workload: WorkloadMeta, *, of_messages: bool = False) -> Metric:
    """The throughput metric of a workload: requests, or what its WebSockets are for.

    Args:
        workload: which one.
        of_messages: a Locust file counted messages; what it does over WebSockets, its names alone tell.
    """
    if workload.locustfile:
        return MESSAGES if of_messages and workload.transport == "websocket" else RPS
    exchanges = {"echo": ECHOES, "broadcast": BROADCASTS, "handshake": HANDSHAKES, "idle": HELD}
    return exchanges.get(workload.exchange, RPS)
