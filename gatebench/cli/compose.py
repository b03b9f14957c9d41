"""Makes `docker-compose.yml`, for people: a service for every subject of the repository, and Locust."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gatebench.registry.registry import Registry, load_registry
from gatebench.runners.docker.services import (
    SOURCES,
    Build,
    Interpolated,
    Project,
    Service,
    render,
    server_service,
)
from gatebench.words.model import Subject
from gatebench.words.options import Budget
from gatebench.words.paths import HOST

FILE = "docker-compose.yml"
WEB_PORT = 8089
FIRST_PORT = 8001
MOST_SUBJECTS = WEB_PORT - FIRST_PORT
NO_TAG = ""
"""Compose marks an image with its service: if several had one tag, all but the last would lose it."""

_HEADER = """\
One service for each subject, and Locust to drive them: for trying them by hand. Measurements start containers
of their own (make bench RUNNER=docker). Made from servers/*/server.toml by `make compose`, not by hand.

  docker compose up uvicorn                 serves one subject; its address is in its comment
  docker compose --profile all up           serves all of them
  docker compose --profile load up          Locust: http://127.0.0.1:8089
  docker compose --profile '*' down         ends and removes it all (without a profile, down removes nothing);
                                            with --rmi local the images, too

Variables, as in TARGET=http://127.0.0.1:8002 docker compose --profile load up --scale worker=2
  TARGET            what Locust drives (default: the first subject)
  SERVER_CPUS       cores of the servers (default: 0, for each of them the same)
  LOAD_CPUS         cores of Locust's workers (default: all; 1-3 would leave core 0 to the servers)
  PORTS             90 puts the subjects at 9001, 9002, … where 8001, 8002, … are taken
  PIP_CONFIG_FILE   pip's configuration, for builds behind a private package index

All of it listens on loopback, in the host's own network: that takes Linux, or Docker Desktop with host
networking turned on.
"""


def text(registry: Registry) -> str:
    """What `docker-compose.yml` must hold for a registry of the repository alone."""
    return render(for_people(registry), _HEADER)


def write(root: Path) -> bool:
    """Makes the file in the repository at `root` anew; returns whether it has changed.

    Raises:
        ConfigurationError: with every problem in the repository's folders.
    """
    file = root / FILE
    new = text(load_registry(root))
    if file.is_file() and file.read_text(encoding="utf-8") == new:
        return False
    file.write_text(new, encoding="utf-8")
    return True


def for_people(registry: Registry) -> Project:
    """Every subject with the plain application, Locust's master and its workers.

    Raises:
        ValueError: there are more subjects than ports below Locust's.
    """
    subjects = sorted(registry.subjects(), key=lambda each: each.id)
    if len(subjects) > MOST_SUBJECTS:
        raise ValueError(f"{len(subjects)} subjects, and ports for {MOST_SUBJECTS} of them in {FILE}")
    servers = tuple(_server(subject, number) for number, subject in enumerate(subjects, 1))
    return Project(name="gatebench", services=(*servers, *_load()), owner="people")


def _server(subject: Subject, number: int) -> Service:
    """A subject for people, at a port of its own."""
    name, variant = subject.server.name, subject.variant
    if (subject.server.folder / "Dockerfile").is_file():
        build = Build(".", f"servers/{name}/Dockerfile")
    else:
        own = variant.requirements
        build = Build(".", "servers/Dockerfile", {"SERVER": name, **({"REQUIREMENTS": own} if own else {})})
    service = server_service(
        subject,
        image=NO_TAG,
        host=HOST,
        port=f"${{PORTS:-{FIRST_PORT // 100}}}{FIRST_PORT % 100 + number - 1:02}",
        budget=Budget(()),
    )
    kind = f"{variant.interface.upper()}, " + (f"tuned: {variant.why}" if variant.tuned else "as by default")
    return replace(
        service,
        cpuset=Interpolated("${SERVER_CPUS:-0}"),
        build=build,
        profiles=("all",),
        comment=f"http://{HOST}:{FIRST_PORT + number - 1} {kind} ({subject.server.homepage})",
    )


def _load() -> tuple[Service, Service]:
    """Locust's master with its web UI, and its workers, of which there may be any number."""
    locust = ("locust", "--locustfile", f"{SOURCES}/loadtests/locustfile.py")
    target = Interpolated(f"${{TARGET:-http://{HOST}:${{PORTS:-{FIRST_PORT // 100}}}{FIRST_PORT % 100:02}}}")
    build = Build(".", "loadtests/Dockerfile")
    master = Service(
        name="loadgen",
        image=NO_TAG,
        command=(
            *(*locust, "--master", "--master-bind-host", HOST, "--web-host", HOST, "--class-picker"),
            *("--users", "64", "--spawn-rate", "64", "--web-port", str(WEB_PORT), "--host", target),
        ),
        build=build,
        profiles=("load",),
        comment=f"http://{HOST}:{WEB_PORT} Locust's web UI, and its master, which leads the workers",
    )
    worker = Service(
        name="worker",
        image=NO_TAG,
        command=(*locust, "--worker", "--master-host", HOST),
        cpuset=Interpolated("${LOAD_CPUS:-}"),
        build=build,
        profiles=("load",),
        comment="makes the load; all workers share the cores in LOAD_CPUS",
    )
    return master, worker
