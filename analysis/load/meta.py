"""What a run says of itself in `run.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatebench.words.model import why_not

if TYPE_CHECKING:
    from collections.abc import Mapping


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
