"""`run.json`: what a run says of itself. What writes a run fills these models, what reads one gets them.

A key that runs have had only since some version has a default, which is what stands for it in older runs.
Where such a run is written again, it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import Field, PlainSerializer, SkipValidation

from gatebench.results.observed import ExpectsMeta, ObservedMeta
from gatebench.results.surroundings import DatabaseMeta, EngineMeta, ImageMeta, LimitsMeta, Part, Text
from gatebench.words.model import takes_workers, unanswered, why_not
from gatebench.words.precision import Precision

SCHEMA = 2
READABLE = (1, 2)
NULL_RESPONDER = "null responder"
"""The lab's own, which answers at once and computes nothing."""
Names: TypeAlias = Annotated[frozenset[str], PlainSerializer(sorted, return_type=list[str])]
Fact: TypeAlias = SkipValidation[str | int | float | bool | None]


class CeilingMeta(Part):
    """What the engine did in calibration.

    Attributes:
        rates_per_s: answers a second, one figure a slice.
        engine_busy_share: share of the time that the engine's loop was busy; the median over the slices.
        responder_cpu_share: share of one core that the responder used; the median over the slices.
        responder: what answered it there, such as `nginx`.
        disturbed: whether no two slices agree on the best rate, or others had the responder's core in all
            but one: then it is not known what the engine can do.
    """

    workload: str
    level: str
    rates_per_s: tuple[float, ...] = Field(min_length=1)
    engine_busy_share: float | None = None
    responder_cpu_share: float | None = None
    responder: str = NULL_RESPONDER
    disturbed: bool = False

    @property
    def rate_per_s(self) -> float:
        """Its best slice: whatever else runs on the machine can only make it less."""
        return max(self.rates_per_s)

    @property
    def responder_in_words(self) -> str:
        """What the engine drove."""
        return responder_in_words(self.responder)


class ResponderMeta(Part):
    """A null responder that was measured in the rounds, as servers are: what the instrument can do there.

    Attributes:
        id: how the raw data call it; no subject has that ID.
        name: what it is, such as `nginx`.
        levels: IDs of the levels that it answers, no two responders the same one.
        command: argument vector as declared.
    """

    id: str
    name: str
    levels: tuple[str, ...]
    command: tuple[str, ...]


def responder_in_words(name: str) -> str:
    """What the engine drove, for a sentence."""
    return "a responder that does nothing" if name == NULL_RESPONDER else name


class LevelPlan(Part):
    """What the plan asked of one level of one workload.

    Attributes:
        model: how it is loaded; see `gatebench.words.model.Level`, as for `window`, `rate_per_s` and
            `capacity_share`. Runs of schema 1 have closed loops only.
        objective: what a search keeps to, such as `p99-10ms`, or None.
        rounds: slices of each subject in one block.
        slice_s, warmup_s: seconds of one slice, and of unmeasured load before the first of a block.
        ceiling: of `RunMeta.ceilings`, that of this level; None where it was not calibrated.
    """

    workload: str
    level: str
    connections: int
    model: str = "closed"
    window: int = 1
    rate_per_s: float | None = None
    capacity_share: float | None = None
    objective: str | None = None
    rounds: int
    slice_s: float
    warmup_s: float = 0.0
    ceiling: CeilingMeta | None = Field(default=None, exclude=True)

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
    def load(self) -> str:
        """How it is loaded, in words."""
        if self.model == "locust":
            return f"{self.connections} Locust users"
        if self.model == "idle":
            return f"up to {self.connections:,} idle connections"
        connections = f"{self.connections} connections"
        if self.rate_per_s is not None:
            return f"{self.rate_per_s:,.0f} requests/s over {connections}"
        if self.objective is not None:
            percentile, _, limit_ms = self.objective.removesuffix("ms").partition("-")
            return f"{percentile} within {limit_ms} ms over {connections}"
        return f"{connections}, {self.window} messages in flight on each" if self.window > 1 else connections


class SubjectMeta(Part):
    """One subject as it was registered when the run started.

    Attributes:
        twin_of: the subject that it is once more, to learn the run's own noise; None for a competitor.
        class_: `default` or `tuned`; `why` says why it is tuned.
        command, takes_workers: argument vector as declared; whether it says how many workers there are.
        version: the server's version, None where it could not be found.
        packages: versions of what its environment holds.
        image: that it ran in; None where it was a process.
        color: the user's own color `#rrggbb`, or None.
        routes: of the contract, those that its application answers; None for all that need no database.
        requires: what the lab set up for its application, such as `database`.
        status: `ready`, or `unavailable` where it could not be installed; `reason` then says why and how to
            mend it.
        expects: what its variant must be seen to run on; None in older runs.
        observed: what it was seen to run with, from the run's events; None where nobody looked, as in older
            runs.
    """

    id: str
    twin_of: str | None = None
    server: str
    variant: str
    app: str
    interface: str
    class_: str
    why: str
    homepage: str
    supports: Names
    command: tuple[str, ...]
    takes_workers: bool = Field(default_factory=lambda said: takes_workers(said.get("command", ())))
    version: str | None
    packages: Mapping[str, str]
    image: ImageMeta | None = None
    color: str | None
    routes: Names | None = None
    requires: Names = frozenset()
    status: str
    reason: str
    expects: ExpectsMeta | None = None
    observed: ObservedMeta | None = Field(default=None, exclude=True)

    @property
    def loop(self) -> str:
        """The event loop that it was seen to run on; empty where that was not observed, and for WSGI."""
        return self.observed.loop if self.observed is not None and self.interface == "asgi" else ""

    @property
    def tuned(self) -> bool:
        """Whether it is something else than what the server's quickstart gives."""
        return self.class_ == "tuned"

    @property
    def ready(self) -> bool:
        """Whether it could be started."""
        return self.status == "ready"

    @property
    def original(self) -> str:
        """The ID without a twin's mark: of the subject that it is once more."""
        return self.twin_of or self.id


class RequestMeta(Part):
    """The request that a workload repeats.

    Attributes:
        body_bytes, answer_bytes: of one request and its answer; None where it is not known.
        exchange, message_bytes: what a WebSocket is for, and the size of its messages; None for HTTP.
        share: how often its turn comes among the requests of its workload.
        arguments: how many arguments of its path take turns; 0 for a path that stays the same.
        answer_sha256: of the answer's body, where the workload said or learned it; None for the contract's.
    """

    method: str = "GET"
    path: str = "/"
    body_bytes: int | None = None
    answer_bytes: int | None = None
    exchange: str | None = None
    message_bytes: int | None = None
    share: int = 1
    arguments: int = 0
    answer_sha256: str | None = None


class WorkloadMeta(Part):
    """One workload as it was registered when the run started.

    Attributes:
        saturates: whether its figure is meant as a capacity.
        service_s: time a request waits by design, in seconds.
        arrivals: open loops: `poisson` or `constant`.
        reference: ladder: the subject whose capacity the rates are shares of; None elsewhere.
        steps: idle: the numbers of connections.
        locustfile: name of the ordinary Locust file that is the load; None where the load engine is.
        levels: their IDs.
        options: those of a Locust file's own options that were set.
        others: requests that take turns with the first.
        routes: of the contract, those that it asks; none in older runs, whose applications answer all.
        requires: what these need beside a server, such as `database`.
    """

    name: str
    description: str
    transport: str
    request: RequestMeta
    needs: Names
    saturates: bool
    service_s: float
    arrivals: str = "poisson"
    reference: str | None = None
    steps: tuple[int, ...] = ()
    locustfile: str | None = None
    levels: tuple[str, ...] = ()
    slice_s: float | None = None
    options: Mapping[str, str] = Field(default_factory=dict)
    others: tuple[RequestMeta, ...] = ()
    routes: Names = frozenset()
    requires: Names = frozenset()

    @property
    def exchange(self) -> str:
        """What a WebSocket is for; empty for HTTP, and for a Locust file, which does what it likes."""
        if self.locustfile:
            return ""
        return self.request.exchange or ("echo" if self.transport == "websocket" else "")

    @property
    def body_bytes(self) -> int:
        """Bytes of the bodies of one request and its answer; 0 where they are not known."""
        return (self.request.body_bytes or 0) + (self.request.answer_bytes or 0)

    @property
    def says_its_answers(self) -> bool:
        """Whether it says or learned an answer itself, which no null responder gives."""
        return any(each.answer_sha256 for each in (self.request, *self.others))

    @property
    def waits(self) -> bool:
        """Whether its requests wait by design instead of computing."""
        return self.service_s > 0


class PrecisionMeta(Part):
    """The precision at which a run may end before it has all of its blocks.

    Attributes:
        share, subjects, workloads: as in `gatebench.words.precision.Precision`.
    """

    share: float
    subjects: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()

    @property
    def asked(self) -> Precision:
        """What was asked for."""
        return Precision(self.share, self.subjects, self.workloads)


class PlanMeta(Part):
    """The plan: how many blocks, and every level, also one that no subject can be measured at.

    Attributes:
        blocks: how many; the most of a run that asks for a precision.
        precision: None where none was asked for.
    """

    blocks: int
    levels: tuple[LevelPlan, ...]
    precision: PrecisionMeta | None = None


class CoresMeta(Part):
    """Numbers of the cores that servers, load engine and lab had."""

    server: tuple[int, ...]
    engine: tuple[int, ...]
    lab: tuple[int, ...]


class LoadMeta(Part):
    """Where the load came from.

    Attributes:
        engines, workers: processes of the load engine, and Locust workers.
        elsewhere: whether the workers joined from other machines.
    """

    engines: int
    workers: int
    elsewhere: bool


class RunMeta(Part):
    """The whole file.

    Attributes:
        schema_: its version, one of `READABLE`.
        memory: `anonymous`, which is how the servers' memory was measured; empty in older runs.
        workers, threads: processes and threads that every server had.
        ceilings: of runs from before `responders` were measured in the rounds: a calibration before the first
            block.
        load: None in runs of schema 1.
        network: of containers, `host` or `bridge`; empty where servers were processes.
        server_host: the address they listened at in the host's network; empty where that was not said.
        engine, limits: None where servers were processes.
        load_image: of the load generator; None where it was a process.
        database: None where no application required one.
    """

    schema_: int
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
    plan: PlanMeta
    cores: CoresMeta
    ceilings: tuple[CeilingMeta, ...] = ()
    responders: tuple[ResponderMeta, ...] = ()
    load: LoadMeta | None = None
    memory: Text = ""
    workers: int
    threads: int
    machine: Mapping[str, Fact]
    versions: Mapping[str, str]
    hashes: Mapping[str, str]
    notices: tuple[str, ...]
    subjects: tuple[SubjectMeta, ...]
    workloads: tuple[WorkloadMeta, ...]
    network: Text = ""
    server_host: Text = ""
    engine: EngineMeta | None = None
    limits: LimitsMeta | None = None
    load_image: ImageMeta | None = None
    database: DatabaseMeta | None = None

    @property
    def blocks(self) -> int:
        """How many blocks the plan has."""
        return self.plan.blocks

    @property
    def levels(self) -> tuple[LevelPlan, ...]:
        """The plan's levels, each with what the engine did there in calibration."""
        of_level = {(each.workload, each.level): each for each in self.ceilings}
        return tuple(
            each.replaced(ceiling=of_level.get((each.workload, each.level))) for each in self.plan.levels
        )

    @property
    def counts_anonymous(self) -> bool:
        """Whether the servers' memory is their anonymous memory; else, in older runs, it is PSS."""
        return bool(self.memory) or self.in_containers

    @property
    def in_containers(self) -> bool:
        """Whether the servers ran in containers."""
        return self.runner == "docker"

    @property
    def server_cores(self) -> int:
        """Number of cores that every server had."""
        return len(self.cores.server)

    @property
    def database_cores(self) -> int:
        """Number of cores that the database had; 1 where there was none."""
        return 1 if self.database is None else len(self.database.cores)

    @property
    def competitors(self) -> tuple[SubjectMeta, ...]:
        """The subjects without the twin, which is there to show the run's own noise."""
        return tuple(subject for subject in self.subjects if not subject.twin_of)

    @property
    def twin(self) -> SubjectMeta | None:
        """The subject that was measured once more; None in a run without one."""
        return next((subject for subject in self.subjects if subject.twin_of), None)

    def responder(self, level: str) -> ResponderMeta | None:
        """The null responder of the level with that ID; None where none was measured."""
        return next((each for each in self.responders if level in each.levels), None)

    def subject(self, subject_id: str) -> SubjectMeta:
        """The subject with that ID."""
        return next(subject for subject in self.subjects if subject.id == subject_id)

    def workload(self, name: str) -> WorkloadMeta:
        """The workload with that name."""
        return next(workload for workload in self.workloads if workload.name == name)

    def why_unsupported(self, subject: SubjectMeta, workload: WorkloadMeta) -> str:
        """Why the subject takes no part in the workload by its nature; empty where it does."""
        lacks = workload.needs - subject.supports
        missing = unanswered(subject.routes, workload.routes, workload.requires)
        return why_not(subject.id, lacks, subject.takes_workers, workload.exchange, self.workers, missing)
