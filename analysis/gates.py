"""The validity gates: each compares one measured number of a cell with a limit and says what to do next.

METHOD.md explains them. This module decides those that follow from a cell's slices; `contract` and `died` are
recorded by the run itself and are listed here so that the report can explain them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.cells import Totals
    from analysis.meta import LevelPlan, WorkloadMeta


@dataclass(frozen=True, slots=True)
class Gate:
    """One rule.

    Attributes:
        limit: what the measured number may reach.
    """

    code: str
    fails_when: str
    limit: float
    next_step: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gate that a cell failed."""

    gate: Gate
    measured: float
    text: str

    @property
    def reason(self) -> str:
        """Code, finding and next step in one line, as `summary.json` keeps it."""
        return f"{self.gate.code}: {self.text} {self.gate.next_step}"


CONTRACT = Gate(
    "contract",
    "the verification before a block finds a difference to the contract (the cell is `failed`)",
    0,
    "Run `gatebench verify` for that server and mend every difference it lists.",
)
DIED = Gate(
    "died",
    "a process of the server ended or was restarted during a block (the cell is `failed`)",
    0,
    "Read the end of the server's log under logs/.",
)
ERRORS = Gate(
    "errors",
    "any timeout, or more than 0.01 % of the requests refused, reset, cut short or of a wrong status",
    0.0001,
    "Read the server's log under logs/; a longer backlog or fewer connections may be needed.",
)
WRONG_BODY = Gate(
    "wrong-body",
    "any answer whose body is not the contract's, byte for byte",
    0,
    "Run `gatebench verify` for that server.",
)
GENERATOR_BUSY = Gate(
    "generator-busy",
    "the engine's loop is busy over 85 % of the slice time, in the median slice",
    0.85,
    "Give the engine more cores, or the server fewer.",
)
SERVER_IDLE = Gate(
    "server-idle",
    "a workload meant to saturate left the server under 90 % of its cores, over all slices",
    0.90,
    "Compare the server's settings with its documentation, or measure with more connections.",
)
REUSE = Gate(
    "reuse",
    "a server that declares the transport closes a connection for every 50 answers or fewer",
    50,
    "Set the server's keep-alive so that connections stay open, or do not declare it in server.toml.",
)
BACKLOG = Gate(
    "backlog",
    "the kernel dropped connection attempts because a listen queue was full",
    0,
    "Give the server a longer backlog, or measure with fewer connections.",
)
FEW_REQUESTS = Gate(
    "too-few-samples",
    "the median slice holds fewer than 10 correct answers, so that whole requests decide the rate",
    10,
    "Make the workload's slice longer.",
)

GATES: tuple[Gate, ...] = (
    CONTRACT,
    DIED,
    WRONG_BODY,
    ERRORS,
    GENERATOR_BUSY,
    REUSE,
    BACKLOG,
    SERVER_IDLE,
    FEW_REQUESTS,
)

_PROTOCOL_ERRORS = ("refused", "reset", "short", "status")
_LOCKED_SPREAD = 1.25
"""p90 within this ratio of p50: nearly every request takes the same time."""


def refusals(
    totals: Totals, workload: WorkloadMeta, plan: LevelPlan, server_cores: int
) -> tuple[Refusal, ...]:
    """Every gate that a cell with slices fails, in the order of `GATES`."""
    found = (
        _wrong_body(totals),
        _errors(totals),
        _generator_busy(totals),
        _reuse(totals, workload),
        _backlog(totals),
        _server_idle(totals, workload, plan, server_cores),
        _few_requests(totals),
    )
    return tuple(refusal for refusal in found if refusal is not None)


def _wrong_body(totals: Totals) -> Refusal | None:
    wrong = totals.errors["body"]
    if not wrong:
        return None
    text = f"{wrong:,} of {totals.attempts:,} answers had another body than the contract's; none is allowed."
    return Refusal(WRONG_BODY, wrong, text)


def _errors(totals: Totals) -> Refusal | None:
    limit = ERRORS.limit
    counted = {kind: totals.errors[kind] for kind in _PROTOCOL_ERRORS}
    timeouts = totals.errors["timeout"]
    share = sum(counted.values()) / totals.attempts if totals.attempts else 0.0
    if timeouts == 0 and share <= limit:
        return None
    listed = ", ".join(
        f"{count:,} {kind}" for kind, count in (*counted.items(), ("timeout", timeouts)) if count
    )
    failed = sum(counted.values()) + timeouts
    measured = failed / totals.attempts
    text = (
        f"{failed:,} of {totals.attempts:,} requests failed ({measured:.3%}: {listed}); "
        f"allowed are {limit:.2%} and no timeout."
    )
    return Refusal(ERRORS, measured, text)


def _generator_busy(totals: Totals) -> Refusal | None:
    limit = GENERATOR_BUSY.limit
    if totals.busy_share <= limit:
        return None
    text = (
        f"the load engine was busy {totals.busy_share:.0%} of the time (limit {limit:.0%}), so the figure "
        "may be its own and not the server's."
    )
    return Refusal(GENERATOR_BUSY, totals.busy_share, text)


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
        f"{answers:.1f} answers (over {limit:.0f} are needed), although it declares {workload.transport}."
    )
    return Refusal(REUSE, answers, text)


def _backlog(totals: Totals) -> Refusal | None:
    if totals.listen_drops <= BACKLOG.limit:
        return None
    text = (
        f"the kernel dropped {totals.listen_drops:,} connection attempts during the slices; each client then "
        "waits a second or more before it tries again, so fewer connections than planned were at work."
    )
    return Refusal(BACKLOG, totals.listen_drops, text)


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
        f"capacity; {_what_idleness_shows(totals, plan)}"
    )
    return Refusal(SERVER_IDLE, share, text)


def _what_idleness_shows(totals: Totals, plan: LevelPlan) -> str:
    """What an idle server's figure is instead of a capacity."""
    p50, p90 = totals.percentiles.values["p50"], totals.percentiles.values["p90"]
    if p50 is None or p90 is None or totals.cpu_us_per_request is None:
        return "too few latencies were measured to tell why."
    # With every connection in line for a busy server, an answer takes the CPU time of the whole line.
    expected_us = totals.cpu_us_per_request * plan.connections
    if p90 <= _LOCKED_SPREAD * p50 and p50 > 2 * expected_us:
        return (
            f"latency-locked: every request takes {p50 / 1000:.1f} ms, of which the server computes "
            f"{totals.cpu_us_per_request / 1000:.2f} ms (a delayed acknowledgement takes 40 ms)."
        )
    return (
        f"its {plan.connections} connections wait {p50 / 1000:.1f} ms (p50) for something that is not CPU: "
        "a lock, another process, the client's next move, too few connections, or others on its core."
    )


def _few_requests(totals: Totals) -> Refusal | None:
    limit = FEW_REQUESTS.limit
    if totals.typical_completed >= limit:
        return None
    text = (
        f"half of the slices hold {totals.typical_completed:.0f} correct answers or fewer "
        f"(at least {limit:.0f} are needed)."
    )
    return Refusal(FEW_REQUESTS, totals.typical_completed, text)
