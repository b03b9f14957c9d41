"""Null responders in containers: nginx for small fixed answers, and the lab's own for the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from gatebench.contract.file import load_contract
from gatebench.contract.rules import Contract
from gatebench.contract.site import Check
from gatebench.load.backend import Responder
from gatebench.load.responders import OWN_COMMAND, responder_subject
from gatebench.results.schema import NULL_RESPONDER
from gatebench.runners.docker.engine import EngineRefusedError, engine_errors
from gatebench.runners.docker.images import Image
from gatebench.runners.docker.runner import DockerRunner
from gatebench.runners.docker.services import FILES_VARIABLE, LAUNCHER, WORK, Service
from gatebench.runners.docker.site import ContainerSite
from gatebench.runners.readiness import READY_STEP_S, READY_TIMEOUT_S
from gatebench.words.errors import GatebenchError
from gatebench.words.model import Subject
from loadtests.engine.protocol import Target

ROUTES = ("/", "/plaintext", "/json")
"""Small fixed answers, which nginx makes in memory."""

_CONFIGURATION = """\
worker_processes 1;
pid /scratch/nginx.pid;
error_log stderr error;
events {
    worker_connections 16384;
    multi_accept on;
}
http {
    access_log off;
    client_body_temp_path /scratch/body;
    proxy_temp_path /scratch/proxy;
    fastcgi_temp_path /scratch/fastcgi;
    uwsgi_temp_path /scratch/uwsgi;
    scgi_temp_path /scratch/scgi;
    keepalive_timeout 600s;
    keepalive_requests 2000000000;
    tcp_nodelay on;
    server {
        listen %s backlog=4096;
%s
    }
}
"""
_LOCATION = """\
        location = %s {
            default_type %s;
            return 200 '%s';
        }"""


def answers(target: Target) -> bool:
    """Whether nginx gives what the target expects."""
    return target.transport != "websocket" and target.method == "GET" and target.path in ROUTES


def configuration(host: str, port: int | str, contract: Contract) -> str:
    """The text of nginx.conf, for the working folder /scratch.

    Args:
        host: address to listen at.
        port: where it listens; both may be placeholders.
        contract: whose bytes the answers have.
    """
    locations = []
    for route in ROUTES:
        answer = contract.expect("GET", route)
        text = answer.body.decode()
        if "'" in text or "$" in text or "\\" in text:
            raise ValueError(f"{route}: nginx would take a part of its body for a variable or a quote")
        locations.append(_LOCATION % (route, dict(answer.headers)["content-type"], text))
    return _CONFIGURATION % (f"{host}:{port}", "\n".join(locations))


def own_responder() -> Subject:
    """The lab's own null responder, as a subject."""
    return responder_subject(NULL_RESPONDER, ("python", *OWN_COMMAND))


def nginx_responder() -> Subject:
    """Nginx as a null responder, as a subject."""
    files = {"nginx.conf": configuration("{host}", "{port}", load_contract())}
    return responder_subject("nginx", ("nginx", "-c", "{work}/nginx.conf", "-g", "daemon off;"), files)


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
