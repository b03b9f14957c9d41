"""The gates: what each refuses, its limit, and the next step; `refusals` holds cells against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

FigureName: TypeAlias = Literal["rps", "latency_us", "cpu_us_per_request", "memory_mib"]
FIGURES: dict[FigureName, str] = {
    "rps": "throughput",
    "latency_us": "response times",
    "cpu_us_per_request": "CPU a request",
    "memory_mib": "memory",
}
"""The figures of a cell that gates speak of, each by itself, and what a person calls them."""
_EVERY: tuple[FigureName, ...] = tuple(FIGURES)
_TIMED: tuple[FigureName, ...] = ("rps", "latency_us")
_OF_CPU: tuple[FigureName, ...] = (*_TIMED, "cpu_us_per_request")


@dataclass(frozen=True, slots=True)
class Gate:
    """One rule.

    What the instrument or the machine spoiled is withheld. What the server does as it is configured is a
    finding: the figure is shown with its cause, and is in no place.

    Attributes:
        limit: what the measured number may reach.
        cause: what happened, in a few words for a chart.
        withholds: the figures that are not published.
        limits: the figures that are shown as limited.
    """

    code: str
    fails_when: str
    limit: float
    next_step: str
    cause: str
    withholds: tuple[FigureName, ...] = ()
    limits: tuple[FigureName, ...] = ()

    @property
    def speaks_of(self) -> str:
        """Which figures it withholds and which it limits, in words."""
        parts = ((self.withholds, "withheld"), (self.limits, "limited"))
        return "; ".join(f"{_in_words(figures)} {what}" for figures, what in parts if figures)


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


CONTRACT = Gate(
    "contract",
    "the verification before a block finds a difference to the contract (the cell is `failed`)",
    0,
    "Run `gatebench verify` for that server and mend every difference it lists.",
    "it broke the contract",
    withholds=_EVERY,
)
DIED = Gate(
    "died",
    "a process of the server ended or was restarted during a block (the cell is `failed`)",
    0,
    "Read the end of the server's log under logs/.",
    "a process of it died",
    withholds=_EVERY,
)
ERRORS = Gate(
    "errors",
    "any timeout, or more than 0.01 % of the requests refused, reset, cut short or of a wrong status; up to "
    "1 % that is a finding, and limits",
    0.0001,
    "Look at the first failure of each kind, which the reason quotes with the step that fits it.",
    "some of its requests failed",
    withholds=_EVERY,
    limits=_TIMED,
)
WRONG_BODY = Gate(
    "wrong-body",
    "any answer whose body is not, byte for byte, the one that the contract or the workload says, or that "
    "was learned",
    0,
    "Run `gatebench verify` for that server; of an application of your own, declare what varies (VARIES=).",
    "wrong answers",
    withholds=_EVERY,
)
GENERATOR_BUSY = Gate(
    "generator-busy",
    "the engine's loop is busy over 85 % of the slice time (70 % in an open loop), in the median slice",
    0.85,
    "Give the engine more cores (--engines) where the machine has them, or send less.",
    "the load engine was busy",
    withholds=_TIMED,
)
CEILING = Gate(
    "ceiling",
    "closed loop: the figure is over half of what the same engine does against the null responder in the "
    "same rounds, and the server's cores are not full, or the engine is busy beyond the limit of "
    "`generator-busy`",
    0.5,
    "Where `gatebench calibrate` shows the engine to be the limit, give it more cores (--engines).",
    "too near to the load engine's own limit",
    withholds=_TIMED,
)
UNEVEN = Gate(
    "uneven",
    "closed loop: throughput times mean latency is off the number of requests in flight by over 5 %",
    0.05,
    "Measure with fewer connections, or with longer slices.",
    "it serves its connections unevenly",
    limits=("latency_us",),
)
RATE_MISSED = Gate(
    "rate-missed",
    "open loop: the median slice leaves over 1 % of the offered requests unanswered, beside those in flight",
    0.01,
    "The server is overloaded at this rate; measure it at a lower one.",
    "overloaded at this rate",
    withholds=("latency_us",),
    limits=("rps",),
)
SEND_LAG = Gate(
    "send-lag",
    "open loop: p99 of how late a request left with a connection free is over 0.5 ms and over 10 % of p50; "
    "those for which the engine was held up are left out before, where they are a fifth at the most",
    500,
    "Leave the engine's core to the engine, or lower the rate.",
    "the load engine was late",
    withholds=("latency_us",),
)
PORTS = Gate(
    "ports",
    "over 80 % of the local ports towards the server are taken, or a connection found none",
    0.8,
    "Widen net.ipv4.ip_local_port_range, or measure with shorter slices.",
    "local ports ran out",
    withholds=_TIMED,
)
FILES = Gate(
    "files",
    "the level needs more open files than the engine or the server may have (the cell is `failed`)",
    0,
    "Raise the limit (ulimit -n; of containers, the engine's default-ulimits) and start again.",
    "too few open files",
    withholds=_EVERY,
)
STEAL = Gate(
    "steal",
    "the hypervisor took over 5 % of the time of the measured cores in more than a fifth of the slices, of "
    "three or four in more than one (fewer are left out), or of all slices that count",
    0.05,
    "Measure on a machine that is less shared, or at another time.",
    "the hypervisor took the core",
    withholds=_OF_CPU,
)
SHARED_CORE = Gate(
    "shared-core",
    "others had over 5 % of the server's cores in more than a fifth of the slices, of three or four in more "
    "than one (fewer are left out)",
    0.2,
    "Keep other programs off the server's cores (taskset), or take another machine; measure a server apart "
    "from those that work at rest, or one at a time (--exclusive).",
    "others had the server's core",
    withholds=_TIMED,
)
THROTTLED = Gate(
    "throttled",
    "a CPU quota held up the server's container during the slices, for any time at all",
    0,
    "Remove the container's CPU quota (cpus, cpu_quota) and pin it to its cores instead (cpuset).",
    "a CPU quota held it up",
    withholds=_TIMED,
)
WORKERS = Gate(
    "workers",
    "a Locust worker was lost, or late, so that less load was sent than planned",
    0,
    "Read logs/load.log, which names the worker, and start the run again.",
    "a Locust worker was lost",
    withholds=_OF_CPU,
)
DATABASE = Gate(
    "database",
    "the database that the application needs ended during a block (the cell is `failed`)",
    0,
    "Read the last lines that the reason quotes, and start the run again.",
    "its database ended",
    withholds=_EVERY,
)
DATABASE_BUSY = Gate(
    "database-busy",
    "the cores of the database were over 90 % busy over all slices, and those of the server were not; a "
    "finding where most of that was the database itself, which limits",
    0.90,
    "Ask less of the database in each request, or give the machine more cores: the database has those that "
    "neither the servers nor the engine need.",
    "its database was the limit",
    withholds=_TIMED,
    limits=_TIMED,
)
SERVER_IDLE = Gate(
    "server-idle",
    "a workload meant to saturate left the server under 90 % of its cores, over all slices",
    0.90,
    "Compare the server's settings with its documentation, or measure with more connections.",
    "it left its core idle",
    limits=("rps",),
)
REUSE = Gate(
    "reuse",
    "a server that declares the transport closes a connection for every 50 answers or fewer",
    50,
    "Set the server's keep-alive so that connections stay open, or do not declare it in server.toml.",
    "it closes its connections",
    limits=_OF_CPU,
)
UNSTEADY = Gate(
    "unsteady",
    "closed loop: from the first to the last third of the blocks the rate moves by over 5 %, beyond chance",
    0.05,
    "Give the workload a longer warm-up, or look for what grows or fills up in the server.",
    "its rate moves within a block",
    limits=_TIMED,
)
BACKLOG = Gate(
    "backlog",
    "the kernel dropped connection attempts because a listen queue was full",
    0,
    "Give the server a longer backlog, or measure with fewer connections.",
    "its listen queue overflowed",
    limits=_TIMED,
)
FEW_REQUESTS = Gate(
    "too-few-samples",
    "the median slice holds fewer than 10 correct answers, so that whole requests decide the rate",
    10,
    "Make the workload's slice longer.",
    "too few answers in a slice",
    withholds=("rps",),
)

FEW_TURNS = Gate(
    "few-turns",
    "a Locust file's users went through so few pauses that these alone leave over 5 % of the rate to chance",
    0.05,
    "Until then the rate is one of this run's pauses, and not the one that Locust alone would settle at.",
    "its users went through too few pauses",
    withholds=("rps",),
)

GATES: tuple[Gate, ...] = (
    CONTRACT,
    DIED,
    DATABASE,
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
    DATABASE_BUSY,
    SERVER_IDLE,
    FEW_REQUESTS,
    FEW_TURNS,
)

BY_CODE: dict[str, Gate] = {gate.code: gate for gate in GATES}
MOST_FAILED = 0.01
"""Share of failed requests up to which `errors` is a finding.

A request that failed has no response time, so p99 speaks of none that it could have a say in beyond that.
"""
FEWEST_TO_LEAVE_OUT_OF = 3


def _in_words(figures: tuple[FigureName, ...]) -> str:
    return "every figure" if figures == _EVERY else ", ".join(FIGURES[each] for each in figures)


def most_left_out(slices: int) -> int:
    """How many of a cell's slices may be left out for one kind of disturbance.

    A fifth of them; of three or four, one. The rule looks at no answer, so that what is left is no choice.
    """
    return max(int(slices * SHARED_CORE.limit), int(slices >= FEWEST_TO_LEAVE_OUT_OF))
