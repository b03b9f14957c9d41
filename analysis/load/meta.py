"""What a run says of itself in `run.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

from typing import TYPE_CHECKING, Any, TypeVar

from gatebench.words.errors import GatebenchError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import UnionType

from typing import TYPE_CHECKING

from gatebench.words.model import why_not

if TYPE_CHECKING:
    pass

from dataclasses import field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


import json
from typing import TYPE_CHECKING

from gatebench.words.model import takes_workers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_SHORT_ID = 12
"""Letters of an image's ID that Docker shows."""


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """A container image. A text is empty, and a size None, where it was not told.

    Attributes:
        id: `sha256:` and the digest of its configuration.
        base, base_id: the image that it is built on.
        size_mib: what it adds to its base.
        libc: such as `glibc 2.41`.
    """

    id: str = ""
    name: str = ""
    base: str = ""
    base_id: str = ""
    size_mib: float | None = None
    python: str = ""
    libc: str = ""

    @property
    def short_id(self) -> str:
        """The beginning of the ID, as Docker's own tables show it."""
        return self.id.removeprefix("sha256:")[:_SHORT_ID]


@dataclass(frozen=True, slots=True)
class EngineMeta:
    """The container engine; a text is empty where it was not told.

    Attributes:
        cgroup: version of control groups, 1 or 2.
        remote: whether it runs on another machine than the lab.
    """

    name: str = ""
    version: str = ""
    api: str = ""
    system: str = ""
    cgroup: str = ""
    storage: str = ""
    compose: str = ""
    remote: bool = False

    @property
    def short(self) -> str:
        """`Docker 20.10`."""
        return " ".join(filter(None, (self.name, ".".join(self.version.split(".")[:2]))))


@dataclass(frozen=True, slots=True)
class LimitsMeta:
    """What each server's container may use; None where it is not limited.

    Attributes:
        pids: processes and threads.
    """

    memory_mib: float | None = None
    pids: int | None = None


def image(fields: Fields, key: str) -> ImageMeta | None:
    """The image under a key; None where there is none."""
    if not fields.has(key):
        return None
    inner = fields.inner(key)
    return ImageMeta(
        id=_text(inner, "id"),
        name=_text(inner, "name"),
        base=_text(inner, "base"),
        base_id=_text(inner, "base_id"),
        size_mib=inner.number("size_mib") if inner.has("size_mib") else None,
        python=_text(inner, "python"),
        libc=_text(inner, "libc"),
    )


def engine(fields: Fields) -> EngineMeta | None:
    """The container engine of a run; None where its servers were processes."""
    if not fields.has("engine"):
        return None
    inner = fields.inner("engine")
    return EngineMeta(
        name=_text(inner, "name"),
        version=_text(inner, "version"),
        api=_text(inner, "api"),
        system=_text(inner, "system"),
        cgroup=_text(inner, "cgroup"),
        storage=_text(inner, "storage"),
        compose=_text(inner, "compose"),
        remote=inner.get("remote", bool) if inner.has("remote") else False,
    )


def limits(fields: Fields) -> LimitsMeta | None:
    """The limits of each server's container; None where its servers were processes."""
    if not fields.has("limits"):
        return None
    inner = fields.inner("limits")
    return LimitsMeta(
        memory_mib=inner.number("memory_mib") if inner.has("memory_mib") else None,
        pids=inner.get("pids", int) if inner.has("pids") else None,
    )


def _text(fields: Fields, key: str) -> str:
    return fields.get(key, str) if fields.has(key) else ""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object of a file.

    Attributes:
        file: only named in errors.
        where: path of the object in the file, such as `plan.levels[0].`; empty for the whole.
    """

    file: Path
    where: str
    data: Mapping[str, Any]

    def get(self, key: str, kind: type[T] | UnionType) -> T:
        """The value of a key.

        Raises:
            GatebenchError: it is missing or of another type; as does every other method.
        """
        name = f"{self.where}{key}"
        if key not in self.data:
            raise GatebenchError(f"{self.file}: `{name}` is missing; the file is not what a run writes")
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind in {int, int | float}):
            raise GatebenchError(f"{self.file}: `{name}` has the wrong type {type(value).__name__}")
        return value

    def number(self, key: str) -> float:
        """An integer or a real number."""
        value: float = self.get(key, int | float)
        return float(value)

    def optional_text(self, key: str) -> str | None:
        """A text or null."""
        value: str | None = self.get(key, str | None)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list, its items as texts."""
        return tuple(str(item) for item in self.get(key, list))

    def text_map(self, key: str) -> dict[str, str]:
        """An object, its values as texts."""
        return {str(name): str(value) for name, value in self.get(key, dict).items()}

    def inner(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self.file, f"{self.where}{key}.", self.get(key, dict))

    def items(self, key: str) -> list[Fields]:
        """A list of objects."""
        entries: list[Any] = self.get(key, list)
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise GatebenchError(f"{self.file}: `{self.where}{key}[{index}]` is not an object")
        return [
            Fields(self.file, f"{self.where}{key}[{index}].", entry) for index, entry in enumerate(entries)
        ]

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.data.get(key) is not None


def why_unsupported(meta: RunMeta, subject: SubjectMeta, workload: WorkloadMeta) -> str:
    """Why the subject takes no part in the workload by its nature; empty where it does."""
    lacks, takes = workload.needs - subject.supports, subject.takes_workers
    return why_not(subject.id, lacks, takes, workload.exchange, meta.workers)


NULL_RESPONDER = "null responder"


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What the plan asked of one level of one workload.

    Attributes:
        rounds: slices of each subject in one block.
        slice_s: length of one slice in seconds.
        model: how it is loaded; see `gatebench.words.model.Level`, as for `window`, `rate_per_s` and
            `capacity_share`.
        objective: what a search keeps to, such as `p99-10ms`, or None.
        ceiling_per_s: what the engine did in calibration; None where that was not asked.
        responder: what answered it there, such as `nginx`.
        ceiling_known: whether calibration showed what the engine can do; not where others disturbed it.
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
    responder: str = NULL_RESPONDER
    ceiling_known: bool = True

    @property
    def id(self) -> str:
        """`keep-alive/c64`."""
        return f"{self.workload}/{self.level}"

    @property
    def paced(self) -> bool:
        """Whether every subject was sent the same rate."""
        return self.model in {"open", "ladder"}

    @property
    def paces(self) -> bool:
        """Whether requests left at their moments, at one rate for all or at the rate of a search."""
        return self.paced or self.model == "objective"

    @property
    def responder_in_words(self) -> str:
        """What the engine drove in calibration."""
        return "a responder that does nothing" if self.responder == NULL_RESPONDER else self.responder

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
        command, takes_workers: argument vector as declared; whether it says how many workers there are.
        version: the server's version, None where it could not be found.
        ready: False where the subject could not be installed; `reason` then says why and how to mend it.
        color: the user's own color `#rrggbb`, or None.
        image: that it ran in; None where it was a process.
        twin_of: the subject that it is once more, to learn the run's own noise; empty for a competitor.
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
    takes_workers: bool
    version: str | None
    packages: Mapping[str, str]
    color: str | None
    ready: bool
    reason: str
    image: ImageMeta | None = None
    twin_of: str = ""


@dataclass(frozen=True, slots=True)
class WorkloadMeta:
    """One workload as it was registered when the run started.

    Attributes:
        saturates: whether its figure is meant as a capacity.
        service_s: time a request waits by design, in seconds.
        steps: idle: the numbers of connections.
        arrivals: open loops: `poisson` or `constant`.
        reference: ladder: the subject whose capacity the rates are shares of; empty elsewhere.
        options: those of a Locust file's own options that were set.
        locustfile: name of the ordinary Locust file that is the load; empty where the load engine is.
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
    options: Mapping[str, str] = field(default_factory=dict)
    locustfile: str = ""

    @property
    def exchange(self) -> str:
        """What a WebSocket is for; empty for HTTP, and for a Locust file, which does what it likes."""
        if self.locustfile:
            return ""
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
    """Everything of `run.json` that figures, charts and the report use.

    Attributes:
        counts_anonymous: the servers' memory is their anonymous memory; else, in older runs, PSS.
        network: of containers, `host` or `bridge`; empty where servers were processes.
        server_host: the address they listened at in the host's network; empty where that was not said.
        container_engine, limits: None where servers were processes.
        load_image: of the load generator; None where it was a process.
    """

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
    counts_anonymous: bool
    network: str = ""
    server_host: str = ""
    container_engine: EngineMeta | None = None
    limits: LimitsMeta | None = None
    load_image: ImageMeta | None = None

    @property
    def in_containers(self) -> bool:
        """Whether the servers ran in containers."""
        return self.runner == "docker"

    @property
    def server_cores(self) -> int:
        """Number of cores that every server had."""
        return len(self.cores["server"])

    @property
    def competitors(self) -> tuple[SubjectMeta, ...]:
        """The subjects without the twin, which is there to show the run's own noise."""
        return tuple(subject for subject in self.subjects if not subject.twin_of)

    @property
    def twin(self) -> SubjectMeta | None:
        """The subject that was measured once more; None in a run without one."""
        return next((subject for subject in self.subjects if subject.twin_of), None)

    def subject(self, subject_id: str) -> SubjectMeta:
        """The subject with that ID."""
        return next(subject for subject in self.subjects if subject.id == subject_id)

    def workload(self, name: str) -> WorkloadMeta:
        """The workload with that name."""
        return next(workload for workload in self.workloads if workload.name == name)


SCHEMAS = (1, 2)


def _level(fields: Fields, ceilings: Mapping[tuple[str, str], Mapping[str, Any]]) -> LevelPlan:
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
        **ceilings.get(key, {}),
        **since_schema_2,
    )


def _ceilings(fields: Fields) -> dict[tuple[str, str], dict[str, Any]]:
    """(workload, level) → what the engine did in calibration (in its best slice), and against what."""
    if "ceilings" not in fields.data:
        return {}
    return {
        (each.get("workload", str), each.get("level", str)): {
            "ceiling_per_s": max(each.get("rates_per_s", list)),
            "ceiling_known": not (each.has("disturbed") and each.get("disturbed", bool)),
            "responder": each.get("responder", str) if each.has("responder") else NULL_RESPONDER,
        }
        for each in fields.items("ceilings")
    }


def _subject(fields: Fields) -> SubjectMeta:
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
        takes_workers=fields.data.get("takes_workers", takes_workers(fields.texts("command"))),
        version=fields.optional_text("version"),
        packages=fields.text_map("packages"),
        color=fields.optional_text("color"),
        ready=fields.get("status", str) == "ready",
        reason=fields.get("reason", str),
        image=image(fields, "image"),
        twin_of=fields.data.get("twin_of") or "",
    )


def _workload(fields: Fields) -> WorkloadMeta:
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
        options=fields.text_map("options") if fields.has("options") else {},
        locustfile=fields.data.get("locustfile") or "",
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
    fields = Fields(file, "", data)
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
        counts_anonymous=fields.has("memory") or fields.get("runner", str) == "docker",
        network=fields.get("network", str) if fields.has("network") else "",
        server_host=fields.get("server_host", str) if fields.has("server_host") else "",
        container_engine=engine(fields),
        limits=limits(fields),
        load_image=image(fields, "load_image"),
    )
