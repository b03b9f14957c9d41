"""A run in containers: servers, load and null responders on an engine's machine, the lab wherever it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gatebench.load.backend import Circumstances, Ground, Responder
from gatebench.load.process import LOCUST_PORT, LoadError, LoadProcess, MasterOptions
from gatebench.machine.cores import Cores, available_cores, divide_evenly
from gatebench.results.surroundings import DatabaseMeta, LimitsMeta
from gatebench.runners.base import Readiness
from gatebench.runners.database import max_connections
from gatebench.runners.docker.database import start_database
from gatebench.runners.docker.engine import (
    ContainerOwner,
    Engine,
    EngineError,
    compose_command,
)
from gatebench.runners.docker.images import BuildError, Image, Images
from gatebench.runners.docker.responders import answers, nginx_responder, own_responder, responders
from gatebench.runners.docker.runner import EVERYWHERE, Batch, DockerRunner, Network
from gatebench.runners.docker.services import (
    SOURCES,
    Project,
    Service,
    memory_limit_mib,
    pids_limit,
    render,
    workload_folder,
)
from gatebench.runners.docker.site import ContainerSite
from gatebench.words.errors import GatebenchError
from gatebench.words.model import Application, Server, Subject, Workload
from gatebench.words.options import DEFAULT as DEFAULT_SERVERS
from gatebench.words.options import Budget, LoadOptions, ServerOptions
from gatebench.words.paths import HOST, ROOT
from gatebench.words.text import counted
from loadtests.engine.protocol import Target

IMAGES = ROOT / ".gatebench" / "images"
LOAD_MEMORY_MIB = 4096
"""Thousands of connections and exact histograms; the servers' own limit is `compose.MEMORY_MIB`."""
CGROUPS = "/sys/fs/cgroup:/cgroup:ro"
LOADGEN, WORKER = "loadgen", "worker"
LOCUSTFILE = f"{SOURCES}/loadtests/locustfile.py"
DESCRIBE = ("python", "-m", "gatebench.runners.docker.agent", "--describe")
RUN = ("run", "--rm", "--no-TTY", "--no-deps", "--use-aliases", "--name")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how containers run.

    Attributes:
        network: `host`, or `bridge` for one network that all containers share.
        host: the address that servers listen at in the host's network.
        workloads: those that the run will drive: their Locust files go into the load generator's image.
        servers: what every server gets.
    """

    network: Network = "host"
    host: str = HOST
    workloads: tuple[Workload, ...] = ()
    servers: ServerOptions = DEFAULT_SERVERS


def choose_network(engine: Engine) -> Network:
    """The host's network where it is a Linux machine's own, which nothing translates; else a bridge."""
    return "bridge" if engine.is_desktop else "host"


class DockerBackend:
    """Containers of an engine.

    Args:
        engine: which has answered.
        engines: load engine processes; None for as many as the cores allow.
        setting: where and how containers run.
        circumstances: of the command that uses it.
    """

    name = "docker"

    def __init__(
        self, engine: Engine, engines: int | None, setting: Setting, circumstances: Circumstances
    ) -> None:
        self._engine = engine
        self._engines = engines
        self._setting = setting
        self._owner = circumstances.owner
        self._label = str(ContainerOwner.this(circumstances.owner))
        self._report = circumstances.report
        self._images = Images(
            engine,
            owner=circumstances.owner,
            scratch=circumstances.scratch,
            cache=IMAGES,
            report=circumstances.report,
        )
        self._servers: dict[str, Image] = {}
        self._prepared: _Prepared | None = None
        self._runner: DockerRunner | None = None
        self._database: Image | BuildError | None = None
        self._requiring = 0
        left = engine.remove_left_over()
        if left:
            what = counted(left, "container or network", "containers and networks")
            self._report(f"removed {what} that a killed run had left behind")

    @property
    def cores(self) -> Cores:
        """The cores of the engine's machine, divided; known once it is prepared."""
        return self._ready.cores

    @property
    def budget(self) -> Budget:
        """What every server gets; known once it is prepared."""
        return self._setting.servers.budget(self.cores.server)

    def prepare(self, subjects: Sequence[Subject]) -> dict[str, Readiness]:
        """Builds what the subjects need; subject ID → readiness.

        Raises:
            BuildError: the load generator's image cannot be built.
            ConfigurationError: the engine's machine has too few cores.
        """
        load = self._images.of_load(self._setting.workloads)
        machine = json.loads(self._engine.output_of(load.name, DESCRIBE))
        cores = set(machine["cores"])
        if self._engine.is_local:
            cores &= set(available_cores())
        siblings = {int(core): frozenset(found) for core, found in machine["siblings"].items()}
        divided = divide_evenly(sorted(cores), self._engines, siblings, self._setting.servers.cores)
        self._prepared = _Prepared(load, divided, machine)
        servers: dict[str, Server] = {each.installed.environment: each.installed for each in subjects}
        applications: dict[str, list[Application]] = {name: [] for name in servers}
        for subject in subjects:
            wanted = applications[subject.installed.environment]
            if subject.application not in wanted:
                wanted.append(subject.application)
        made = self._images.of_servers([(servers[name], applications[name]) for name in servers])
        self._servers = {name: image for name, image in made.items() if isinstance(image, Image)}
        # The load generator's image has the null responders, too.
        self._servers |= {each.server.name: load for each in (own_responder(), nginx_responder())}
        readiness = {subject.id: _readiness(made[subject.environment]) for subject in subjects}
        requiring = [each.id for each in subjects if each.application.requires]
        if not requiring:
            return readiness
        self._requiring = len(requiring)
        self._database = self._images.of_database(load)
        if isinstance(self._database, BuildError):
            readiness |= dict.fromkeys(requiring, Readiness(str(self._database), {}))
        return readiness

    @contextmanager
    def open(self, logs: Path, options: LoadOptions) -> Iterator[Ground]:
        """Starts the load generator's container and in it the load process, and Locust workers beside it."""
        master = self._master(options)
        with ExitStack() as undo:
            undo.callback(self._remove_everything)
            batch = self._write_load(logs)
            undo.callback(self._bring_down, batch, logs)
            load = undo.enter_context(
                LoadProcess(
                    compose_command(batch.project, batch.file, *RUN, f"{batch.project}-{LOADGEN}", LOADGEN),
                    owner=self._owner,
                    log=logs / "load.log",
                    options=master,
                    through_output=True,
                    locustfiles=self._locustfiles(),
                )
            )
            site = ContainerSite(load)
            undo.enter_context(self._engine_is_there())
            if master.deals_cores:
                (port,) = site.fresh_ports(HOST, 1)
                master = replace(master, port=port)
            site.start_load(master.arguments(self.cores.engine))
            if master.deals_cores:
                self._start_workers(logs, master.workers, master.port)
            if self._setting.host != HOST:
                self._report(
                    f"the servers listen at {self._setting.host}: whoever reaches that address can use them "
                    "while the run lasts"
                )
            self._runner = DockerRunner(
                engine=self._engine,
                site=site,
                images=self._servers,
                budget=self.budget,
                owner=self._owner,
                network=self._setting.network,
                network_name=self._network_name,
                host=self._setting.host,
                open_files=self._ready.machine["open_files"],
            )
            self._open_database(self._runner, logs)
            yield Ground(self._runner, site, load)

    def _open_database(self, runner: DockerRunner, logs: Path) -> None:
        """Starts the database where applications require one; it ends with all that has the lab's label."""
        if not isinstance(self._database, Image):
            return
        self._report("starting a PostgreSQL of the run's own")
        connections = max_connections(self._requiring + 1, self.budget.workers)  # one more for a twin
        try:
            runner.database = start_database(
                runner, self._database, cores=self.cores.lab, connections=connections, logs=logs
            )
        except GatebenchError as error:
            runner.no_database = str(error)

    @contextmanager
    def responders(self, logs: Path) -> Iterator[Callable[[Target], Responder]]:
        """Runs nginx, and the lab's own null responder for what nginx does not answer, on a server's core."""
        if self._runner is None:
            raise ValueError("responders need an open backend")
        with responders(self._runner, self._ready.load, self.cores.server[0], logs) as responder_of:
            yield responder_of

    def responder_for(self, target: Target) -> Subject:
        """Nginx where it answers the target, else the lab's own."""
        return nginx_responder() if answers(target) else own_responder()

    def describe(self) -> Mapping[str, Any]:
        """The engine, its machine, the network and the limits."""
        database = None if self._runner is None else self._runner.database
        return {
            **({} if database is None else {"database": DatabaseMeta(**asdict(database.facts))}),
            "machine": {
                **self._ready.machine["machine"],
                "distribution": self._engine.info.get("OperatingSystem"),
                "memory_mib": round(int(self._engine.info.get("MemTotal", 0)) / 2**20),
            },
            "network": self._setting.network,
            "server_host": self._setting.host,
            "engine": self._engine.describe(),
            "limits": LimitsMeta(memory_mib=memory_limit_mib(self.budget), pids=pids_limit(self.budget)),
            "load_image": self._ready.load.facts,
        }

    @property
    def _ready(self) -> _Prepared:
        if self._prepared is None:
            raise ValueError("the backend was not prepared")
        return self._prepared

    @property
    def _network_name(self) -> str:
        return f"gatebench-{self._owner}"

    def _master(self, options: LoadOptions) -> MasterOptions:
        """Workers are containers beside the load generator's, unless they are elsewhere."""
        if not options.workers:
            return MasterOptions()
        if options.bind:
            return MasterOptions(options.workers, options.bind, LOCUST_PORT, external=True)
        bind = HOST if self._setting.network == "host" else EVERYWHERE
        return MasterOptions(options.workers, bind, external=True, deals_cores=True)

    def _write_load(self, logs: Path, *, master_port: int | None = None) -> Batch:
        """The Compose file of the load generator, and of Locust workers where there is a port to join at."""
        batch = Batch(f"gatebench-{self._owner}-load", logs / "compose-load.yml")
        agent = Service(
            name=LOADGEN,
            image=self._ready.load.name,
            command=("python", "-m", "gatebench.runners.docker.agent"),
            cpuset=self._load_cores,
            interactive=True,
            volumes=(CGROUPS,),
            memory_mib=LOAD_MEMORY_MIB,
        )
        worker = Service(
            name=WORKER,
            image=self._ready.load.name,
            command=(
                *("locust", "--locustfile", LOCUSTFILE, "--loglevel", "WARNING", "--worker"),
                *("--master-host", HOST if self._setting.network == "host" else LOADGEN),
                *("--master-port", str(master_port)),
            ),
            cpuset=self._load_cores,
            memory_mib=LOAD_MEMORY_MIB,
        )
        project = Project(
            batch.project,
            (agent,) if master_port is None else (agent, worker),
            self._label,
            network=self._setting.network,
            network_name=self._network_name,
            creates_network=True,
        )
        batch.file.write_text(render(project), encoding="utf-8")
        return batch

    def _start_workers(self, logs: Path, count: int, port: int) -> None:
        batch = self._write_load(logs, master_port=port)
        arguments = ("up", "--detach", "--no-build", "--no-deps", "--scale", f"{WORKER}={count}", WORKER)
        done = self._engine.compose(batch.project, batch.file, *arguments, owner=self._owner)
        if done.status:
            raise LoadError(f"Locust's workers could not be started:\n{done.said}")

    def _bring_down(self, batch: Batch, logs: Path) -> None:
        """Ends the workers, keeps what they said, and removes the network."""
        with suppress(EngineError):  # it is gone, and whoever found that out says so
            self._engine.keep_logs(batch.project, logs / "load.log")
            arguments = ("down", "--timeout", "1", "--remove-orphans")
            self._engine.compose(batch.project, batch.file, *arguments, owner=self._owner)

    def _remove_everything(self) -> None:
        """What carries the lab's label, whatever was not ended in order."""
        with suppress(EngineError):
            self._engine.remove_left_over(also=self._owner)

    @contextmanager
    def _engine_is_there(self) -> Iterator[None]:
        """A load process that ends because the engine did is the engine's fault."""
        try:
            yield
        except LoadError:
            self._engine.ping()
            raise

    @property
    def _load_cores(self) -> str:
        return ",".join(map(str, sorted({*self.cores.engine, *self.cores.lab})))

    def _locustfiles(self) -> Callable[[Path], str]:
        """Where the image has a workload's Locust file."""
        known = {each.locustfile: workload_folder(each) for each in self._setting.workloads}
        return lambda path: f"{known[path]}/{path.name}"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is known of the engine's machine once the load generator's image is there."""

    load: Image
    cores: Cores
    machine: Mapping[str, Any]


def _readiness(made: Image | BuildError) -> Readiness:
    if isinstance(made, Image):
        return Readiness("", made.packages, made.facts)
    return Readiness(f"{made}\nWithout containers it may run: RUNNER=process", {})
