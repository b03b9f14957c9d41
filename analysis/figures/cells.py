"""Adds up the slices of one cell: requests, errors, connections, CPU, memory, latencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.gates import most_left_out
from analysis.figures.percentiles import Percentiles, of_histogram, quantile
from gatebench.results.columns import LATE_LIMIT
from loadtests.engine.tally import CLOCKS, FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from analysis.reading.run import Run
    from gatebench.results.schema import LevelPlan


MIN_TURNS = 3
"""Timed answers that a slice must hold for each connection before Little's law can be asked of it."""

DISTURBANCES = ("shared", "stolen")
"""Columns that say why a slice tells of more than its server: others had the server's cores, or the
hypervisor took much of the measured ones."""


@dataclass(frozen=True, slots=True)
class LevelData:
    """The slices and histograms of one level of one workload that count.

    Attributes:
        partial: True where no block was whole, so that the figures rest on a part of the first one.
        left_out: slices of these blocks that do not count (`DISTURBANCES`).
    """

    plan: LevelPlan
    slices: pd.DataFrame
    histograms: pd.DataFrame
    partial: bool
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def every(self) -> pd.DataFrame:
        """The slices of these blocks, those that were disturbed among them."""
        return self.slices if self.left_out.empty else pd.concat([self.slices, self.left_out])

    @property
    def rated(self) -> pd.DataFrame:
        """The slices that give a rate each; all of a block are one where users live on between them.

        A Locust file's pauses make its slices uneven. The logarithms of uneven counts, and the mean that is
        trimmed of them, are too low; a block's whole count is not.
        """
        # Runs from before users lived on have no such variance; theirs are read as they were.
        if self.plan.model != "locust" or not self.slices["pause_variance"].any():
            return self.slices
        whole = self.slices.groupby(["block", "subject"], as_index=False)[["counted", "counted_s"]].sum()
        return whole.assign(round=0)

    @property
    def rounds(self) -> tuple[int, int]:
        """The fewest and the most rounds of a block; the plan is made anew after each, from what it cost."""
        if self.slices.empty:
            return 0, 0
        rounds = self.slices.groupby("block")["round"].nunique()
        return int(rounds.min()), int(rounds.max())

    @property
    def blocks(self) -> int:
        """Number of blocks that count."""
        return int(self.slices["block"].nunique())


@dataclass(frozen=True, slots=True)
class Totals:
    """What the slices of one cell add up to, over all of its blocks.

    Attributes:
        requests: correct answers, those drained after the window included.
        counted, counted_s: the answers that make the throughput, and the time they took.
        errors: kind of failure → how often.
        busy_share: median over slices of the engine's busy share; a single slice that lost its core to a
            neighbour says nothing about the instrument.
        cpu_share: CPU seconds of the server a second of load, 1.0 for one core; None where never read.
        cpu_us_per_request: CPU time of the server a correct answer; None where never read.
        memory_mib: highest memory of the server (`surroundings.memory_note`); None where never sampled.
        memory_peak_mib: the most that the server's container has had since a start, page cache included;
            None where never sampled, as without a container.
        listen_drops: connection attempts that the kernel dropped during the slices; 0 where it does not say.
        requests_per_connection: `requests` over the connections they went through. A persistent connection
            lives for a whole block, so a block used its level's connections and one more for each that the
            server closed; or the connections it opened, where these are more (after closures between slices).
        typical_completed: median over slices of the correct answers inside the window.
        missed_share: open loop: median over slices of the share of the offered requests that were not
            answered in the window, those in flight left aside; 0 elsewhere.
        lag_us: open loop: p99 of how late the engine sent; None elsewhere.
        in_flight: closed loop: throughput times mean latency, and what the engine held: the number of
            connections if both are right (Little's law); None elsewhere, and where slices are too short.
        steal_share: share of the measured cores' time that the hypervisor took in the slices that count; None
            where it was never read.
        throttled_share: time for which a CPU quota held up the server's container, over that of the slices
            (over 1 where several cores are); None where it was never read, as without a container.
        port_use: highest share of the local ports towards the server that was taken; None where never read.
        no_port: connections that found no free local port.
        workers_missing: most Locust workers that gave no count, or a late one, in any slice.
        pause_variance: of `counted`, the variance that the pauses of a Locust file's users alone bring.
        slices: how many there are, those left out included.
        shared: in how many of them others had the server's cores.
        others_share: the part of the server's cores that others had in these, 1.0 for one core.
        others: who had most of it → in how many slices, the most frequent first; without the unknown.
        stolen: in how many slices the hypervisor took too much of the measured cores.
        database_share, database_core_share: CPU seconds of the database a second of load, and for how long
            anything ran on its cores, 1.0 for one core; None where the application needs no database.
        late_share: open loop: the share of the response times for which the engine was late, because it was
            held up; they are left out up to `LATE_LIMIT`. 0 elsewhere.
        percentiles, service, last: of the clocks `response`, `service` and `last`
            (`loadtests.engine.tally.CLOCKS`).
    """

    subject: str
    blocks: int
    requests: int
    counted: int
    counted_s: float
    errors: Mapping[str, int]
    closed_by_server: int
    listen_drops: int
    requests_per_connection: float | None
    busy_share: float
    cpu_share: float | None
    cpu_us_per_request: float | None
    memory_mib: float | None
    memory_peak_mib: float | None
    typical_completed: float
    missed_share: float
    lag_us: float | None
    in_flight: float | None
    steal_share: float | None
    throttled_share: float | None
    port_use: float | None
    no_port: int
    workers_missing: int
    percentiles: Percentiles
    service: Percentiles
    last: Percentiles
    pause_variance: float = 0.0
    slices: int = 0
    shared: int = 0
    others_share: float | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    stolen: int = 0
    late_share: float = 0.0
    database_share: float | None = None
    database_core_share: float | None = None

    @property
    def rate_per_s(self) -> float:
        """Answers a second over all slices."""
        return self.counted / self.counted_s

    @property
    def attempts(self) -> int:
        """Correct answers and failures together."""
        return self.requests + sum(self.errors.values())


def level_data(run: Run, plan: LevelPlan) -> LevelData:
    """What counts of one level: its finished blocks, and any block in which it got all of its rounds.

    A block that was cut off in the middle of a level would weigh as much as a whole one. It is used only
    where there is nothing else. The null responder is no subject, and `responder_data` has its slices.
    """
    responders = [each.id for each in run.meta.responders]
    return _data_of(run, plan, lambda subjects: ~subjects.isin(responders))


def responder_data(run: Run, plan: LevelPlan, responder: str) -> LevelData:
    """The same of the null responder with that ID."""
    return _data_of(run, plan, lambda subjects: subjects == responder)


def _data_of(run: Run, plan: LevelPlan, of: Callable[[pd.Series[Any]], pd.Series[bool]]) -> LevelData:
    slices = of_level(run.slices, plan)
    histograms = run.histograms.of_level(plan.workload, plan.level)
    if run.meta.responders:
        slices, histograms = (frame[of(frame["subject"])] for frame in (slices, histograms))
    whole = _whole(run, plan, slices)
    counts = slices["block"].isin(whole)
    if not counts.any():
        return _punctual(_undisturbed(LevelData(plan, slices, histograms, partial=not slices.empty)))
    kept = histograms["block"].isin(whole)
    return _punctual(_undisturbed(LevelData(plan, slices[counts], histograms[kept], partial=False)))


def _undisturbed(data: LevelData) -> LevelData:
    """Without the slices that were disturbed, by a rule that looks at no answer.

    Where those of one kind are more than `most_left_out`, all of a subject's stay for it, and the gate
    (`shared-core`, `steal`) refuses the cell. What idle connections hold in memory is the same in any case.
    """
    slices, histograms = data.slices, data.histograms
    if data.plan.model == "idle" or not slices[list(DISTURBANCES)].any(axis=None):
        return data
    out = pd.Series(data=False, index=slices.index)
    out_too = pd.Series(data=False, index=histograms.index)
    for kind in DISTURBANCES:
        found = slices.groupby("subject")[kind].agg(["sum", "size"])
        cleared = found.index[found["sum"] <= found["size"].map(most_left_out)]
        out |= slices[kind] & slices["subject"].isin(cleared)
        out_too |= histograms[kind] & histograms["subject"].isin(cleared)
    return replace(data, slices=slices[~out], histograms=histograms[~out_too], left_out=slices[out])


def _punctual(data: LevelData) -> LevelData:
    """Without the latencies for which the engine was late, where these are a subject's `LATE_LIMIT` at most.

    Where they are more, all of them stay, and the gate `send-lag` judges how late that made the requests.
    """
    late = data.histograms["late"]
    if not late.any():
        return data
    shares = {subject: _late(part) for subject, part in data.slices.groupby("subject")}
    cleared = [subject for subject, share in shares.items() if share <= LATE_LIMIT]
    return replace(data, histograms=data.histograms[~(late & data.histograms["subject"].isin(cleared))])


def whole_blocks(run: Run, plan: LevelPlan) -> set[int]:
    """The blocks that hold all of a level; a run that goes on measures the others anew."""
    return _whole(run, plan, of_level(run.slices, plan))


def _whole(run: Run, plan: LevelPlan, slices: pd.DataFrame) -> set[int]:
    finished = set(run.finished_blocks)
    # One subject after the other: what the first got, the last may lack.
    if run.meta.exclusive or plan.model in {"idle", "locust"}:
        return finished
    rounds = slices.groupby("block")["round"].nunique()
    return finished | {int(block) for block in rounds.index[rounds >= plan.rounds]}


def of_level(frame: pd.DataFrame, plan: LevelPlan) -> pd.DataFrame:
    """The slices of one level."""
    return frame[(frame["workload"] == plan.workload) & (frame["level"] == plan.level)]


def totals(data: LevelData, subject: str, transport: str, cores: int = 2) -> Totals | None:
    """The totals of one subject in one level; None where it has no slice.

    Failures, memory and ports are those of all slices: others on the server's core do not explain them away.

    Args:
        data: the level.
        subject: which one.
        transport: of the workload.
        cores: how many cores were measured, those of server and engine.
    """
    slices = data.slices[data.slices["subject"] == subject]
    if slices.empty:
        return None
    histogram = data.histograms[data.histograms["subject"] == subject]
    clocks = {clock: histogram[histogram["clock"] == clock] for clock in CLOCKS}
    service = of_histogram(clocks["service"])
    every = data.every[data.every["subject"] == subject]
    shared = every[["others", "others_s", "elapsed_s"]][every["shared"]]
    steal_share = _share(slices, "steal_s")
    requests = int(slices["completed"].sum() + slices["drained"].sum())
    cpu_share, cpu_us = _cpu(slices)
    return Totals(
        subject=subject,
        blocks=int(slices["block"].nunique()),
        requests=requests,
        counted=int(slices["counted"].sum()),
        counted_s=float(slices["counted_s"].sum()),
        errors={kind: int(every[f"errors_{kind}"].sum()) for kind in FAILURES},
        closed_by_server=int(slices["closed_by_server"].sum()),
        listen_drops=int(slices["listen_drops"].sum()),
        requests_per_connection=_reuse(slices, requests, data.plan.connections, transport),
        busy_share=float(slices["engine_busy_share"].median()),
        cpu_share=cpu_share,
        cpu_us_per_request=cpu_us,
        memory_mib=_highest(every["server_memory_mib"]),
        memory_peak_mib=_highest(every["server_memory_peak_mib"]),
        typical_completed=float(slices["completed"].median()),
        missed_share=_missed(slices, clocks["service"]) if data.plan.paces else 0.0,
        lag_us=quantile(clocks["lag"], 0.99),
        in_flight=_in_flight(slices, data.plan),
        steal_share=None if steal_share is None else steal_share / cores,
        throttled_share=_share(slices, "throttled_s"),
        port_use=_highest(every["port_use"]),
        no_port=int(every["no_port"].sum()),
        workers_missing=int(every["workers_missing"].max()),
        percentiles=of_histogram(clocks["response"]),
        service=service,
        last=of_histogram(clocks["last"]),
        pause_variance=float(slices["pause_variance"].sum()),
        slices=len(every),
        shared=len(shared),
        others_share=_share(shared, "others_s"),
        others=_who(shared["others"]),
        stolen=int(every["stolen"].sum()),
        late_share=_late(slices),
        database_share=_share(slices, "database_cpu_s"),
        database_core_share=_share(slices, "database_core_s"),
    )


def _late(slices: pd.DataFrame) -> float:
    """The share of the response times for which the engine was late."""
    return float(slices["left_out"].sum() / max(1, slices["latency_count"].sum()))


def _who(names: pd.Series[str]) -> dict[str, int]:
    """Name → in how many slices, the most frequent first."""
    return {str(name): int(count) for name, count in names[names != ""].value_counts().items()}


def _share(slices: pd.DataFrame, column: str) -> float | None:
    """The seconds in `column` over the time of the slices in which they were read; None without any."""
    read = slices[column].notna()
    return float(slices[column][read].sum() / slices["elapsed_s"][read].sum()) if read.any() else None


def _highest(column: pd.Series[float]) -> float | None:
    highest = column.max()
    return None if pd.isna(highest) else float(highest)


def _missed(slices: pd.DataFrame, service: pd.DataFrame) -> float:
    """The share of the offered requests that the median slice did not answer in its window.

    As many as are in flight at any time at that rate are not held against the server: at the end of a window
    they are on their way, not missed. By Little's law that is the rate times the mean service time; with the
    median, a wide spread of service times would be held against the server.
    """
    samples = int(service["count"].sum())
    mean_us = float((service["latency_us"] * service["count"]).sum()) / samples if samples else 0.0
    in_flight = slices["rate_per_s"] * mean_us / 1e6
    behind = slices["offered"] - slices["completed"] - in_flight
    return max(0.0, float((behind / slices["offered"].clip(lower=1)).median()))


def _in_flight(slices: pd.DataFrame, plan: LevelPlan) -> float | None:
    """Throughput times mean latency, and what the engine held.

    A stall that outlasts the window is missing from the latencies within it. A server that works on all
    requests together is quicker with the last ones, after the window. Either makes the mean too low, so the
    higher of the two means is taken.

    None where it is no closed loop, and where a slice holds fewer than `MIN_TURNS` timed answers for each
    request in flight: slow connections then have fewer answers in it than their part.
    """
    timed = int(slices["timed_in_window"].sum())
    least = MIN_TURNS * plan.connections * plan.window * len(slices)
    if plan.model != "closed" or timed < least:
        return None
    within_us = float(slices["timed_in_window_us"].sum()) / timed
    all_us = float(slices["latency_sum_us"].sum() / slices["latency_count"].sum())
    held = float(slices["held_s"].sum() / slices["elapsed_s"].sum())
    rate_per_s = float(slices["counted"].sum() / slices["counted_s"].sum())
    return rate_per_s * max(within_us, all_us) / 1e6 + held


def _cpu(slices: pd.DataFrame) -> tuple[float | None, float | None]:
    """CPU share and CPU µs a request, from the slices in which the CPU time was read."""
    read = slices[["server_cpu_s", "completed", "drained", "elapsed_s"]]
    read = read[read["server_cpu_s"].notna()]
    if read.empty:
        return None, None
    cpu_s = float(read["server_cpu_s"].sum())
    requests = int(read["completed"].sum() + read["drained"].sum())
    return cpu_s / float(read["elapsed_s"].sum()), cpu_s * 1e6 / requests if requests else None


def cpu_by_block(slices: pd.DataFrame) -> pd.DataFrame:
    """CPU µs a request: one row a block, one column a subject; NaN where it was not read or nothing came."""
    read = slices.loc[
        slices["server_cpu_s"].notna(), ["block", "subject", "server_cpu_s", "completed", "drained"]
    ]
    sums = read.groupby(["block", "subject"], observed=True).sum()
    cpu_s, requests = sums["server_cpu_s"], sums["completed"] + sums["drained"]
    known = (cpu_s > 0) & (requests > 0)
    return (cpu_s / requests.where(known) * 1e6).unstack("subject")


def _reuse(slices: pd.DataFrame, requests: int, connections: int, transport: str) -> float | None:
    if transport == "close":
        used = int(slices["opened"].sum())
    else:
        blocks = slices.groupby("block")[["opened", "closed_by_server"]].sum()
        replaced = blocks["closed_by_server"] + connections
        used = int(replaced.where(replaced >= blocks["opened"], blocks["opened"]).sum())
    return requests / used if used else None
