"""The null responders of calibration in containers: nginx, and the lab's own for what nginx cannot answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from gatebench.calibrate import NULL_RESPONDER, Responder
from gatebench.compose import WORK, Service
from gatebench.compose_file import FILES_VARIABLE, LAUNCHER
from gatebench.contract import load_contract
from gatebench.engine import EngineRefusedError, engine_errors
from gatebench.errors import GatebenchError
from gatebench.holding import READY_STEP_S, READY_TIMEOUT_S
from gatebench.images import Image
from gatebench.null_nginx import answers, configuration
from gatebench.runner_docker import DockerRunner
from gatebench.site import Check
from gatebench.site_container import ContainerSite
from loadtests.engine.target import Target


@dataclass(frozen=True, slots=True)
class ResponderContainer:
    """A null responder in a container."""

    name: str
    host: str
    port: int
    container: Container
    site: ContainerSite

    def cpu_s(self) -> float | None:
        """CPU seconds that it has used, None where that cannot be read."""
        return self.site.see(str(self.container.id), ()).usage.cpu_s


@contextmanager
def responders(
    runner: DockerRunner, image: Image, core: int, logs: Path
) -> Iterator[Callable[[Target], Responder]]:
    """Runs both; the answer tells which of them answers a target. They end with the block.

    Args:
        runner: which starts them.
        image: the load generator's, which holds both.
        core: of the servers' machine, on which both run; each has one loop, as the engine has.
        logs: folder for their Compose files.

    Raises:
        GatebenchError: one of them did not get ready; with its last lines.
    """
    host, (own_port, nginx_port) = runner.listen_host, runner.ports(2)
    files = {"nginx.conf": configuration(host, nginx_port, load_contract())}
    own_service = Service(
        name=NULL_RESPONDER.replace(" ", "-"),
        image=image.name,
        command=("python", "-m", "loadtests.null_server", "--host", host, "--port", str(own_port)),
        cpuset=str(core),
    )
    nginx_service = Service(
        name="nginx",
        image=image.name,
        command=(*LAUNCHER, "nginx", "-c", f"{WORK}/nginx.conf", "-g", "daemon off;"),
        environment={FILES_VARIABLE: json.dumps(files)},
        cpuset=str(core),
    )
    with ExitStack() as undo:

        def start(service: Service, port: int) -> Responder:
            container, batch = runner.run_service(service, logs)
            undo.callback(runner.remove, batch)
            return _when_ready(service.name, container, runner, port)

        own, nginx = start(own_service, own_port), start(nginx_service, nginx_port)
        yield lambda target: nginx if answers(target) else own


def _when_ready(name: str, container: Container, runner: DockerRunner, port: int) -> ResponderContainer:
    """A null responder that answers.

    Raises:
        GatebenchError: it does not; with its last lines.
    """
    host, port = runner.address(container, port)
    check = Check(host, port, "wsgi", frozenset())
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (last := runner.site.ready([check], READY_STEP_S)[0].text) and time.monotonic() < deadline:
        with engine_errors():
            container.reload()
        if container.status != "running":
            break
    if last:
        said = ""
        with suppress(EngineRefusedError), engine_errors():  # it was removed
            said = container.logs(tail=8).decode(errors="replace")
        raise GatebenchError(
            f"{name}, which the load engine is held against, did not get ready: {last}\n{said}"
        )
    return ResponderContainer(name.replace("-", " "), host, port, container, runner.site)
