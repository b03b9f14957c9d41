"""Makes `docker-compose.yml`, for people: a service for every subject of the repository, and Locust."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gatebench.commands import fill, fill_table
from gatebench.compose import (
    MEMORY_MIB,
    PIDS,
    WORK,
    Build,
    Interpolated,
    Project,
    Service,
    escaped,
    render,
    service_name,
)
from gatebench.model import Subject
from gatebench.registry import Registry, load_registry
from gatebench.runner import HOST, Budget
from gatebench.staging import SOURCES, app_file, python_path, server_folder

FILE = "docker-compose.yml"
FILES_VARIABLE = "GATEBENCH_FILES"
LAUNCHER = ("python", f"{SOURCES}/servers/launch.py")
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


def server_service(
    subject: Subject,
    *,
    image: str,
    host: str,
    port: str,
    budget: Budget,
    environment: Mapping[str, str] | None = None,
) -> Service:
    """The container of a subject: its command and its files filled, its cores and its signal.

    Args:
        subject: what runs in it.
        image: of `subject.server`.
        host: address to listen at.
        port: digits, or Compose's text for them, as all that is filled in.
        budget: its cores (none given: all), workers and threads.
        environment: more variables; the variant's own win.
    """
    variant = subject.variant
    values = {
        "app": subject.application.form(variant.interface) or "",
        "app_file": app_file(subject.application, variant.interface),
        "host": host,
        "port": port,
        "workers": str(budget.workers),
        "threads": str(budget.threads),
        "work": WORK,
        "folder": server_folder(subject.server),
    }
    command = fill([escaped(word) for word in variant.command], values)
    own = fill_table({name: escaped(text) for name, text in variant.environment.items()}, values)
    variables: dict[str, str] = {
        "PYTHONPATH": python_path(subject.application),
        **(environment or {}),
        **{name: Interpolated(text) for name, text in own.items()},
    }
    if variant.files:
        command = (*LAUNCHER, *command)
        files = fill_table({name: escaped(content) for name, content in variant.files.items()}, values)
        variables[FILES_VARIABLE] = Interpolated(json.dumps(files, ensure_ascii=False))
    return Service(
        name=service_name(subject.id),
        image=image,
        command=tuple(map(Interpolated, command)),
        environment=variables,
        cpuset=",".join(map(str, budget.cores)),
        stop_signal=f"SIG{variant.stop}",
        memory_mib=memory_limit_mib(budget),
        pids=pids_limit(budget),
    )


def memory_limit_mib(budget: Budget) -> int:
    """Memory that a server's container may use: so much for each worker process, which has its own."""
    return MEMORY_MIB * budget.workers


def pids_limit(budget: Budget) -> int:
    """Processes and threads that it may have: Granian's workers alone may start 512 threads each."""
    return PIDS * budget.workers


def _server(subject: Subject, number: int) -> Service:
    """A subject for people, at a port of its own."""
    name, variant = subject.server.name, subject.variant
    if (subject.server.folder / "Dockerfile").is_file():
        build = Build(".", f"servers/{name}/Dockerfile")
    else:
        build = Build(".", "servers/Dockerfile", {"SERVER": name})
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
