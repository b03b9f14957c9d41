"""One container engine: facts through Docker's SDK, the lifecycle through Compose.

The engine may be on another machine (`DOCKER_HOST`, or a Docker context). What it says of containers is asked
of it; nothing is looked up on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.models.containers import Container

from gatebench.machine.processes import OWNER_VARIABLE, Owner, pid_namespace
from gatebench.results.surroundings import EngineMeta
from gatebench.runners.docker.services import MEMORY_MIB, OWNER_LABEL, PIDS, TEMPORARY, USER, WORK
from gatebench.words.errors import GatebenchError

UNIX = "unix://"
CONNECT_S = 5.0
COMPOSE_ANSWER_S = 10.0


class EngineAbsentError(GatebenchError):
    """There is no engine that could be used; the text says why and what to do next."""


def engine_address() -> tuple[str, Any]:
    """Where the `docker` command would connect to, and its TLS settings."""
    if os.environ.get("DOCKER_HOST"):
        settings = docker.utils.kwargs_from_env()
        return settings["base_url"], settings.get("tls", False)
    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    context = ContextAPI.get_context(name)
    if context is None:
        raise ValueError(
            f'there is no Docker context "{name}"; `docker context ls` shows those that there are'
        )
    return context.Host, context.TLSConfig or False


def check_socket(address: str) -> None:
    """Connects to a Unix socket and lets go of it again; every other address passes.

    The SDK never closes the socket of its own with which it could not connect.

    Raises:
        OSError: nobody listens there, or this user may not use it.
    """
    if address.startswith(UNIX):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_S)
            probe.connect(address.removeprefix(UNIX))


def compose_version() -> str:
    """Asks the Compose plug-in.

    Raises:
        EngineAbsentError: it cannot be used.
    """
    command = ["docker", "compose", "version", "--short"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPOSE_ANSWER_S, check=True)
    except FileNotFoundError as error:
        raise EngineAbsentError(
            "a Docker engine answers, but the command `docker` is missing: install it and its Compose "
            "plug-in (docker-cli and docker-compose-plugin)"
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineAbsentError(
            "a Docker engine answers, but `docker compose version` does not: install the Compose plug-in "
            "(docker-compose-plugin)"
        ) from error
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class ContainerOwner:
    """A lab as containers are labelled with it: on an engine that several machines use, also whose machine.

    Attributes:
        machine: tells machines apart, without naming them; on one machine, also those process namespaces
            that number their processes anew, such as a container in which a lab runs.
    """

    machine: str
    owner: Owner

    @classmethod
    def this(cls, owner: Owner | None = None) -> ContainerOwner:
        """A lab of this machine; by default the one that runs this code."""
        return cls(_machine_mark(), owner or Owner.this())

    def __str__(self) -> str:
        return f"{self.machine}.{self.owner}"


def is_left_over(label: str, also: Owner | None) -> bool:
    """Whether a container so labelled belongs to a lab of this machine that no longer runs.

    Args:
        label: its value.
        also: an owner to sweep up after although it still runs.
    """
    machine, _, text = label.partition(".")
    owner = Owner.parse(text)
    # A person's own containers are labelled too, with no owner; another machine's owner cannot be looked up.
    if owner is None or machine != _machine_mark():
        return False
    return owner == also or not owner.alive


def _machine_mark() -> str:
    path = Path("/etc/machine-id")
    text = path.read_text().strip() if path.exists() else ""
    named = f"{text or platform.node()} {pid_namespace()}"
    return hashlib.sha256(named.encode()).hexdigest()[:12]


CALL_S = 60.0
COMPOSE_S = 180.0
LAST_LINES = 12
PIP_CONFIGURATION = "PIP_CONFIG_FILE"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
_UNREACHABLE = (docker.errors.DockerException, requests.RequestException, OSError)


class EngineError(GatebenchError):
    """The engine does not answer, or no longer; what was measured is kept."""


class EngineRefusedError(EngineError):
    """The engine answers and says no: there is no such container, it is not running, and the like."""


@dataclass(frozen=True, slots=True)
class Composed:
    """How a Compose command ended.

    Attributes:
        said: its last lines.
    """

    status: int
    said: str


@dataclass(frozen=True, slots=True)
class Said:
    """How a command in a container ended, and what it said."""

    status: int
    output: str
    errors: str


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turns the SDK's ways of saying that the engine is gone, or refuses, into one.

    Raises:
        EngineError: with what to do next.
    """
    try:
        yield
    except docker.errors.ContainerError as error:
        raise EngineRefusedError(
            f"a command in a container ended with status {error.exit_status}: {error}"
        ) from error
    except docker.errors.APIError as error:
        raise EngineRefusedError(f"the Docker engine refused: {error.explanation or error}") from error
    except _UNREACHABLE as error:
        raise EngineError(
            f"the Docker engine no longer answers ({_short(error)}); what was measured is kept. Start the "
            "engine again (systemctl start docker) and then the run; the next start removes what is left"
        ) from error


class Engine:
    """A connection to an engine that has answered.

    Attributes:
        address: where it is.
        info: what it says of itself (`docker info`).
        compose_version: that of the Compose plug-in.
    """

    def __init__(self, client: docker.DockerClient, address: str, compose_version: str) -> None:
        self._client = client
        self._commands: set[subprocess.Popen[str]] = set()
        self.address = address
        self.compose_version = compose_version
        with engine_errors():
            self.info: Mapping[str, Any] = client.info()
            self.version: Mapping[str, Any] = client.version()

    @classmethod
    def connect(cls) -> Engine:
        """The engine that the `docker` command would use.

        Raises:
            EngineAbsentError: none answers, it runs no Linux containers, or there is no Compose.
        """
        address, tls = "", False
        with ExitStack() as undo:
            try:
                address, tls = engine_address()
                check_socket(address)
                client = docker.DockerClient(
                    base_url=address, tls=tls, timeout=CONNECT_S, use_ssh_client=address.startswith("ssh:")
                )
                undo.callback(client.close)
                # Else a bundle of certificates for the web would take the place of the engine's own.
                client.api.trust_env = False
                client.ping()
                client.api.timeout = CALL_S
                engine = cls(client, address, compose_version())
            except (*_UNREACHABLE, ValueError, EngineError) as error:
                raise EngineAbsentError(
                    f"no Docker engine answers{f' at {address}' if address else ''} ({_short(error)})"
                ) from error
            if engine.info.get("OSType") != "linux":
                system = engine.info.get("OSType")
                raise EngineAbsentError(f"the engine at {address} runs {system} containers")
            undo.pop_all()
            return engine

    def close(self) -> None:
        """Gives back the connections to it."""
        self._client.close()

    @property
    def is_local(self) -> bool:
        """Whether its containers share this machine's kernel, cores and loopback."""
        # On a desktop the socket is local, too, but the engine is in a virtual machine.
        return self.address.startswith("unix:") and not self.is_desktop

    @property
    def is_desktop(self) -> bool:
        """Whether it is Docker Desktop, whose host network is not that of a Linux machine."""
        return "Docker Desktop" in str(self.info.get("OperatingSystem", ""))

    @property
    def cores(self) -> int:
        """How many cores its machine has."""
        return int(self.info["NCPU"])

    def describe(self) -> EngineMeta:
        """What `run.json` says of the engine."""
        return EngineMeta(
            name="Docker",
            version=str(self.info["ServerVersion"]),
            api=str(self.version.get("ApiVersion", "")),
            system=str(self.info.get("OperatingSystem", "")),
            cgroup=str(self.info.get("CgroupVersion", "1")),
            storage=str(self.info.get("Driver", "")),
            remote=not self.is_local,
            compose=self.compose_version,
        )

    def compose(
        self, project: str, file: Path, *arguments: str, timeout_s: float = COMPOSE_S, owner: Owner | None
    ) -> Composed:
        """Runs a Compose command on a project's file to its end.

        Raises:
            EngineError: it took too long, or failed because the engine is gone.
        """
        command = compose_command(project, file, *arguments)
        variables = {OWNER_VARIABLE: str(owner)} if owner else {}
        if configuration := os.environ.get(PIP_CONFIGURATION):
            # Compose would look for it beside its file, which is in a scratch folder.
            variables[PIP_CONFIGURATION] = str(Path(configuration).expanduser().resolve())
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C is for the lab, which then ends what Compose began.
            start_new_session=True,
        )
        self._commands.add(process)
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"`{' '.join(command)}` did not end within {timeout_s:.0f} s") from error
        finally:
            self._commands.discard(process)
            _end_group(process)
        if process.returncode:
            self.ping()
        return Composed(process.returncode, last_lines(said))

    def end_commands(self) -> None:
        """Ends the Compose commands that other threads wait for; the engine stops a build without client."""
        for process in tuple(self._commands):
            _end_group(process)

    def ping(self) -> None:
        """Asks for a sign of life.

        Raises:
            EngineError: there is none.
        """
        with engine_errors():
            self._client.ping()

    def containers(self, project: str) -> dict[str, Container]:
        """Service → container of a Compose project, stopped ones included."""
        with engine_errors():
            found = self._client.containers.list(
                all=True, filters={"label": f"{PROJECT_LABEL}={project}"}, ignore_removed=True
            )
            return {each.labels[SERVICE_LABEL]: each for each in found}

    def image(self, name: str) -> Mapping[str, Any] | None:
        """What the engine knows of an image, None where it does not have it."""
        try:
            with engine_errors():
                found: Mapping[str, Any] = self._client.api.inspect_image(name)
                return found
        except EngineRefusedError:
            return None

    def output_of(self, image: str, command: Sequence[str]) -> str:
        """What a command prints in a container of an image, which then is removed."""
        with engine_errors(), self._container(image, command, network_disabled=True) as container:
            status = int(container.wait()["StatusCode"])
            if status:
                raise docker.errors.ContainerError(
                    container, status, list(command), image, container.logs(stdout=False)
                )
            output: bytes = container.logs(stderr=False)
        return output.decode(errors="replace")

    def run_like_a_server(
        self, image: str, command: Sequence[str], variables: Mapping[str, str], timeout_s: float
    ) -> Said:
        """Runs a command with the network and the folders that a server's container has.

        Args:
            image: its name.
            command: which ends by itself.
            variables: of its environment.
            timeout_s: in which it has ended.
        """
        uid, gid = USER.split(":")
        network = {} if self.is_desktop else {"network_mode": "host"}
        tmpfs = {WORK: f"uid={uid},gid={gid},mode=0755,exec", TEMPORARY: "mode=1777"}
        container = self._container(image, command, environment=dict(variables), tmpfs=tmpfs, **network)
        with engine_errors(), container as running:
            status = int(running.wait(timeout=timeout_s)["StatusCode"])
            output, errors = running.logs(stderr=False), running.logs(stdout=False)
        return Said(status, output.decode(errors="replace"), errors.decode(errors="replace"))

    @contextmanager
    def _container(self, image: str, command: Sequence[str], **more: Any) -> Iterator[Container]:
        """A container that runs a command, hardened as a server's, and is removed after the block."""
        container = self._client.containers.create(
            image,
            list(command),
            read_only=True,
            cap_drop=["ALL"],
            user=USER,
            security_opt=["no-new-privileges:true"],
            mem_limit=f"{MEMORY_MIB}m",
            memswap_limit=f"{MEMORY_MIB}m",
            pids_limit=PIDS,
            labels={OWNER_LABEL: str(ContainerOwner.this())},
            **more,
        )
        try:  # `containers.run` leaves one behind that cannot be started
            container.start()
            yield container
        finally:
            _remove(container)

    def keep_logs(self, project: str, file: Path) -> None:
        """Appends to a file what the containers of a project printed."""
        with engine_errors(), file.open("ab") as output:
            for container in self._client.containers.list(
                all=True, filters={"label": f"{PROJECT_LABEL}={project}"}, ignore_removed=True
            ):
                if container.attrs["HostConfig"]["LogConfig"]["Type"] != "none":
                    output.write(container.logs())

    def remove_project(self, project: str) -> None:
        """Removes the containers of a Compose project, running or not."""
        for container in self.containers(project).values():
            with engine_errors():
                _remove(container)

    def remove_left_over(self, *, also: Owner | None = None) -> int:
        """Removes containers and networks of labs of this machine that no longer run; returns how many.

        Args:
            also: an owner to sweep up after although it still runs.
        """
        count = 0
        labelled = {"label": OWNER_LABEL}
        with engine_errors():
            for container in self._client.containers.list(all=True, filters=labelled, ignore_removed=True):
                if is_left_over(container.labels.get(OWNER_LABEL, ""), also):
                    _remove(container)
                    count += 1
            for network in self._client.networks.list(filters=labelled):
                labels = network.attrs.get("Labels") or {}
                if is_left_over(labels.get(OWNER_LABEL, ""), also):
                    network.remove()
                    count += 1
        return count


def sweep_containers(owner: Owner) -> None:
    """Removes what this lab, and labs that are gone, have left with the engine; without one, nothing.

    Where it cannot now, the next start with an engine removes it.
    """
    with contextlib.suppress(EngineAbsentError, EngineError):
        Engine.connect().remove_left_over(also=owner)


def compose_command(project: str, file: Path, *arguments: str) -> list[str]:
    """The Compose command on a project's file; progress as plain lines, that is what can be quoted."""
    return [
        *("docker", "compose", "--progress", "plain", "--project-name", project, "--file", str(file)),
        *arguments,
    ]


def _end_group(process: subprocess.Popen[str]) -> None:
    """Ends a command and what it started, unless it has ended: its plug-in is a process of its own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_lines(text: str, count: int = LAST_LINES) -> str:
    """The last lines of what a command printed, empty ones left out."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])


def _remove(container: Container) -> None:
    try:
        container.remove(force=True)
    except docker.errors.NotFound:
        return  # somebody else was faster
    except docker.errors.APIError as error:
        if error.status_code != 409:  # its removal is under way already
            raise


def _short(error: BaseException) -> str:
    """The innermost reason, without the wrapping of four libraries."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # one of them is not None
    text = str(error) or type(error).__name__
    if isinstance(error, PermissionError):
        text += "; this user may use it once in the group of its socket: sudo usermod -aG docker $USER"
    return text
