"""The typed view of a run's `run.json`: plan, machine, subjects and workloads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from gatebench.errors import GatebenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import UnionType

SCHEMA = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What the plan asked of one level of one workload.

    Attributes:
        rounds: slices of each subject in one block.
        slice_s: length of one slice in seconds.
    """

    workload: str
    level: str
    connections: int
    rounds: int
    slice_s: float


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
    """

    name: str
    description: str
    transport: str
    request: Mapping[str, Any]
    needs: frozenset[str]
    saturates: bool
    service_s: float

    @property
    def waits(self) -> bool:
        """Whether its requests wait by design instead of computing."""
        return self.service_s > 0


@dataclass(frozen=True, slots=True)
class RunMeta:
    """Everything of `run.json` that figures, charts and the report use."""

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


def _level(fields: _Fields) -> LevelPlan:
    return LevelPlan(
        workload=fields.get("workload", str),
        level=fields.get("level", str),
        connections=fields.get("connections", int),
        rounds=fields.get("rounds", int),
        slice_s=fields.number("slice_s"),
    )


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
    if data.get("schema") != SCHEMA:
        raise GatebenchError(
            f"{file}: schema {data.get('schema')!r} is unknown; this Gatebench reads schema {SCHEMA}. "
            "Use the Gatebench version that made the run"
        )
    fields = _Fields(file, "", data)
    plan = fields.inner("plan")
    cores = fields.inner("cores")
    return RunMeta(
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
        levels=tuple(_level(level) for level in plan.items("levels")),
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
