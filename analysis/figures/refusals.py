"""Holds a cell against every gate; a refusal says what was measured, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.figures.gates import (
    BACKLOG,
    CEILING,
    ERRORS,
    FEW_REQUESTS,
    FEW_TURNS,
    GENERATOR_BUSY,
    MOST_FAILED,
    PORTS,
    RATE_MISSED,
    REUSE,
    SEND_LAG,
    SERVER_IDLE,
    SHARED_CORE,
    STEAL,
    THROTTLED,
    UNEVEN,
    UNSTEADY,
    WORKERS,
    WRONG_BODY,
    FigureName,
    Gate,
    most_left_out,
)
from analysis.reading.tables import NONE
from gatebench.results.columns import LATE_LIMIT, SHARED_LIMIT, STEAL_LIMIT
from gatebench.results.schema import responder_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analysis.figures.cells import Totals
    from analysis.figures.results import CellResult
    from analysis.figures.steadiness import Drift
    from analysis.reading.tables import Details
    from gatebench.results.schema import LevelPlan, WorkloadMeta


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gate that a cell failed.

    Attributes:
        next_step: for the cause that was measured; empty where the gate's own fits every cause.
        finding: it only limits, although the gate withholds where more is measured.
    """

    gate: Gate
    measured: float
    text: str
    next_step: str = ""
    finding: bool = False

    @property
    def withholds(self) -> tuple[FigureName, ...]:
        """The figures that are not published."""
        return () if self.finding else self.gate.withholds

    @property
    def limits(self) -> tuple[FigureName, ...]:
        """The figures that are shown with the cause, in no place; what is withheld is not among them."""
        return tuple(each for each in self.gate.limits if each not in self.withholds)

    @property
    def reason(self) -> str:
        """Code, finding and next step in one line, as `summary.json` keeps it."""
        return f"{self.gate.code}: {self.text} {self.next_step or self.gate.next_step}"


BUSY_IN_OPEN_LOOP = 0.70
"""Latencies suffer from a busy engine before throughput does."""


_NAMED = 3
"""So many of those who had the server's core are named."""


_PROTOCOL_ERRORS = ("refused", "reset", "short", "status")


_LIKELY = 1.96
"""Standard errors to either side of an estimate that hold the truth 95 times of 100."""


_BACKLOG_STEP = "Read the server's log under logs/; a longer backlog or fewer connections may be needed."


_ENGINE_STEPS: Mapping[str, str] = {
    "refused": _BACKLOG_STEP,
    "reset": _BACKLOG_STEP,
    "short": "Read the server's log under logs/ for workers that ended or gave up in the midst of an answer.",
    "status": "The same request was answered rightly before the load: read the server's log under logs/ for "
    "what it refuses under load.",
    "timeout": "Find out what those requests wait for (the server's log under logs/, threads, a lock), or "
    "send less at once.",
}
"""Kind of failure → what to do about it, where the load engine sent the request."""


_LOCUST_FILE_STEPS: Mapping[str, str] = {
    **_ENGINE_STEPS,
    "status": "Hold that request against the routes of the application, and the file's own check against the "
    "answer (`gatebench serve` keeps a server up).",
}
"""The same where a Locust file did, which nobody has held to a contract before."""


_LOCKED_SPREAD = 1.25
"""p90 within this ratio of p50: nearly every request takes the same time."""


def refusals(
    totals: Totals,
    workload: WorkloadMeta,
    plan: LevelPlan,
    server_cores: int,
    drift: Drift | None = None,
    details: Details = NONE,
    limit: CellResult | None = None,
) -> tuple[Refusal, ...]:
    """Every gate that a cell with slices fails, in the order of `GATES`.

    Args:
        totals: what the cell's slices add up to.
        workload: what was asked of the server.
        plan: how it was loaded.
        server_cores: how many cores the server had.
        drift: of the cell's rate within its blocks (`steadiness.drifts`); None where it cannot be judged.
        details: examples of the cell's failures.
        limit: the null responder in the same rounds (`limits.limit_of`); without it, the calibration counts.
    """
    shared = _shared_core(totals, plan, server_cores)
    found = (
        _wrong_body(totals, workload, details),
        _errors(totals, workload, details),
        _workers(totals),
        _ports(totals),
        _steal(totals, plan),
        shared,
        _throttled(totals),
        _generator_busy(totals, workload, plan),
        _ceiling(totals, plan, server_cores, limit),
        _send_lag(totals),
        _rate_missed(totals, plan),
        _reuse(totals, workload),
        _backlog(totals),
        _unsteady(plan, drift),
        _uneven(totals, workload, plan),
        _server_idle(totals, workload, plan, server_cores),
        _few_requests(totals, plan),
        _few_turns(totals, workload),
    )
    return tuple(
        refusal
        for refusal in found
        if refusal is not None and not (shared and _is_others_doing(refusal, totals, plan, server_cores))
    )


def _is_others_doing(refusal: Refusal, totals: Totals, plan: LevelPlan, server_cores: int) -> bool:
    """Whether those who had the server's core explain a refusal, so that the server is not to be blamed.

    They explain a rate that the server would have CPU time for if it had its cores to itself, an idle server
    on a core that was full, and a drift of its rate.
    """
    full = SERVER_IDLE.limit * server_cores
    if refusal.gate is RATE_MISSED:
        return (plan.rate_per_s or 0.0) * (totals.cpu_us_per_request or 0.0) / 1e6 < full
    if refusal.gate is SERVER_IDLE:
        return (totals.cpu_share or 0.0) + (totals.others_share or 0.0) >= full
    return refusal.gate is UNSTEADY


def _wrong_body(totals: Totals, workload: WorkloadMeta, details: Details) -> Refusal | None:
    wrong = totals.errors["body"]
    if not wrong:
        return None
    amount = f"{wrong:,} of {totals.attempts:,} answers"
    first = _first(details, ("body",))
    if workload.locustfile:
        text = f"{amount} did not pass the Locust file's own checks; none may fail.{first}"
        step = "Look at that check in the file, and at the answer (`gatebench serve` keeps a server up)."
        return Refusal(WRONG_BODY, wrong, text, step)
    return Refusal(
        WRONG_BODY, wrong, f"{amount} had another body than the contract's; none is allowed.{first}"
    )


def _errors(totals: Totals, workload: WorkloadMeta, details: Details) -> Refusal | None:
    limit = ERRORS.limit
    counted = {kind: totals.errors[kind] for kind in _PROTOCOL_ERRORS}
    timeouts = totals.errors["timeout"]
    share = sum(counted.values()) / totals.attempts if totals.attempts else 0.0
    if timeouts == 0 and share <= limit:
        return None
    kinds = {kind: count for kind, count in (*counted.items(), ("timeout", timeouts)) if count}
    listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    failed = sum(kinds.values())
    measured = failed / totals.attempts
    text = (
        f"{failed:,} of {totals.attempts:,} requests failed ({measured:.3%}: {listed}); "
        f"allowed are {limit:.2%} and no timeout.{_first(details, kinds)}"
    )
    return Refusal(ERRORS, measured, text, _steps(kinds, workload), finding=measured <= MOST_FAILED)


def _first(details: Details, kinds: Iterable[str]) -> str:
    """A sentence with the first failure of each kind; empty for a run that kept none."""
    firsts = [f"{kind}: {details.examples[kind][0]}" for kind in kinds if details.examples.get(kind)]
    return f" First {'; first '.join(firsts)}." if firsts else ""


def _steps(kinds: Mapping[str, int], workload: WorkloadMeta) -> str:
    """What to do about each kind of failure, the most frequent first."""
    steps = _LOCUST_FILE_STEPS if workload.locustfile else _ENGINE_STEPS
    return " ".join(dict.fromkeys(steps[kind] for kind in sorted(kinds, key=lambda kind: -kinds[kind])))


def _workers(totals: Totals) -> Refusal | None:
    if totals.workers_missing <= WORKERS.limit:
        return None
    text = f"{totals.workers_missing} Locust workers gave no count or a late one, so less load was sent."
    return Refusal(WORKERS, totals.workers_missing, text)


def _ports(totals: Totals) -> Refusal | None:
    limit = PORTS.limit
    if totals.no_port:
        text = f"{totals.no_port:,} connections found no free local port."
        return Refusal(PORTS, totals.no_port, text)
    if totals.port_use is None or totals.port_use <= limit:
        return None
    text = f"{totals.port_use:.0%} of the local ports towards the server were taken (limit {limit:.0%})."
    return Refusal(PORTS, totals.port_use, text)


def _steal(totals: Totals, plan: LevelPlan) -> Refusal | None:
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


def _shared_core(totals: Totals, plan: LevelPlan, server_cores: int) -> Refusal | None:
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


def _throttled(totals: Totals) -> Refusal | None:
    """A quota is spent in part of each of its periods, which are as long as a slice: no share is harmless."""
    share = totals.throttled_share
    if share is None or share <= THROTTLED.limit:
        return None
    text = (
        f"a CPU quota held up the server's container for {share:.2%} of the slices' time (none is allowed), "
        "so the figure may be the quota's and not the server's."
    )
    return Refusal(THROTTLED, share, text)


def _ceiling(totals: Totals, plan: LevelPlan, server_cores: int, limit: CellResult | None) -> Refusal | None:
    if plan.model != "closed" or _is_the_servers(totals, server_cores):
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


def _is_the_servers(totals: Totals, server_cores: int) -> bool:
    """Whether the server itself limited its rate: its cores were full, and the engine had time left.

    Both are seen in the very slices of the figure, so nothing that another responder does can say more.
    """
    full = (totals.cpu_share or 0.0) >= SERVER_IDLE.limit * server_cores
    return full and totals.busy_share <= GENERATOR_BUSY.limit


def _send_lag(totals: Totals) -> Refusal | None:
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


def _rate_missed(totals: Totals, plan: LevelPlan) -> Refusal | None:
    limit = RATE_MISSED.limit
    if not plan.paced or totals.missed_share <= limit:
        return None
    text = (
        f"overloaded: at {plan.rate_per_s or 0:,.0f} requests/s the server was {totals.missed_share:.1%} "
        f"behind at the end of the median slice (limit {limit:.0%}), so its response time grows with the "
        "length of the slice and says nothing else."
    )
    return Refusal(RATE_MISSED, totals.missed_share, text)


def _uneven(totals: Totals, workload: WorkloadMeta, plan: LevelPlan) -> Refusal | None:
    limit = UNEVEN.limit
    planned = plan.connections * plan.window
    if totals.in_flight is None or workload.exchange == "broadcast":
        return None
    # A connection rests after a failure, and one that the kernel did not let in waits: none is in flight.
    if any(totals.errors.values()) or totals.listen_drops:
        return None
    off = totals.in_flight / planned - 1
    if abs(off) <= limit:
        return None
    text = (
        f"throughput times mean latency gives {totals.in_flight:.1f} requests in flight, and {planned} were "
        f"({off:+.0%}; limit {limit:.0%}), so some response times are missing from the figures: connections "
        "are not served alike, or the server stalls for a good part of a slice."
    )
    return Refusal(UNEVEN, off, text)


def _generator_busy(totals: Totals, workload: WorkloadMeta, plan: LevelPlan) -> Refusal | None:
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


def _reuse(totals: Totals, workload: WorkloadMeta) -> Refusal | None:
    """Servers may recycle connections: Apache by default after 100 requests, Hypercorn after 1,000.

    Opening one costs about as much as three answers. At one in 50 that is 6 % of the figure; with more, the
    figure becomes that of `close`.
    """
    limit = REUSE.limit
    if workload.transport == "close" or not totals.closed_by_server:
        return None
    answers = totals.requests / totals.closed_by_server
    if answers > limit:
        return None
    text = (
        f"the server closed {totals.closed_by_server:,} connections during the slices, one for every "
        f"{answers:.1f} answers (over {limit:.0f} are needed)"
    )
    if workload.transport == "websocket":
        step = "Read the server's log under logs/ for why it closes WebSockets: a limit, a ping, an error."
        return Refusal(REUSE, answers, f"{text}.", step)
    if workload.transport in workload.needs:
        return Refusal(REUSE, answers, f"{text}, although it declares {workload.transport}.")
    step = (
        'Set the server\'s keep-alive so that connections stay open, or write needs = ["keep-alive"] into '
        "workload.toml, so that servers without it take no part."
    )
    return Refusal(REUSE, answers, f"{text}.", step)


def _backlog(totals: Totals) -> Refusal | None:
    if totals.listen_drops <= BACKLOG.limit:
        return None
    text = (
        f"the kernel dropped {totals.listen_drops:,} connection attempts during the slices; each client then "
        "waits a second or more before it tries again, so fewer connections than planned were at work."
    )
    return Refusal(BACKLOG, totals.listen_drops, text)


def _unsteady(plan: LevelPlan, drift: Drift | None) -> Refusal | None:
    """Only a closed loop: elsewhere the load sets the rate, or the search does."""
    limit = UNSTEADY.limit
    if plan.model != "closed" or drift is None or not drift.certain:
        return None
    if max(drift.ratio, 1 / drift.ratio) <= 1 + limit:
        return None
    against = ", against the servers of the same rounds" if drift.shared else ""
    text = (
        f"from the first to the last third of a block the rate moves by {drift.ratio - 1:+.0%} "
        f"({drift.low - 1:+.0%} to {drift.high - 1:+.0%} over {drift.blocks} blocks; limit {limit:.0%})"
        f"{against}, so the figure depends on when it is read."
    )
    return Refusal(UNSTEADY, drift.ratio - 1, text)


def _server_idle(
    totals: Totals, workload: WorkloadMeta, plan: LevelPlan, server_cores: int
) -> Refusal | None:
    limit = SERVER_IDLE.limit
    if not workload.saturates or totals.cpu_share is None:
        return None
    share = totals.cpu_share / server_cores
    if share >= limit:
        return None
    text = (
        f"the server used {share:.0%} of its cores (at least {limit:.0%} are needed), so this is not its "
        f"capacity; {_what_idleness_shows(totals, plan, server_cores)}"
    )
    step = (
        "Let more users pause less, or write saturates = false into workload.toml if pauses are meant to set "
        "the rate."
    )
    return Refusal(SERVER_IDLE, share, text, step if workload.locustfile else "")


def _what_idleness_shows(totals: Totals, plan: LevelPlan, server_cores: int) -> str:
    """What an idle server's figure is instead of a capacity."""
    p50, p90 = totals.percentiles.values["p50"], totals.percentiles.values["p90"]
    if p50 is None or p90 is None or totals.cpu_us_per_request is None:
        return "too few latencies were measured to tell why."
    # With every connection in line for a busy server, an answer takes the CPU time of the whole line, which
    # several cores work off side by side.
    expected_us = totals.cpu_us_per_request * plan.connections / server_cores
    if p90 <= _LOCKED_SPREAD * p50 and p50 > 2 * expected_us:
        return (
            f"latency-locked: every request takes {p50 / 1000:.1f} ms, of which the server computes "
            f"{totals.cpu_us_per_request / 1000:.2f} ms (a delayed acknowledgement takes 40 ms)."
        )
    return (
        f"its {plan.connections} connections wait {p50 / 1000:.1f} ms (p50) for something that is not CPU: "
        "a lock, another process, the client's next move, too few connections, or others on its core."
    )


def _few_requests(totals: Totals, plan: LevelPlan) -> Refusal | None:
    limit = FEW_REQUESTS.limit
    if plan.model == "idle" or totals.typical_completed >= limit:
        return None
    text = (
        f"half of the slices hold {totals.typical_completed:.0f} correct answers or fewer "
        f"(at least {limit:.0f} are needed)."
    )
    return Refusal(FEW_REQUESTS, totals.typical_completed, text)


def _few_turns(totals: Totals, workload: WorkloadMeta) -> Refusal | None:
    """Pauses are drawn at random, so a rate over few of them is one of many that the file may have."""
    limit = FEW_TURNS.limit
    if not totals.pause_variance or not totals.counted:
        return None
    open_share = _LIKELY * math.sqrt(totals.pause_variance) / totals.counted
    if open_share <= limit:
        return None
    # The variance grows with the time, its share of the count falls with the root of it. A longer slice gets
    # fewer rounds of the same budget, but one in each block it always gets.
    needed_s = totals.counted_s * (open_share / limit) ** 2 / totals.blocks
    text = (
        f"over {totals.counted_s:.0f} s of load the users' pauses alone leave the rate open by "
        f'±{open_share:.0%} (95 times of 100; limit ±{limit:.0%}); slice = "{math.ceil(needed_s)}s" in the '
        f"workload.toml of {workload.name} would do with this plan of {_blocks(totals.blocks)}."
    )
    return Refusal(FEW_TURNS, open_share, text)


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
