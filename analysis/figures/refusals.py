"""Holds a cell against every gate; a refusal says what was measured, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from analysis.figures import spoilt
from analysis.figures.gates import (
    BACKLOG,
    DATABASE_BUSY,
    ERRORS,
    FEW_REQUESTS,
    FEW_TURNS,
    MOST_FAILED,
    RATE_MISSED,
    REUSE,
    SERVER_IDLE,
    UNEVEN,
    UNSTEADY,
    WRONG_BODY,
    Refusal,
)
from analysis.reading.tables import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analysis.figures.cells import Totals
    from analysis.figures.results import CellResult
    from analysis.figures.steadiness import Drift
    from analysis.reading.tables import Details
    from gatebench.results.schema import LevelPlan, WorkloadMeta


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
    database_cores: int = 1,
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
        database_cores: how many cores the database had, where there was one.
    """
    busy = _database_busy(totals, plan, server_cores, database_cores)
    shared = spoilt.shared_core(totals, plan, server_cores)
    found = (
        _wrong_body(totals, workload, details),
        _errors(totals, workload, details),
        spoilt.workers(totals),
        spoilt.ports(totals),
        spoilt.steal(totals, plan),
        shared,
        spoilt.throttled(totals),
        spoilt.generator_busy(totals, workload, plan),
        spoilt.ceiling(totals, plan, server_cores, limit),
        spoilt.send_lag(totals),
        _rate_missed(totals, plan),
        _reuse(totals, workload),
        _backlog(totals),
        _unsteady(plan, drift),
        _uneven(totals, workload, plan),
        busy,
        None if busy else _server_idle(totals, workload, plan, server_cores),
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


def _database_busy(totals: Totals, plan: LevelPlan, server_cores: int, database_cores: int) -> Refusal | None:
    """A full database beside a server that is not: the figure is then the database's.

    Where both are full, the server is the limit as much as it would be alone: its core has no time left for
    another request. What else runs on the database's cores, such as the load engine on a machine of two
    cores, takes their time as well, so that all of it counts; where that is most of it, the figure is neither
    the server's nor the database's.
    """
    limit = DATABASE_BUSY.limit
    if plan.model == "idle" or totals.database_share is None:
        return None
    own = totals.database_share / database_cores
    share = max(own, (totals.database_core_share or 0.0) / database_cores)
    if share <= limit or (totals.cpu_share or 0.0) >= SERVER_IDLE.limit * server_cores:
        return None
    its_own = own >= share / 2
    cores = "core was" if database_cores == 1 else "cores were"
    whose = "the database's" if its_own else "that of whatever else had the database's time"
    text = (
        f"the database's {cores} busy for {share:.0%} of the time (limit {limit:.0%}), {own:.0%} with the "
        f"database itself, and the server used {(totals.cpu_share or 0.0) / server_cores:.0%} of its own: "
        f"the figure is {whose} and not the server's."
    )
    step = (
        ""
        if its_own
        else "Keep other programs off that core, or take a machine of more cores: on two, the database "
        "shares one with the load engine."
    )
    return Refusal(DATABASE_BUSY, share, text, step, finding=its_own)


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
