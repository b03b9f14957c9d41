"""Starts servers as containers: Compose brings them up and down, the SDK and the agent tell what they do."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from docker.models.containers import Container

from gatebench.compose import STOP_GRACE_S, Project, Service, render, service_name
from gatebench.compose_file import server_service
from gatebench.container_owner import ContainerOwner
from gatebench.engine import Engine, EngineRefusedError, engine_errors, last_lines
from gatebench.errors import GatebenchError, ServerFailure
from gatebench.images import Image
from gatebench.instance_docker import Batch, DockerInstance
from gatebench.processes import Owner
from gatebench.runner import HOST, Budget, Instance, Launch
from gatebench.site_container import ContainerSite

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
    _batches: itertools.count[int] = field(default_factory=itertools.count)

    def start(self, launches: Sequence[Launch]) -> list[Instance | ServerFailure]:
        """Starts servers, each on a fresh port, and returns at once: for each the server, or why not."""
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

    def stop(self, instances: Sequence[Instance]) -> None:
        """Ends servers and waits until they have ended, by force where they do not obey; keeps their logs."""
        ours = [each for each in instances if isinstance(each, DockerInstance)]
        for batch in dict.fromkeys(each.batch for each in ours):
            of_batch = [each for each in ours if each.batch == batch]
            names = [each.service for each in of_batch]
            with ThreadPoolExecutor(len(of_batch)) as pool:
                list(pool.map(DockerInstance.note_use, of_batch))
            self._compose(batch, "stop", "--timeout", str(STOP_GRACE_S), *names)
            for each in of_batch:
                each.keep_log()
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
            image=self.images[launch.subject.server.name].name,
            host=self.listen_host,
            port=str(port),
            budget=self.budget,
            environment={"PYTHONHASHSEED": str(launch.hash_seed)},
        )

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
        image = self.images[launch.subject.server.name]
        if failure and self.engine.image(image.name) is None:
            text = f"its image {image.name} was removed after the run had begun; start again, which builds it"
            return ServerFailure("start", text)
        if failure or container is None:
            return _unstarted(failure or "the engine has no such container")
        try:
            address = self.address(container, port)
        except EngineRefusedError as error:
            return _unstarted(str(error))
        return DockerInstance(
            launch,
            container,
            batch,
            self.site,
            address=address,
            budget=self.budget,
            on_loopback=self.network == "host",
            open_files=self.open_files,
        )


def _unstarted(said: str) -> ServerFailure:
    return ServerFailure("start", f"its container could not be started:\n{last_lines(said, 4)}")
