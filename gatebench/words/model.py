"""The words of the lab as frozen data: server, variant, subject, application, workload, level, cell."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gatebench.words.commands import placeholders
from gatebench.words.footing import libraries_in_words

WORKERS_PLACEHOLDER = "{workers}"


def takes_workers(texts: Iterable[str]) -> bool:
    """Whether a command, or what it reads, says how many worker processes there are to be."""
    return any(WORKERS_PLACEHOLDER.strip("{}") in placeholders(text) for text in texts)


def one_process_only(subject_id: str, takes: bool, workers: int) -> str:
    """Why a subject cannot have so many worker processes; empty where it can.

    Measured with one, it would stand beside others that had several, on the same cores.

    Args:
        subject_id: names it.
        takes: whether its command takes a number of worker processes.
        workers: how many every server of the run has.
    """
    if workers == 1 or takes:
        return ""
    return f"{subject_id} runs one worker process only: its command takes no {WORKERS_PLACEHOLDER}"


def why_not(
    subject_id: str,
    lacks: Collection[str],
    takes: bool,
    exchange: str,
    workers: int,
    missing: Collection[str] = (),
) -> str:
    """Why a subject takes no part in a workload; empty where it does.

    Args:
        subject_id: names it.
        lacks: capabilities that the workload needs and the subject does not declare.
        takes: whether its command takes a number of worker processes.
        exchange: what the workload's WebSockets are for, such as `broadcast`.
        workers: how many worker processes every server of the run has.
        missing: routes that the workload asks and the subject's application does not answer.
    """
    if missing:
        return f"{subject_id} runs an application without {' and '.join(sorted(missing))}"
    if lacks:
        return f"{subject_id} does not declare {' and '.join(sorted(lacks))}"
    if refused := one_process_only(subject_id, takes, workers):
        return refused
    if exchange == "broadcast" and workers > 1:
        # The contract's broadcast is to the sockets of a process; the load's subscribers are in all of them.
        return f"{subject_id} has {workers} worker processes, and a broadcast stays within one"
    return ""


def unanswered(
    declared: Collection[str] | None, routes: Collection[str], requires: Collection[str]
) -> frozenset[str]:
    """Those of the routes that an application does not answer.

    Args:
        declared: the routes that it declares; None for all that need nothing beside a server.
        routes: what it is asked.
        requires: what these need beside a server.
    """
    if declared is None:
        return frozenset(routes) if requires else frozenset()
    return frozenset(routes) - frozenset(declared)


Interface = Literal["wsgi", "asgi"]
Transport = Literal["close", "keep-alive", "websocket"]
Exchange = Literal["echo", "broadcast", "handshake", "idle"]
LoadModel = Literal["closed", "open", "ladder", "objective", "idle", "locust"]
ArrivalProcess = Literal["poisson", "constant"]
Capability = Literal["close", "keep-alive", "websocket", "chunked-request", "streaming"]
Resource = Literal["database"]
"""What an application may need that the lab sets up beside the servers."""

INTERFACES: tuple[Interface, ...] = ("wsgi", "asgi")
CAPABILITIES: tuple[Capability, ...] = ("close", "keep-alive", "websocket", "chunked-request", "streaming")
DATABASE_VARIABLE = "DATABASE_URL"
"""Where an application that requires a database finds it: `postgresql://user:password@host:port/name`."""
PLAIN_APPLICATION = "plain"
DEFAULT_VARIANT = "default"
TWIN = "~again"
LIMIT = "~limit"
"""What the name of a null responder ends with; no folder's name may have such a mark."""


@dataclass(frozen=True, slots=True)
class Expects:
    """What a variant must be seen to run on, so that its name is true; empty where it says nothing.

    Attributes:
        loop: the event loop's library, such as `uvloop`.
        http, websocket: the library that parses HTTP/1.1, or speaks WebSocket; `own` for none but the server.
    """

    loop: str = ""
    http: str = ""
    websocket: str = ""

    @property
    def in_words(self) -> str:
        """`uvloop, httptools, websockets`, or `asyncio, own parser`; empty where it says nothing."""
        return libraries_in_words(self.loop, self.http, self.websocket)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a server, as its `server.toml` declares it.

    Attributes:
        command: argument vector with placeholders such as `{port}`; see `registry.servers.PLACEHOLDERS`.
        environment: variables, with the same placeholders.
        tuned: False where it is what the server's quickstart gives; True comes with a `why`.
        stop: name of the signal that ends the server for good, without its `SIG`.
        needs: system commands that must be on PATH.
        files: name → text with the same placeholders; in the working folder before the command starts.
        expects: what it must be seen to run on.
        selected: whether it is among what is measured where nobody names servers.
        requirements: name of the file of its own environment in the server's folder; empty for the server's.
        pinned: whether every requirement there is pinned and hashed.
    """

    name: str
    interface: Interface
    command: tuple[str, ...]
    tuned: bool
    why: str
    supports: frozenset[Capability]
    stop: str
    needs: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    color: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    expects: Expects = Expects()
    selected: bool = True
    requirements: str = ""
    pinned: bool = True

    @property
    def takes_workers(self) -> bool:
        """Whether what it is started with says how many worker processes there are to be."""
        return takes_workers(self.texts)

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything in which placeholders are filled in."""
        return (*self.command, *self.environment.values(), *self.files.values())


@dataclass(frozen=True, slots=True)
class Server:
    """A product: one folder with a `server.toml` and its own environment.

    Attributes:
        requirements: the folder's `requirements.txt`; of `Subject.installed`, perhaps its variant's own.
        pinned: whether every requirement there is pinned and hashed.
        remedies: system command or package → the shell command that installs it.
        drops_root: whether, started by root, it serves as another user, who must be able to read Python.
    """

    name: str
    folder: Path
    homepage: str
    variants: tuple[Variant, ...]
    requirements: Path
    pinned: bool
    remedies: Mapping[str, str] = field(default_factory=dict)
    drops_root: bool = False

    @property
    def environment(self) -> str:
        """Names what is installed: `granian`, or `granian-uvloop` for the file `requirements-uvloop.txt`."""
        return self.name + self.requirements.stem.partition("requirements")[2]


@dataclass(frozen=True, slots=True)
class Application:
    """One application folder; `wsgi` and `asgi` are import paths such as `apps.plain.wsgi:app`, or None.

    `search_path` is the folder that must be on PYTHONPATH for them, before that of the plain application.

    Attributes:
        plain: the folder of the plain application, from which any other may import (`apps.plain`); None where
            there is none.
        title, homepage: what it is, for a table; empty where its folder does not say.
        routes: forms of the contract's routes that it answers, paths of WebSockets included; None for all of
            them, and for what is beyond a route: which requests are refused, and how.
        environment: variables that it is started with.
        requirements: the folder's `requirements.txt`, installed together with the server's; None where it
            needs nothing but Python, or has what it needs from the server.
        pinned: whether every requirement there is pinned and hashed.
        requires: what the lab sets up for it.
        prepare: a command that is run once in each of its environments, before the first server starts.
    """

    name: str
    folder: Path
    search_path: Path
    wsgi: str | None
    asgi: str | None
    plain: Path | None = None
    title: str = ""
    homepage: str = ""
    routes: frozenset[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    requirements: Path | None = None
    pinned: bool = True
    requires: frozenset[Resource] = frozenset()
    prepare: tuple[str, ...] = ()

    def unanswered(self, routes: Collection[str], requires: Collection[str] = ()) -> frozenset[str]:
        """Those of the routes that it does not answer; `requires` is what they need beside a server."""
        return unanswered(self.routes, routes, requires)

    def form(self, interface: Interface) -> str | None:
        """The import path of the application's form for `interface`, or None where it has none."""
        return self.wsgi if interface == "wsgi" else self.asgi

    @property
    def packaged(self) -> bool:
        """Whether it is imported as a part of the package `apps`, and not by its own name."""
        return self.folder.parent == self.search_path / "apps"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where its code is: its own folder, and that of the plain application, which it may import from."""
        return (self.folder,) if self.plain in {None, self.folder} else (self.folder, self.plain)

    @property
    def search_paths(self) -> tuple[Path, ...]:
        """What must be on PYTHONPATH, in this order."""
        root = self.plain.parent.parent if self.plain else self.search_path
        return tuple(dict.fromkeys((self.search_path, root)))

    def file(self, interface: Interface) -> Path:
        """The source file of that form."""
        return self.folder / f"{interface}.py"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a server, one of its variants, and the application behind it.

    Attributes:
        again: whether it is a twin, measured beside its original to learn the run's own noise.
        responder: what it is, where it is a null responder: no competitor, but measured in the rounds to show
            the instrument's own limit there. Its ID is then its server's name. Empty for a server.
    """

    server: Server
    variant: Variant
    application: Application
    again: bool = False
    responder: str = ""

    @property
    def id(self) -> str:
        """`gunicorn-sync`, `uvicorn` for the variant `default`, `uvicorn+flask` for another application.

        A twin's is `uvicorn~again`.
        """
        base = self.server.name
        if self.responder:
            return base
        if self.variant.name != DEFAULT_VARIANT:
            base = f"{base}-{self.variant.name}"
        if self.application.name != PLAIN_APPLICATION:
            base = f"{base}+{self.application.name}"
        return f"{base}{TWIN}" if self.again else base

    @property
    def environment(self) -> str:
        """Names the environment, or the image, that it runs in: `uvicorn`, or `uvicorn+flask`.

        It is the server's alone, unless its application brings requirements.
        """
        application = self.application
        return self.installed.environment + (f"+{application.name}" if application.requirements else "")

    @property
    def installed(self) -> Server:
        """The server as it is installed for this variant, which may have requirements of its own."""
        own = self.variant.requirements
        if not own:
            return self.server
        sharing = tuple(each for each in self.server.variants if each.requirements == own)
        file = self.server.folder / own
        return replace(self.server, requirements=file, pinned=self.variant.pinned, variants=sharing)

    def one_process_only(self, workers: int) -> str:
        """Why it cannot have so many worker processes; empty where it can."""
        return one_process_only(self.id, self.variant.takes_workers, workers)

    @property
    def original_id(self) -> str:
        """The ID without a twin's mark."""
        return self.id.removesuffix(TWIN)


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """What a workload itself says of an answer, in place of the contract.

    Attributes:
        content_type: the header's exact value; empty where it was not said, or learned that there is none.
        body: every byte; None where it has yet to be learned from the servers.
        varies: regular expressions of what may differ in the body (`loadtests.engine.masked`).
    """

    status: int = 200
    content_type: str = ""
    body: bytes | None = None
    varies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """The request a workload repeats; for WebSocket, the upgrade's path and what the connection is for.

    Attributes:
        headers: what is sent beside `Host` and the body's framing; names in lower case.
        answer: what must come back; None where the contract says it.
        share: how often its turn comes among the requests of its workload.
        arguments: what the path's argument is in turn, where `path` has it in braces (`/db/row/{id}`).
        exchange: what a WebSocket is for (`loadtests.engine.protocol.Target`); HTTP has none of it.
        message_bytes: size of each WebSocket message.
    """

    method: str
    path: str
    body: bytes = b""
    exchange: Exchange = "echo"
    message_bytes: int = 64
    headers: tuple[tuple[str, str], ...] = ()
    answer: OwnAnswer | None = None
    share: int = 1
    arguments: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """`POST /api/items`."""
        return f"{self.method} {self.path}"

    @property
    def asked(self) -> tuple[Request, ...]:
        """What is sent: itself, or itself with each of the arguments."""
        prefix = self.path.partition("{")[0]
        each = tuple(replace(self, path=f"{prefix}{number}", arguments=()) for number in self.arguments)
        return each or (self,)

    @property
    def is_learned(self) -> bool:
        """Whether what must come back is known only once the servers were asked."""
        return self.answer is not None and self.answer.body is None


@dataclass(frozen=True, slots=True)
class Objective:
    """What a search for the highest rate must keep to: a percentile of the response time within a limit."""

    percentile: float
    limit_s: float

    @property
    def id(self) -> str:
        """`p99-10ms`."""
        return f"p{self.percentile:g}-{self.limit_s * 1000:g}ms"

    @property
    def tail(self) -> float:
        """The share of requests that may take longer."""
        return 1 - self.percentile / 100


@dataclass(frozen=True, slots=True)
class Level:
    """One load.

    Attributes:
        connections: how many are open; of an ordinary Locust file, its users; of `idle`, its last step.
        window: closed loop: messages in flight on each WebSocket.
        rate_per_s: open loop: requests a second; None where the run finds it, as a ladder and a search do.
        capacity_share: ladder: the rate as a share of the reference's capacity.
        objective: what a search keeps to.
    """

    connections: int
    model: LoadModel = "closed"
    window: int = 1
    rate_per_s: float | None = None
    capacity_share: float | None = None
    objective: Objective | None = None

    @property
    def has_rate(self) -> bool:
        """Whether it can be driven: a step of a ladder cannot while its reference is not known, or failed."""
        return self.model != "ladder" or self.rate_per_s is not None

    @property
    def id(self) -> str:
        """`c64`, `c64w16`, `r1000`, `cap75`, `p99-10ms`, `idle5000` or `users16`."""
        if self.model == "open":
            return f"r{self.rate_per_s:.10g}"
        if self.model == "ladder":
            return f"cap{(self.capacity_share or 0) * 100:g}"
        if self.objective is not None:
            return self.objective.id
        prefix = {"idle": "idle", "locust": "users"}.get(self.model, "c")
        return f"{prefix}{self.connections}" + (f"w{self.window}" if self.window > 1 else "")


@dataclass(frozen=True, slots=True)
class Workload:
    """A transport, a request and a load model.

    Attributes:
        slice_s: length of one slice in seconds; at least 20 service times (METHOD.md, "The plan").
        warmup_s: unmeasured load on each cell at the start of a block, in seconds.
        saturates: whether its figure is meant as a capacity, so that an idle server makes it invalid.
        service_s: time the request waits by design, in seconds; 0 where it only computes.
        share: its part of a run's measuring time, relative to the other workloads.
        arrivals: open loops: how arrivals are spaced.
        reference: ladder: the subject whose capacity the rates are shares of.
        steps: idle: numbers of connections, rising.
        locustfile: an ordinary Locust file that is the load, or None.
        options: those of the Locust file's own command-line options that are set, name → value.
        others: requests that take turns with the first, by their shares.
        routes: forms of the contract's routes that it asks, such as `/wait/{ms}`, or a WebSocket's path; none
            where a Locust file asks what it likes.
        requires: what these routes need beside a server.
    """

    name: str
    folder: Path
    description: str
    transport: Transport
    request: Request
    levels: tuple[Level, ...]
    slice_s: float
    warmup_s: float
    needs: frozenset[Capability]
    profiles: frozenset[str]
    saturates: bool
    service_s: float
    share: float
    arrivals: ArrivalProcess = "poisson"
    reference: str = ""
    steps: tuple[int, ...] = ()
    locustfile: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    others: tuple[Request, ...] = ()
    routes: frozenset[str] = frozenset()
    requires: frozenset[Resource] = frozenset()

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that take turns, the first one first; a Locust file's own are not among them."""
        return (self.request, *self.others)

    @property
    def own_requests(self) -> tuple[Request, ...]:
        """Those whose answer the workload itself says, and not the contract."""
        return tuple(each for each in self.requests if each.answer is not None)


@dataclass(frozen=True, slots=True)
class Cell:
    """Subject × workload × level: one row of the result."""

    subject: Subject
    workload: Workload
    level: Level

    def unsupported(self, workers: int = 1) -> str:
        """Why the subject takes no part in the workload with so many workers; empty where it does."""
        variant = self.subject.variant
        lacks, exchange = self.workload.needs - variant.supports, self.workload.request.exchange
        missing = self.subject.application.unanswered(self.workload.routes, self.workload.requires)
        return why_not(self.subject.id, lacks, variant.takes_workers, exchange, workers, missing)
