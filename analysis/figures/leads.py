"""Each workload's metrics, and the one that leads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from analysis.figures.gates import FigureName
from analysis.figures.percentiles import TAIL_PARTS, quantile
from analysis.figures.statistics import log_rate_table, of_blocks
from loadtests.engine.tally import MIN_SAMPLES, QUANTILES

if TYPE_CHECKING:
    from collections.abc import Callable

    from analysis.figures.cells import LevelData
    from analysis.figures.statistics import Estimate
    from gatebench.results.schema import LevelPlan, RunMeta, WorkloadMeta


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
        figure: which of the figures that gates speak of it belongs to; None for one that no gate refuses.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower"]
    scale: float = 1.0
    decimals: int = 0
    noun: str = "figure"
    figure: FigureName | None = "rps"

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
    figure="memory_mib",
)
FIT = Metric("fit", "R² of the line", "", "higher", decimals=3, figure="memory_mib")
MIB_PER_S = Metric("mib_per_s", "Bodies, both ways", "MiB/s", "higher", decimals=1)


def _milliseconds(name: str, label: str, decimals: int = 2) -> Metric:
    return Metric(name, label, "ms", "lower", scale=1e-3, decimals=decimals, figure="latency_us")


SERVICE_P50 = _milliseconds("service_p50", "Service time p50")
SERVICE_P99 = _milliseconds("service_p99", "Service time p99")
LAST_P50 = _milliseconds("last_p50", "To the last subscriber p50")
LAST_P99 = _milliseconds("last_p99", "To the last subscriber p99")
P50 = _milliseconds("p50", "Latency p50")
P90 = _milliseconds("p90", "Latency p90")
P99 = _milliseconds("p99", "Latency p99")
P999 = _milliseconds("p999", "Latency p99.9")
MAXIMUM = _milliseconds("max", "Latency max", decimals=1)
REQUESTS_PER_CONNECTION = Metric(
    "requests_per_connection", "Requests a connection", "requests", "higher", decimals=1, figure=None
)
CPU = Metric(
    "cpu_us_per_request", "Server CPU a request", "µs", "lower", decimals=1, figure="cpu_us_per_request"
)
PSS = Metric("memory_mib", "Server memory, PSS", "MiB", "lower", decimals=1, figure="memory_mib")
ANONYMOUS = replace(PSS, label="Server memory, anonymous")
MEMORY_PEAK = replace(PSS, name="memory_peak_mib", label="Server memory, peak")

LATENCIES: tuple[Metric, ...] = (P50, P90, P99, P999, MAXIMUM)
_FIGURE_OF = {
    metric.name: metric.figure
    for metric in (
        *(RPS, MIB_PER_S, WITHIN_OBJECTIVE),
        *(*LATENCIES, SERVICE_P50, SERVICE_P99, LAST_P50, LAST_P99),
        *(CPU, PSS, MEMORY_PEAK, CONNECTION_MEMORY, FIT, REQUESTS_PER_CONNECTION),
    )
}


def figure_of(name: str) -> FigureName | None:
    """Which of the figures that gates speak of a metric belongs to; None for one that no gate refuses."""
    return _FIGURE_OF[name]


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
RESPONSE_P50, RESPONSE_P90, RESPONSE_P99 = (
    replace(each, label=f"Response time {each.name}", noun=f"{each.name} of the response time")
    for each in (P50, P90, P99)
)


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


MIN_TAIL_SAMPLES = MIN_SAMPLES["p99"] // TAIL_PARTS
MIN_SETTLED = 6
"""Slices that a block's search needs after it has turned twice."""
KIB_PER_MIB = 1024


def lead_metric(plan: LevelPlan, workload: WorkloadMeta, *, of_messages: bool = False) -> Metric:
    """The metric that a level is ranked by; `of_messages` as for `analysis.figures.leads.throughput`."""
    if plan.paced:
        return RESPONSE_P99
    if plan.model == "objective":
        return WITHIN_OBJECTIVE
    if plan.model == "idle":
        return CONNECTION_MEMORY
    return throughput(workload, of_messages=of_messages)


def leading_figure(plan: LevelPlan) -> FigureName:
    """The figure that a level's leading metric belongs to."""
    if plan.paced:
        return "latency_us"
    return "memory_mib" if plan.model == "idle" else "rps"


def lead_table(data: LevelData) -> pd.DataFrame:
    """Natural logarithms of the leading figure: one row a (block, round), one column a subject.

    Where the figure is a whole block's, each block has one row. What could not be had is NaN.
    """
    if data.plan.paced:
        return percentile_table(data, RESPONSE_P99.name)
    if data.plan.model == "objective":
        return _by_block(data.slices, _log_found_rate)
    if data.plan.model == "idle":
        return _by_block(data.slices, _log_slope)
    return log_rate_table(data.rated)


def percentile_table(data: LevelData, name: str) -> pd.DataFrame:
    """Natural logarithms of one percentile of the response time in µs, one row a block, as `lead_table`."""
    responses = data.histograms[data.histograms["clock"] == "response"]
    counted = responses.groupby("subject", observed=True)["count"].sum()
    enough = responses["subject"].isin(counted.index[counted >= MIN_SAMPLES[name]])
    return _by_block(responses[enough], partial(_log_percentile, name=name))


def typical_percentiles(data: LevelData, subject: str) -> dict[str, Estimate | None]:
    """Metric name → that percentile of a block, in µs: the geometric mean over blocks, as the leading p99 is.

    Of response and service time at one rate for all. A percentile that any block has too few latencies for
    is None. They stand beside the leading figure; those of all blocks together could contradict it.
    """
    own = data.histograms[data.histograms["subject"] == subject]
    found: dict[str, Estimate | None] = {}
    for clock, prefix in (("response", ""), ("service", "service_")):
        blocks = [block for _, block in own[own["clock"] == clock].groupby("block")]
        for name, share in QUANTILES.items():
            least = MIN_SAMPLES[name] // TAIL_PARTS
            counts = [int(block["count"].sum()) for block in blocks]
            enough = sum(counts) >= MIN_SAMPLES[name] and min(counts) >= least
            logs = [np.log(max(1.0, quantile(block, share) or 0.0)) for block in blocks] if enough else []
            found[prefix + name] = of_blocks(np.array(logs))
    return found


def why_no_lead(model: str) -> str:
    """What a level with this load model lacks when a subject has no leading figure, and what to do."""
    return {
        "objective": f"a search needs {MIN_SETTLED} slices after it has turned twice; give it more time",
        "idle": "no line could be fitted through the memory, or it does not rise",
    }.get(
        model,
        f"a p99 needs {MIN_SAMPLES['p99']:,} latencies, {MIN_TAIL_SAMPLES:,} of them in each block; "
        "give it more time",
    )


def fit(slices: pd.DataFrame) -> float | None:
    """How well a straight line through memory over connections fits: the R² of the worst block, or None."""
    found = [line[1] for _, block in slices.groupby("block") if (line := _line(block)) is not None]
    return min(found, default=None)


def _by_block(frame: pd.DataFrame, reduce: Callable[[pd.DataFrame], float]) -> pd.DataFrame:
    values = {
        (block, 0, subject): reduce(part)
        for (block, subject), part in frame.groupby(["block", "subject"], observed=True)
    }
    if not values:
        return pd.DataFrame()
    index = pd.MultiIndex.from_tuples(list(values), names=["block", "round", "subject"])
    table: pd.DataFrame = pd.Series(list(values.values()), index=index, dtype="float64").unstack("subject")
    return table


def _log_percentile(histogram: pd.DataFrame, name: str) -> float:
    """The logarithm of one block's percentile in µs."""
    if int(histogram["count"].sum()) < MIN_SAMPLES[name] // TAIL_PARTS:
        return np.nan
    found_us = quantile(histogram, QUANTILES[name])
    return float(np.log(found_us)) if found_us else np.nan


def _log_found_rate(slices: pd.DataFrame) -> float:
    """The mean logarithm of the rates that one block's search tried after it had turned twice."""
    ordered = slices.sort_values("round")
    met = ordered["objective_met"].to_numpy()
    turns = np.flatnonzero(met[1:] != met[:-1]) + 1
    if len(turns) < 2:
        return np.nan
    settled = ordered["rate_per_s"].to_numpy()[turns[1] :]
    return float(np.log(settled).mean()) if len(settled) >= MIN_SETTLED else np.nan


def _log_slope(slices: pd.DataFrame) -> float:
    """The logarithm of the KiB that one more connection takes in one block."""
    line = _line(slices)
    return float(np.log(line[0] * KIB_PER_MIB)) if line is not None and line[0] > 0 else np.nan


def _line(slices: pd.DataFrame) -> tuple[float, float] | None:
    """Slope in MiB a connection and R² of the least-squares line of a block's memory over its connections."""
    read = slices[slices["server_memory_mib"].notna()]
    connections = read["connections"].to_numpy(dtype=np.float64)
    memory_mib = read["server_memory_mib"].to_numpy(dtype=np.float64)
    if len(np.unique(connections)) < 3:
        return None
    slope, constant = np.polyfit(connections, memory_mib, 1)
    spread = float(((memory_mib - memory_mib.mean()) ** 2).sum())
    off = float(((memory_mib - (slope * connections + constant)) ** 2).sum())
    return float(slope), 1 - off / spread if spread else 0.0
