"""The gates: what each refuses, its limit, and the next step; `refusals` holds cells against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


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
    "Look at the first failure of each kind, which the reason quotes with the step that fits it.",
)
WRONG_BODY = Gate(
    "wrong-body",
    "any answer whose body is not the contract's, byte for byte",
    0,
    "Run `gatebench verify` for that server.",
)
GENERATOR_BUSY = Gate(
    "generator-busy",
    "the engine's loop is busy over 85 % of the slice time (70 % in an open loop), in the median slice",
    0.85,
    "Give the engine more cores (--engines) where the machine has them, or send less.",
)
CEILING = Gate(
    "ceiling",
    "closed loop: the figure is over half of what the same engine does against the calibration's responder",
    0.5,
    "Where `gatebench calibrate` shows the engine to be the limit, give it more cores (--engines).",
)
UNEVEN = Gate(
    "uneven",
    "closed loop: throughput times mean latency is off the number of requests in flight by over 5 %",
    0.05,
    "Measure with fewer connections, or with longer slices.",
)
RATE_MISSED = Gate(
    "rate-missed",
    "open loop: the median slice leaves over 1 % of the offered requests unanswered, beside those in flight",
    0.01,
    "The server is overloaded at this rate; measure it at a lower one.",
)
SEND_LAG = Gate(
    "send-lag",
    "open loop: p99 of how late a request left with a connection free is over 0.5 ms and over 10 % of p50; "
    "those for which the engine was held up are left out before, where they are a fifth at the most",
    500,
    "Leave the engine's core to the engine, or lower the rate.",
)
PORTS = Gate(
    "ports",
    "over 80 % of the local ports towards the server are taken, or a connection found none",
    0.8,
    "Widen net.ipv4.ip_local_port_range, or measure with shorter slices.",
)
FILES = Gate(
    "files",
    "the level needs more open files than the engine or the server may have (the cell is `failed`)",
    0,
    "Raise the limit (ulimit -n; of containers, the engine's default-ulimits) and start again.",
)
STEAL = Gate(
    "steal",
    "the hypervisor took over 5 % of the time of the measured cores in more than a fifth of the slices, of "
    "three or four in more than one (fewer are left out), or of all slices that count",
    0.05,
    "Measure on a machine that is less shared, or at another time.",
)
SHARED_CORE = Gate(
    "shared-core",
    "others had over 5 % of the server's cores in more than a fifth of the slices, of three or four in more "
    "than one (fewer are left out)",
    0.2,
    "Measure it with --exclusive, or apart from servers that work at rest; keep other programs off the "
    "server's cores (taskset), or take another machine.",
)
THROTTLED = Gate(
    "throttled",
    "a CPU quota held up the server's container during the slices, for any time at all",
    0,
    "Remove the container's CPU quota (cpus, cpu_quota) and pin it to its cores instead (cpuset).",
)
WORKERS = Gate(
    "workers",
    "a Locust worker was lost, or late, so that less load was sent than planned",
    0,
    "Read logs/load.log, which names the worker, and start the run again.",
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
UNSTEADY = Gate(
    "unsteady",
    "closed loop: from the first to the last third of the blocks the rate moves by over 5 %, beyond chance",
    0.05,
    "Give the workload a longer warm-up, or look for what grows or fills up in the server.",
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

FEW_TURNS = Gate(
    "few-turns",
    "a Locust file's users went through so few pauses that these alone leave over 5 % of the rate to chance",
    0.05,
    "Until then the rate is one of this run's pauses, and not the one that Locust alone would settle at.",
)

GATES: tuple[Gate, ...] = (
    CONTRACT,
    DIED,
    WRONG_BODY,
    ERRORS,
    WORKERS,
    FILES,
    PORTS,
    STEAL,
    SHARED_CORE,
    THROTTLED,
    GENERATOR_BUSY,
    CEILING,
    SEND_LAG,
    RATE_MISSED,
    REUSE,
    BACKLOG,
    UNSTEADY,
    UNEVEN,
    SERVER_IDLE,
    FEW_REQUESTS,
    FEW_TURNS,
)

FEWEST_TO_LEAVE_OUT_OF = 3


def most_left_out(slices: int) -> int:
    """How many of a cell's slices may be left out for one kind of disturbance.

    A fifth of them; of three or four, one. The rule looks at no answer, so that what is left is no choice.
    """
    return max(int(slices * SHARED_CORE.limit), int(slices >= FEWEST_TO_LEAVE_OUT_OF))
