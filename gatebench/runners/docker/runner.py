"""Starts servers as containers: Compose brings them up and down, the SDK and the agent tell what they do."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from docker.models.containers import Container

from gatebench.machine.cgroup import usage_of
from gatebench.machine.processes import Composition, Owner
from gatebench.runners.base import Around, Counters, Instance, Launch, Memory
from gatebench.runners.docker.database import ContainerDatabase
from gatebench.runners.docker.engine import (
    ContainerOwner,
    Engine,
    EngineRefusedError,
    engine_errors,
    last_lines,
)
from gatebench.runners.docker.images import Image
from gatebench.runners.docker.services import (
    STOP_GRACE_S,
    Project,
    Service,
    memory_limit_mib,
    render,
    server_service,
    service_name,
)
from gatebench.runners.docker.site import ContainerSite
from gatebench.words.errors import GatebenchError, ServerFailure
from gatebench.words.model import DATABASE_VARIABLE
from gatebench.words.options import Budget
from gatebench.words.paths import HOST

LOG_TAIL_LINES = 12
INITS = frozenset({"docker-init", "tini", "catatonit"})
"""What an engine puts first in a container that is to have an init process; no part of the server."""
PREPARE_TIMEOUT_S = 300.0
STATUS_MEANINGS = {126: "a command cannot be executed", 127: "a command was not found"}
SIGNALLED = 128
"""Over it, a status tells the number of the signal that ended the process."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Containers that were started together: a Compose project of their own.

    Attributes:
        file: its Compose file, kept with the run's logs.
    """

    project: str
    file: Path


class DockerInstance:
    """One server in its container."""

    def __init__(
        self,
        launch: Launch,
        container: Container,
        batch: Batch,
        site: ContainerSite,
        *,
        address: tuple[str, int],
        budget: Budget,
        on_loopback: bool,
        open_files: int | None,
    ) -> None:
        self.subject = launch.subject
        self.database: ContainerDatabase | None = None
        self.log = launch.log
        self.host, self.port = address
        self.workers = budget.workers
        self.argv = tuple(container.attrs["Config"]["Cmd"])
        self.container = container
        self.batch = batch
        self._site = site
        self._killed_for_memory = (
            "the kernel killed a process of the container, which had reached its limit of "
            f"{memory_limit_mib(budget)} MiB of memory"
        )
        self._on_loopback = on_loopback
        self._open_files = open_files
        self._processes: frozenset[str] = frozenset()
        self._started_at = ""
        self._missing = ""
        self._facts: dict[str, str | int | float | bool | None] = {}

    @property
    def service(self) -> str:
        """The name of its service in its project."""
        return service_name(self.subject.id)

    def settle(self) -> None:
        """Notes which processes belong to the server now; from here on none of them may end."""
        with suppress(EngineRefusedError), engine_errors():  # whether it was removed, `fault` tells
            self.container.reload()
        self._started_at = str(self.container.attrs["State"]["StartedAt"])
        self._processes = self._running_processes()
        self._missing = ""

    def fault(self, *, closely: bool = False) -> str:
        """Empty while all of the server's processes run; else what ended.

        Args:
            closely: also looks for single processes that ended and were replaced.
        """
        if told := self._told_by_engine() or self._missing:
            return told
        if closely and (gone := self._processes - self._running_processes()):
            return f"a worker of the server ended: process {', '.join(sorted(gone))}"
        return ""

    def database_fault(self) -> str:
        """Empty while the database that its application needs runs, or where it needs none."""
        return "" if self.database is None else self.database.fault()

    def complaints(self) -> tuple[str, ...]:
        """Why that database refused connections since anybody's last look."""
        return () if self.database is None else self.database.complaints()

    def _told_by_engine(self) -> str:
        try:
            with engine_errors():
                self.container.reload()
        except EngineRefusedError:
            return "the container was removed"
        state = self.container.attrs["State"]
        if state.get("OOMKilled"):
            return self._killed_for_memory
        if not state["Running"]:
            return f"the container exited with status {described_status(int(state['ExitCode']))}"
        if self._started_at and state["StartedAt"] != self._started_at:
            return "the container was started anew"
        return ""

    def counters(self, around: Around) -> Counters:
        """The counters of the server's container and of what is around it on its machine, now."""
        neighbours = {
            str(each.container.id): each.subject.id
            for each in around.neighbours
            if isinstance(each, DockerInstance)
        }
        asked = [*neighbours, *([] if self.database is None else [self.database.id])]
        aside = () if self.database is None else self.database.cores
        seen = self._site.see(str(self.container.id), around.measured, around.server, asked, aside)
        usage = seen.usage
        if usage.oom_kills:
            self._missing = self._killed_for_memory
        elif usage.processes is not None and usage.processes < len(self._processes):
            left = f"{usage.processes} of {len(self._processes)} processes are left"
            self._missing = f"a worker of the server ended: {left}"
        return Counters(
            usage.cpu_s,
            usage.throttled_s,
            # On a bridge the server has a listen queue in a network namespace that the agent is not in.
            seen.listen_drops if self._on_loopback else None,
            seen.steal_s,
            seen.core,
            {neighbours[each]: used_s for each, used_s in seen.used_s.items() if each in neighbours},
            database_s=None if self.database is None else seen.used_s.get(self.database.id),
            database_core=seen.aside,
        )

    def processes(self) -> tuple[int, ...]:
        """None: they are of another namespace, perhaps of another machine."""
        return ()

    def composition(self) -> Composition:
        """The container's processes and threads now; what they have mapped cannot be seen from outside."""
        try:
            with engine_errors():
                listed = self.container.top(ps_args="-eo pid,nlwp,comm")
            threads = [int(row[1]) for row in listed["Processes"] if row[2] not in INITS]
        except (
            EngineRefusedError,
            IndexError,
            ValueError,
            KeyError,
        ):  # it ended, or `top` is of another form
            return Composition()
        return Composition(len(threads), sum(threads))

    def memory(self) -> Memory:
        """Anonymous memory of the server's container, and the most it has had."""
        usage = self._site.see(str(self.container.id)).usage
        return Memory(usage.anonymous_mib, usage.peak_mib)

    def port_use(self) -> float | None:
        """Share of the load generator's local ports that connections to the server occupy."""
        return self._site.port_use(self.host, self.port) if self._on_loopback else None

    def open_files(self) -> int | None:
        """How many files the server may have open, None where that is not known."""
        return self._open_files

    def log_tail(self) -> str:
        """The last lines that the server wrote."""
        output = b""
        with suppress(EngineRefusedError), engine_errors():  # a container that was removed took its log along
            output = self.container.logs(tail=LOG_TAIL_LINES)
        return output.decode(errors="replace").rstrip("\n")

    def facts(self) -> Mapping[str, str | int | float | bool | None]:
        """What the engine told of the container at its end; nothing before."""
        return self._facts

    def note_use(self) -> None:
        """Asks the engine for what the container used; while it runs, for that is forgotten with it."""
        with suppress(EngineRefusedError), engine_errors():
            self._facts |= asdict(usage_of(self.container.stats(stream=False, one_shot=True)))

    def keep_log(self) -> None:
        """Writes what the server printed to its file, and notes how its container ended."""
        with suppress(EngineRefusedError), engine_errors():
            with self.log.open("ab") as file:
                file.write(self.container.logs())
            self.container.reload()
            state = self.container.attrs["State"]
            self._facts |= {
                "container": str(self.container.id)[:12],
                "image": str(self.container.attrs["Image"]),
                "exit_code": int(state["ExitCode"]),
                "oom_killed": bool(state.get("OOMKilled")),
                "restarts": int(self.container.attrs.get("RestartCount", 0)),
            }

    def _running_processes(self) -> frozenset[str]:
        """The process IDs on the engine's machine; none where the container has ended."""
        try:
            with engine_errors():
                listed = self.container.top(ps_args="-eo pid")
        except EngineRefusedError:
            return frozenset()
        return frozenset(row[0] for row in listed["Processes"])


def described_status(status: int) -> str:
    """A container's exit status, with what it means where that is known: `137 (SIGKILL)`."""
    meaning = STATUS_MEANINGS.get(status, "")
    if status - SIGNALLED in set(signal.Signals):
        meaning = signal.Signals(status - SIGNALLED).name
    return f"{status} ({meaning})" if meaning else str(status)


BRIDGE_PORT = 8000
"""Every server has a network namespace of its own on a bridge, so that all can listen on the same port."""
EVERYWHERE = "0.0.0.0"  # noqa: S104 - on a bridge without a way out, where loopback would reach nobody
STARTS_AT_ONCE = 4

Network = Literal["host", "bridge"]


@dataclass
class DockerRunner:
    """Starts servers in containers.

    Attributes:
        images: server → its image; a subject whose server has none is never started.
        network_name: of the bridge, where there is one.
        host: the address that servers listen at in the host's network.
        open_files: how many files a container may have open, None where that is not known.
        database: that of the applications which require one.
        no_database: why there is none.
    """

    engine: Engine
    site: ContainerSite
    images: Mapping[str, Image]
    budget: Budget
    owner: Owner
    network: Network = "host"
    network_name: str = ""
    host: str = HOST
    open_files: int | None = None
    database: ContainerDatabase | None = None
    no_database: str = ""
    _prepared: dict[tuple[str, str], str] = field(default_factory=dict)
    _batches: itertools.count[int] = field(default_factory=itertools.count)

    def start(self, launches: Sequence[Launch]) -> list[Instance | ServerFailure]:
        """Starts servers, each on a fresh port, and returns at once: for each the server, or why not."""
        reasons = [self._why_not(launch) for launch in launches]
        started = iter(self._start([each for each, why in zip(launches, reasons, strict=True) if not why]))
        return [why or next(started) for why in reasons]

    def _why_not(self, launch: Launch) -> ServerFailure | None:
        """Why a server cannot be started: its database, or its preparation; None where it can."""
        application = launch.subject.application
        if application.requires:
            if self.database is None:
                return ServerFailure("start", self.no_database)
            if fault := self.database.fault():
                return ServerFailure("database", fault)
        if not application.prepare:
            return None
        key = (launch.subject.environment, application.name)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(launch)
        return ServerFailure("start", self._prepared[key]) if self._prepared[key] else None

    def _prepare(self, launch: Launch) -> str:
        """Runs an application's preparation in a container of its image: why it failed, or nothing."""
        application = launch.subject.application
        shown = " ".join(application.prepare)
        service = replace(
            self._service(launch, 0),
            name=f"prepare-{service_name(launch.subject.id)}",
            command=application.prepare,
        )
        try:
            container, batch = self.run_service(service, launch.log.parent)
        except GatebenchError as error:
            return f"its preparation (`{shown}`) cannot be run: {error}"
        try:
            with engine_errors():
                status = int(container.wait(timeout=PREPARE_TIMEOUT_S)["StatusCode"])
                said = container.logs().decode(errors="replace")
        except (EngineRefusedError, OSError) as error:
            return f"its preparation (`{shown}`) did not end within {PREPARE_TIMEOUT_S:g} s: {error}"
        finally:
            self.remove(batch)
        if not status:
            return ""
        return f"its preparation (`{shown}`) failed with status {status}:\n{last_lines(said)}"

    def _start(self, launches: Sequence[Launch]) -> list[Instance | ServerFailure]:
        if not launches:
            return []
        ports = self.ports(len(launches))
        services = [self._service(launch, port) for launch, port in zip(launches, ports, strict=True)]
        batch = self._write(launches[0].log.parent, services)
        names = [each.name for each in services]
        said = [""] * len(names)
        if self._up(batch, *names):
            # One that cannot be started keeps Compose from starting others: each once more by itself.
            with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
                said = list(pool.map(lambda name: self._up(batch, name), names))
        containers = self.engine.containers(batch.project)
        return [
            self._instance(launch, port, batch, containers, failure)
            for launch, port, failure in zip(launches, ports, said, strict=True)
        ]

    def place(self, instances: Sequence[Instance]) -> list[tuple[Instance, ServerFailure]]:  # noqa: ARG002
        """Nothing: containers are on the servers' cores from their start."""
        return []

    def stop(self, instances: Sequence[Instance]) -> None:
        """Ends servers and waits until they have ended, by force where they do not obey; keeps their logs."""
        ours = [each for each in instances if isinstance(each, DockerInstance)]
        for batch in dict.fromkeys(each.batch for each in ours):
            of_batch = [each for each in ours if each.batch == batch]
            names = [each.service for each in of_batch]
            with ThreadPoolExecutor(len(of_batch)) as pool:
                list(pool.map(DockerInstance.note_use, of_batch))
            self._compose(batch, "stop", "--timeout", str(STOP_GRACE_S), *names)
            with ThreadPoolExecutor(len(of_batch)) as pool:
                list(pool.map(DockerInstance.keep_log, of_batch))
            self._compose(batch, "rm", "--force", *names)

    def run_service(self, service: Service, logs: Path) -> tuple[Container, Batch]:
        """Starts one container that is no server, such as a null responder.

        Raises:
            GatebenchError: it could not be started; with what Compose said.
        """
        batch = self._write(logs, [service])
        said = self._up(batch, service.name)
        container = self.engine.containers(batch.project).get(service.name)
        if said or container is None:
            why = said or "the engine has no such container"
            raise GatebenchError(f"the container {service.name} could not be started:\n{why}")
        return container, batch

    def remove(self, batch: Batch) -> None:
        """Ends and removes everything of a batch."""
        self._compose(batch, "rm", "--stop", "--force")

    def address(self, container: Container, port: int) -> tuple[str, int]:
        """Where the load generator reaches a container that listens on `port`."""
        if self.network == "host":
            return self.host, port
        with engine_errors():
            container.reload()
            networks = container.attrs["NetworkSettings"]["Networks"]
        return str(networks[self.network_name]["IPAddress"]), port

    def ports(self, count: int) -> list[int]:
        """Ports for so many containers."""
        if self.network == "bridge":
            return [BRIDGE_PORT] * count
        return self.site.fresh_ports(self.host, count)

    @property
    def listen_host(self) -> str:
        """The address that what runs in a container listens at."""
        return self.host if self.network == "host" else EVERYWHERE

    def _service(self, launch: Launch, port: int) -> Service:
        return server_service(
            launch.subject,
            image=self.images[launch.subject.environment].name,
            host=self.listen_host,
            port=str(port),
            budget=self.budget,
            environment={"PYTHONHASHSEED": str(launch.hash_seed), **self._of_database(launch)},
        )

    def _of_database(self, launch: Launch) -> dict[str, str]:
        if self.database is None or not launch.subject.application.requires:
            return {}
        return {DATABASE_VARIABLE: self.database.url}

    def _write(self, logs: Path, services: Sequence[Service]) -> Batch:
        number = next(self._batches)
        batch = Batch(f"gatebench-{self.owner}-{number}", logs / f"compose-{number}.yml")
        project = Project(
            batch.project,
            tuple(services),
            str(ContainerOwner.this(self.owner)),
            network=self.network,
            network_name=self.network_name,
        )
        batch.file.write_text(render(project), encoding="utf-8")
        return batch

    def _up(self, batch: Batch, *services: str) -> str:
        """Empty, or what Compose said when it failed."""
        done = self.engine.compose(
            batch.project,
            batch.file,
            *("up", "--detach", "--no-build", "--no-deps", "--no-recreate"),
            *services,
            owner=self.owner,
        )
        return (done.said or f"Compose ended with status {done.status}") if done.status else ""

    def _compose(self, batch: Batch, *arguments: str) -> None:
        done = self.engine.compose(batch.project, batch.file, *arguments, owner=self.owner)
        if done.status:
            self.engine.remove_project(batch.project)

    def _instance(
        self,
        launch: Launch,
        port: int,
        batch: Batch,
        containers: Mapping[str, Container],
        failure: str,
    ) -> Instance | ServerFailure:
        container = containers.get(service_name(launch.subject.id))
        image = self.images[launch.subject.environment]
        if failure and self.engine.image(image.name) is None:
            text = f"its image {image.name} was removed after the run had begun; start again, which builds it"
            return ServerFailure("start", text)
        if failure or container is None:
            return _unstarted(failure or "the engine has no such container")
        try:
            address = self.address(container, port)
        except EngineRefusedError as error:
            return _unstarted(str(error))
        instance = DockerInstance(
            launch,
            container,
            batch,
            self.site,
            address=address,
            budget=self.budget,
            on_loopback=self.network == "host",
            open_files=self.open_files,
        )
        instance.database = self.database if launch.subject.application.requires else None
        return instance


def _unstarted(said: str) -> ServerFailure:
    return ServerFailure("start", f"its container could not be started:\n{last_lines(said, 4)}")
