"""The typed view of a run's `run.json`: plan, machine, subjects and workloads."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gatebench.errors import GatebenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import UnionType

SCHEMAS = (1, 2)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What the plan asked of one level of one workload.

    Attributes:
        rounds: slices of each subject in one block.
        slice_s: length of one slice in seconds.
        model: how it is loaded; see `gatebench.model.Level`, as for `window`, `rate_per_s` and
            `capacity_share`.
        objective: what a search keeps to, such as `p99-10ms`, or None.
        ceiling_per_s: what the engine did against the null responder; None where that was not asked.
    """

    workload: str
    level: str
    connections: int
    rounds: int
    slice_s: float
    model: str = "closed"
    window: int = 1
    rate_per_s: float | None = None
    capacity_share: float | None = None
    objective: str | None = None
    ceiling_per_s: float | None = None

    @property
    def paced(self) -> bool:
        """Whether every subject was sent the same rate."""
        return self.model in {"open", "ladder"}

    @property
    def paces(self) -> bool:
        """Whether requests left at their moments, at one rate for all or at the rate of a search."""
        return self.paced or self.model == "objective"

    @property
    def aim(self) -> str:
        """`p99 within 10 ms`, which is what a search keeps to; empty elsewhere."""
        return " within ".join((self.objective or "").split("-")).replace("ms", " ms")

    @property
    def load(self) -> str:
        """How it is loaded, in words."""
        if self.model == "locust":
            return f"{self.connections} Locust users"
        if self.model == "idle":
            return f"up to {self.connections:,} idle connections"
        connections = f"{self.connections} connections"
        if self.rate_per_s is not None:
            return f"{self.rate_per_s:,.0f} requests/s over {connections}"
        if self.model == "objective":
            return f"{self.aim} over {connections}"
        return f"{connections}, {self.window} messages in flight on each" if self.window > 1 else connections


@dataclass(frozen=True, slots=True)
class SubjectMeta:
    """One subject as it was registered when the run started.

    Attributes:
        command: argument vector as declared, placeholders unfilled.
        version: the server's version, None where it could not be found.
        ready: False where the subject could not be installed; `reason` then says why and how to mend it.
        color: the user's own color `#rrggbb`, or None.
    """

    id: str
    server: str
    variant: str
    app: str
    interface: str
    tuned: bool
    why: str
    homepage: str
    supports: frozenset[str]
    command: tuple[str, ...]
    version: str | None
    packages: Mapping[str, str]
    color: str | None
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class WorkloadMeta:
    """One workload as it was registered when the run started.

    Attributes:
        saturates: whether its figure is meant as a capacity.
        service_s: time a request waits by design, in seconds.
        steps: idle: the numbers of connections.
        arrivals: open loops: `poisson` or `constant`.
        reference: ladder: the subject whose capacity the rates are shares of; empty elsewhere.
    """

    name: str
    description: str
    transport: str
    request: Mapping[str, Any]
    needs: frozenset[str]
    saturates: bool
    service_s: float
    steps: tuple[int, ...] = ()
    arrivals: str = "poisson"
    reference: str = ""

    @property
    def exchange(self) -> str:
        """What a WebSocket is for; empty for HTTP."""
        return str(self.request.get("exchange") or ("echo" if self.transport == "websocket" else ""))

    @property
    def body_bytes(self) -> int:
        """Bytes of the bodies of one request and its answer; 0 where they are not known."""
        return int(self.request.get("body_bytes") or 0) + int(self.request.get("answer_bytes") or 0)

    @property
    def waits(self) -> bool:
        """Whether its requests wait by design instead of computing."""
        return self.service_s > 0


@dataclass(frozen=True, slots=True)
class RunMeta:
    """Everything of `run.json` that figures, charts and the report use."""

    schema: int
    run: str
    started: str
    gatebench: str
    command: str
    runner: str
    runner_reason: str
    profile: str
    seed: int
    budget_s: float
    exclusive: bool
    blocks: int
    levels: tuple[LevelPlan, ...]
    cores: Mapping[str, tuple[int, ...]]
    workers: int
    threads: int
    machine: Mapping[str, str | int | float | bool | None]
    versions: Mapping[str, str]
    hashes: Mapping[str, str]
    notices: tuple[str, ...]
    subjects: tuple[SubjectMeta, ...]
    workloads: tuple[WorkloadMeta, ...]

    @property
    def server_cores(self) -> int:
        """Number of cores that every server had."""
        return len(self.cores["server"])

    def subject(self, subject_id: str) -> SubjectMeta:
        """The subject with that ID."""
        return next(subject for subject in self.subjects if subject.id == subject_id)

    def workload(self, name: str) -> WorkloadMeta:
        """The workload with that name."""
        return next(workload for workload in self.workloads if workload.name == name)


@dataclass(frozen=True, slots=True)
class _Fields:
    """A JSON object whose missing keys and wrong types become errors that name the file and the key."""

    file: Path
    where: str
    data: Mapping[str, Any]

    def get(self, key: str, kind: type[T] | UnionType) -> T:
        name = f"{self.where}{key}"
        if key not in self.data:
            raise GatebenchError(f"{self.file}: `{name}` is missing; the file is not what a run writes")
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in {int, int | float}):
            raise GatebenchError(f"{self.file}: `{name}` has the wrong type {type(value).__name__}")
        return value

    def number(self, key: str) -> float:
        value: float = self.get(key, int | float)
        return float(value)

    def optional_text(self, key: str) -> str | None:
        value: str | None = self.get(key, str | None)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(item) for item in self.get(key, list))

    def text_map(self, key: str) -> dict[str, str]:
        return {str(name): str(value) for name, value in self.get(key, dict).items()}

    def inner(self, key: str) -> _Fields:
        return _Fields(self.file, f"{self.where}{key}.", self.get(key, dict))

    def items(self, key: str) -> list[_Fields]:
        entries: list[Any] = self.get(key, list)
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise GatebenchError(f"{self.file}: `{self.where}{key}[{index}]` is not an object")
        return [
            _Fields(self.file, f"{self.where}{key}[{index}].", entry) for index, entry in enumerate(entries)
        ]


def _level(fields: _Fields, ceilings: Mapping[tuple[str, str], float]) -> LevelPlan:
    key = fields.get("workload", str), fields.get("level", str)
    since_schema_2 = {}
    if "model" in fields.data:
        since_schema_2 = {
            "model": fields.get("model", str),
            "window": fields.get("window", int),
            "rate_per_s": fields.get("rate_per_s", int | float | None),
            "capacity_share": fields.get("capacity_share", int | float | None),
            "objective": fields.get("objective", str | None),
        }
    return LevelPlan(
        workload=fields.get("workload", str),
        level=fields.get("level", str),
        connections=fields.get("connections", int),
        rounds=fields.get("rounds", int),
        slice_s=fields.number("slice_s"),
        ceiling_per_s=ceilings.get(key),
        **since_schema_2,
    )


def _ceilings(fields: _Fields) -> dict[tuple[str, str], float]:
    """(workload, level) → what the engine did against the null responder: the median over its slices."""
    if "ceilings" not in fields.data:
        return {}
    return {
        (each.get("workload", str), each.get("level", str)): statistics.median(each.get("rates_per_s", list))
        for each in fields.items("ceilings")
    }


def _subject(fields: _Fields) -> SubjectMeta:
    return SubjectMeta(
        id=fields.get("id", str),
        server=fields.get("server", str),
        variant=fields.get("variant", str),
        app=fields.get("app", str),
        interface=fields.get("interface", str),
        tuned=fields.get("class", str) == "tuned",
        why=fields.get("why", str),
        homepage=fields.get("homepage", str),
        supports=frozenset(fields.texts("supports")),
        command=fields.texts("command"),
        version=fields.optional_text("version"),
        packages=fields.text_map("packages"),
        color=fields.optional_text("color"),
        ready=fields.get("status", str) == "ready",
        reason=fields.get("reason", str),
    )


def _workload(fields: _Fields) -> WorkloadMeta:
    return WorkloadMeta(
        name=fields.get("name", str),
        description=fields.get("description", str),
        transport=fields.get("transport", str),
        request=fields.get("request", dict),
        needs=frozenset(fields.texts("needs")),
        saturates=fields.get("saturates", bool),
        service_s=fields.number("service_s"),
        steps=tuple(fields.data.get("steps", ())),
        arrivals=fields.data.get("arrivals", "poisson"),
        reference=fields.data.get("reference") or "",
    )


def parse(text: str, file: Path) -> RunMeta:
    """The typed content of a `run.json`; `file` is only named in errors.

    Raises:
        GatebenchError: not JSON, an unknown schema version, a missing key or a value of the wrong type.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise GatebenchError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise GatebenchError(f"{file}: not a JSON object")
    if data.get("schema") not in SCHEMAS:
        known = " and ".join(map(str, SCHEMAS))
        raise GatebenchError(
            f"{file}: schema {data.get('schema')!r} is unknown; this Gatebench reads schema {known}. "
            "Use the Gatebench version that made the run"
        )
    fields = _Fields(file, "", data)
    plan = fields.inner("plan")
    cores = fields.inner("cores")
    ceilings = _ceilings(fields)
    return RunMeta(
        schema=fields.get("schema", int),
        run=fields.get("run", str),
        started=fields.get("started", str),
        gatebench=fields.get("gatebench", str),
        command=fields.get("command", str),
        runner=fields.get("runner", str),
        runner_reason=fields.get("runner_reason", str),
        profile=fields.get("profile", str),
        seed=fields.get("seed", int),
        budget_s=fields.number("budget_s"),
        exclusive=fields.get("exclusive", bool),
        blocks=plan.get("blocks", int),
        levels=tuple(_level(level, ceilings) for level in plan.items("levels")),
        cores={role: tuple(cores.get(role, list)) for role in ("server", "engine", "lab")},
        workers=fields.get("workers", int),
        threads=fields.get("threads", int),
        machine=fields.get("machine", dict),
        versions=fields.text_map("versions"),
        hashes=fields.text_map("hashes"),
        notices=fields.texts("notices"),
        subjects=tuple(_subject(subject) for subject in fields.items("subjects")),
        workloads=tuple(_workload(workload) for workload in fields.items("workloads")),
    )
