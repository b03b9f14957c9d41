"""What the instrument and the machine spoiled of a cell, gate by gate: such figures are withheld."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.figures.gates import (
    CEILING,
    GENERATOR_BUSY,
    PORTS,
    SEND_LAG,
    SERVER_IDLE,
    SHARED_CORE,
    STEAL,
    THROTTLED,
    WORKERS,
    Refusal,
    most_left_out,
)
from gatebench.results.columns import LATE_LIMIT, SHARED_LIMIT, STEAL_LIMIT
from gatebench.results.schema import responder_in_words

if TYPE_CHECKING:
    from analysis.figures.cells import Totals
    from analysis.figures.results import CellResult
    from gatebench.results.schema import LevelPlan, WorkloadMeta


BUSY_IN_OPEN_LOOP = 0.70
"""Latencies suffer from a busy engine before throughput does."""

_NAMED = 3
"""So many of those who had the server's core are named."""


def workers(totals: Totals) -> Refusal | None:
    """Locust workers that gave no count, or a late one."""
    if totals.workers_missing <= WORKERS.limit:
        return None
    text = f"{totals.workers_missing} Locust workers gave no count or a late one, so less load was sent."
    return Refusal(WORKERS, totals.workers_missing, text)


def ports(totals: Totals) -> Refusal | None:
    """Local ports that ran out, or nearly did."""
    limit = PORTS.limit
    if totals.no_port:
        text = f"{totals.no_port:,} connections found no free local port."
        return Refusal(PORTS, totals.no_port, text)
    if totals.port_use is None or totals.port_use <= limit:
        return None
    text = f"{totals.port_use:.0%} of the local ports towards the server were taken (limit {limit:.0%})."
    return Refusal(PORTS, totals.port_use, text)


def steal(totals: Totals, plan: LevelPlan) -> Refusal | None:
    """What the hypervisor took of the measured cores, beyond the slices that are left out for it."""
    most, limit = most_left_out(totals.slices), STEAL.limit
    if plan.model != "idle" and totals.stolen > most:
        text = f"{_stolen_in_words(totals)}; up to {most:,} would have been left out."
        return Refusal(STEAL, totals.stolen / totals.slices, text)
    if totals.steal_share is None or totals.steal_share <= limit:
        return None
    text = (
        f"the hypervisor took {totals.steal_share:.0%} of the time of the server's and the engine's cores "
        f"(limit {limit:.0%})."
    )
    return Refusal(STEAL, totals.steal_share, text)


def _stolen_in_words(totals: Totals) -> str:
    return (
        f"in {totals.stolen:,} of {totals.slices:,} slices the hypervisor took over {STEAL_LIMIT:.0%} of the "
        "time of the server's and the engine's cores"
    )


def shared_core(totals: Totals, plan: LevelPlan, server_cores: int) -> Refusal | None:
    """Others on the server's cores, in more slices than are left out for it."""
    limit = most_left_out(totals.slices)
    if plan.model == "idle" or totals.shared <= limit:
        return None
    text = f"{_shared_in_words(totals, server_cores)}; up to {limit:,} would have been left out."
    return Refusal(SHARED_CORE, totals.shared / totals.slices, text)


def left_out_in_words(totals: Totals, plan: LevelPlan, server_cores: int) -> tuple[str, ...]:
    """What does not count of a cell, and how much: slices that were disturbed, moments of the engine."""
    found = []
    most = most_left_out(totals.slices)
    rest = "The figures rest on the other slices"
    if plan.model != "idle" and 0 < totals.shared <= most:
        found.append(f"{_shared_in_words(totals, server_cores)}. {rest}")
    if plan.model != "idle" and 0 < totals.stolen <= most:
        found.append(f"{_stolen_in_words(totals)}. {rest}")
    if 0 < totals.late_share <= LATE_LIMIT:
        found.append(
            f"the load engine was held up at the moments of {totals.late_share:.1%} of the requests. The "
            "response times are those of the other ones"
        )
    return tuple(found)


def _shared_in_words(totals: Totals, server_cores: int) -> str:
    """In how many slices others had the server's cores, how much, and who."""
    known = [f"{name} ({count:,} slice{'s' if count > 1 else ''})" for name, count in totals.others.items()]
    who = f"; among them {', '.join(known[:_NAMED])}" if known else ""
    cores = "core" if server_cores == 1 else "cores"
    had = (totals.others_share or 0.0) / server_cores
    return (
        f"in {totals.shared:,} of {totals.slices:,} slices others than the server had over "
        f"{SHARED_LIMIT:.0%} of its {cores}, in the mean of these {had:.0%}{who}"
    )


def throttled(totals: Totals) -> Refusal | None:
    """A quota is spent in part of each of its periods, which are as long as a slice: no share is harmless."""
    share = totals.throttled_share
    if share is None or share <= THROTTLED.limit:
        return None
    text = (
        f"a CPU quota held up the server's container for {share:.2%} of the slices' time (none is allowed), "
        "so the figure may be the quota's and not the server's."
    )
    return Refusal(THROTTLED, share, text)


def generator_busy(totals: Totals, workload: WorkloadMeta, plan: LevelPlan) -> Refusal | None:
    """An engine that had no time left for more load."""
    limit = BUSY_IN_OPEN_LOOP if plan.paces else GENERATOR_BUSY.limit
    if totals.busy_share <= limit:
        return None
    text = (
        f"the load engine was busy {totals.busy_share:.0%} of the time (limit {limit:.0%}), so the figure "
        "may be its own and not the server's."
    )
    # Locust's own clients do the work of a Locust file, and no engine beside them takes any of it.
    of_locust = "Let the Locust file send less: with fewer users, or with longer pauses."
    return Refusal(GENERATOR_BUSY, totals.busy_share, text, of_locust if workload.locustfile else "")


def ceiling(totals: Totals, plan: LevelPlan, server_cores: int, limit: CellResult | None) -> Refusal | None:
    """A figure so near to what the engine itself can do that a part of it is the engine's."""
    if plan.model != "closed" or is_the_servers(totals, server_cores):
        return None
    if limit is not None and limit.rps is not None:
        highest_per_s, whom = limit.rps.estimate, f"{responder_in_words(limit.server)} in the same rounds"
    elif plan.ceiling is not None and not plan.ceiling.disturbed:
        highest_per_s, whom = plan.ceiling.rate_per_s, plan.ceiling.responder_in_words
    else:
        return None
    share = totals.rate_per_s / highest_per_s
    if share <= CEILING.limit:
        return None
    text = (
        f"{totals.rate_per_s:,.0f} a second is {share:.0%} of the {highest_per_s:,.0f} that the same "
        f"engine reached against {whom} (limit {CEILING.limit:.0%}), so a part of the figure "
        "is the engine's own."
    )
    return Refusal(CEILING, share, text)


def is_the_servers(totals: Totals, server_cores: int) -> bool:
    """Whether the server itself limited its rate: its cores were full, and the engine had time left.

    Both are seen in the very slices of the figure, so nothing that another responder does can say more.
    """
    full = (totals.cpu_share or 0.0) >= SERVER_IDLE.limit * server_cores
    return full and totals.busy_share <= GENERATOR_BUSY.limit


def send_lag(totals: Totals) -> Refusal | None:
    """Requests that left late although a connection was free."""
    typical_us = totals.percentiles.values["p50"]
    if totals.lag_us is None or typical_us is None:
        return None
    limit_us = max(SEND_LAG.limit, 0.1 * typical_us)
    if totals.lag_us <= limit_us:
        return None
    text = (
        f"a hundredth of the requests left {totals.lag_us:,.0f} µs or more after their moment although a "
        f"connection was free (limit {limit_us:,.0f} µs)."
    )
    if totals.late_share > LATE_LIMIT:
        text += (
            f" The load engine was held up at the moments of {totals.late_share:.0%} of them; up to "
            f"{LATE_LIMIT:.0%} would have been left out."
        )
    return Refusal(SEND_LAG, totals.lag_us, text)
