"""The Compose services of servers, and Compose's file format."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gatebench.words.commands import fill, fill_table
from gatebench.words.model import Application, Interface, Server, Subject, Workload
from gatebench.words.options import Budget
from gatebench.words.paths import ROOT

SOURCES = "/srv"
"""Where an image holds the sources."""
FILES_VARIABLE = "GATEBENCH_FILES"
LAUNCHER = ("python", f"{SOURCES}/servers/launch.py")


OWNER_LABEL = "gatebench"
USER = "10001:10001"
WORK = "/scratch"
TEMPORARY = "/tmp"  # noqa: S108 - the container's own
MEMORY_MIB = 1024
PIDS = 1024
SCRATCH_MIB = 128
STOP_GRACE_S = 3

_Value: TypeAlias = "str | int | bool | Sequence[str] | Mapping[str, _Value]"

_WIDTH = 110
_PLAIN = re.compile(r"(?:--?)?[A-Za-z_/][A-Za-z0-9_./-]*")
_NOT_STRINGS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
"""Words that YAML 1.1 or 1.2 takes for something else."""


class Interpolated(str):
    """Text in which `${NAME:-default}` is Compose's own, and a dollar sign is written `$$`."""

    __slots__ = ()


PIP_CONFIGURATION = Interpolated("${PIP_CONFIG_FILE:-/dev/null}")
"""Names a private package index to the builds, by pip's own variable; it reaches no layer."""


@dataclass(frozen=True, slots=True)
class Build:
    """How an image is built; paths as `docker compose` takes them, `dockerfile` within `context`."""

    context: str
    dockerfile: str
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """One container, or several the same of a service that is scaled.

    Attributes:
        name: of `service_name` where it is a subject's; on a bridge it is also the address.
        image: its tag; empty where it has a `build`, for Compose's own name, which goes with the project.
        cpuset: cores such as `0` or `1,3`; empty for all.
        build: what the image is built from at each start, from a cache; without it, the image must be there.
        profiles: Compose starts it only with one of these, or by its name; empty for always.
        comment: one line above it.
        interactive: what is written to the service's input reaches it, and its output is not logged.
        volumes: in Compose's short form, `/sys/fs/cgroup:/cgroup:ro`.
        memory_mib: at most so much memory, swap included.
        pids: at most so many processes and threads.
        scratch_mib: how much its working folder holds, which is memory.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpuset: str = ""
    build: Build | None = None
    profiles: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"
    comment: str = ""
    interactive: bool = False
    volumes: tuple[str, ...] = ()
    memory_mib: int = MEMORY_MIB
    pids: int = PIDS
    scratch_mib: int = SCRATCH_MIB


@dataclass(frozen=True, slots=True)
class Project:
    """What one Compose file holds.

    Attributes:
        owner: value of the label that every container and network carries.
        network: `host`, or `bridge` for a user-defined network without a way out.
        network_name: of that network, on the engine.
        creates_network: whether the project brings the network up and down; else it must be there.
    """

    name: str
    services: tuple[Service, ...]
    owner: str
    network: Literal["host", "bridge"] = "host"
    network_name: str = ""
    creates_network: bool = False


def service_name(subject_id: str) -> str:
    """The name of a subject's service: `uvicorn+flask` → `uvicorn__flask`.

    Compose allows neither + nor ~, and takes a dot for the way into another service: `uvicorn.flask` beside
    `uvicorn` is "a cycle" (Compose 2.26).
    """
    return subject_id.replace("+", "__").replace("~", "__")


def escaped(text: str) -> Interpolated:
    """Text that Compose reads as it is."""
    return text if isinstance(text, Interpolated) else Interpolated(text.replace("$", "$$"))


def render(project: Project, header: str = "") -> str:
    """The Compose file of a project, services in the order of their names.

    Args:
        project: no two of its services have the same name.
        header: lines for the top, which become comments.
    """
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    lines += _entry("name", project.name, 0)
    lines += ["", "x-hardening: &hardening"]
    for key, value in _hardening(project).items():
        lines += _entry(key, value, 1)
    if project.network == "bridge":
        lines += ["", *_entry("networks", {"lab": _network(project)}, 0)]
    if any(service.build for service in project.services):
        lines += ["", *_entry("secrets", {"pip": {"file": PIP_CONFIGURATION}}, 0)]
    lines += ["", "services:"]
    for service in sorted(project.services, key=lambda each: each.name):
        lines += [f"  # {line}" for line in textwrap.wrap(_printable(service.comment), _WIDTH - 4)]
        lines += [f"  {quote(service.name)}:", "    <<: *hardening"]
        for key, value in _service(service).items():
            lines += _entry(key, value, 2)
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def quote(text: str) -> str:
    """A string as YAML on one line: bare where it can be nothing else, quoted where it could."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_STRINGS:
        return text
    if text.isprintable() and ('"' in text or "\\" in text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_character, text)) + '"'


def _hardening(project: Project) -> dict[str, _Value]:
    """What every container has, so that a service added later has it too."""
    network: dict[str, _Value] = (
        {"network_mode": "host"} if project.network == "host" else {"networks": ["lab"]}
    )
    return {
        "user": USER,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        **_memory(MEMORY_MIB),
        "pids_limit": PIDS,
        # mod_wsgi-express writes a script into its working folder, and runs it.
        "tmpfs": _folders(SCRATCH_MIB),
        **network,
        # The first process of a container never gets a signal for which it has no handler.
        "init": True,
        "restart": "no",
        "stop_grace_period": f"{STOP_GRACE_S}s",
        # A server that writes more than the log takes must not wait for it.
        "logging": {
            "driver": "local",
            "options": {"mode": "non-blocking", "max-size": "5m", "max-file": "2"},
        },
        "labels": {OWNER_LABEL: project.owner},
    }


def _folders(scratch_mib: int) -> list[str]:
    """The folders that can be written, which are memory."""
    uid, gid = USER.split(":")
    return [
        f"{WORK}:uid={uid},gid={gid},mode=0755,size={scratch_mib}m,exec",
        f"{TEMPORARY}:mode=1777,size=64m",
    ]


def _memory(mib: int) -> dict[str, _Value]:
    return {"mem_limit": f"{mib}m", "memswap_limit": f"{mib}m"}


def _network(project: Project) -> dict[str, _Value]:
    if not project.creates_network:
        return {"name": project.network_name, "external": True}
    return {"name": project.network_name, "internal": True, "labels": {OWNER_LABEL: project.owner}}


def _service(service: Service) -> dict[str, _Value]:
    """What a service has beside the hardening; what is empty is left out."""
    entries: dict[str, _Value] = {"image": service.image}
    if service.build is None:
        entries["pull_policy"] = "never"
    else:
        # Without this, Compose would first ask a public registry for a tag that it does not find here.
        entries["pull_policy"] = "build"
        entries["build"] = _build(service.build)
    entries["command"] = service.command
    entries["environment"] = dict(sorted(service.environment.items()))
    entries["cpuset"] = service.cpuset
    entries["volumes"] = service.volumes
    if service.memory_mib != MEMORY_MIB:
        entries |= _memory(service.memory_mib)
    if service.pids != PIDS:
        entries["pids_limit"] = service.pids
    if service.scratch_mib != SCRATCH_MIB:
        entries["tmpfs"] = _folders(service.scratch_mib)
    if service.interactive:
        entries["stdin_open"] = True
        entries["logging"] = {"driver": "none"}
    entries["stop_signal"] = service.stop_signal
    entries["profiles"] = service.profiles
    return {key: value for key, value in entries.items() if value}


def _build(build: Build) -> dict[str, _Value]:
    entries: dict[str, _Value] = {
        "context": build.context,
        "dockerfile": build.dockerfile,
        # A package index or a proxy that this machine reaches on loopback is reached by a build, too.
        "network": "host",
        "secrets": ["pip"],
    }
    return entries | ({"args": dict(sorted(build.args.items()))} if build.args else {})


def _entry(key: str, value: _Value, depth: int) -> Iterator[str]:
    """The lines of `key: value`, two spaces for each level of depth; on one line where they fit."""
    start = f"{'  ' * depth}{quote(key)}:"
    line = f"{start} {_inline(value)}"
    if isinstance(value, str | int) or len(line) <= _WIDTH:
        yield line
    elif isinstance(value, Mapping):
        yield start
        for name, part in value.items():
            yield from _entry(name, part, depth + 1)
    else:
        yield from _list(start, [_inline(item) for item in value], depth)


def _inline(value: _Value) -> str:
    if isinstance(value, str):
        return quote(escaped(value))
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quote(name)}: {_inline(part)}" for name, part in value.items()) + "}"
    return "[" + ", ".join(map(_inline, value)) + "]"


def _list(start: str, items: Sequence[str], depth: int) -> Iterator[str]:
    """A list between brackets, on as many lines as it needs."""
    line = f"{start} [{items[0]}"
    for item in items[1:]:
        if len(line) + len(item) + 3 > _WIDTH:
            yield f"{line},"
            line = "  " * (depth + 1) + item
        else:
            line += f", {item}"
    yield f"{line}]"


def _character(character: str) -> str:
    """One character between double quotes."""
    if character in '"\\':
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _printable(text: str) -> str:
    """Text that does not get out of its comment."""
    return "".join(character if character.isprintable() else " " for character in text)


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
        environment: more variables; the application's and then the variant's own win.
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
        **subject.application.environment,
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


_OWN_APPLICATIONS = "own"
_OWN_WORKLOADS = "own-workloads"


def server_folder(server: Server) -> str:
    """The path in an image of a server's folder, for the placeholder `{folder}`."""
    return f"{SOURCES}/servers/{server.name}"


def app_file(application: Application, interface: Interface) -> str:
    """The path in an image of the application's source file, for the placeholder `{app_file}`."""
    return f"{application_folder(application)}/{interface}.py"


def application_folder(application: Application) -> str:
    """The path in an image of the application's folder."""
    return f"{SOURCES}/{_parent(application)}/{application.name}"


def python_path(application: Application) -> str:
    """PYTHONPATH in an image: as outside, what the import path starts from, and what `apps.plain` does."""
    return SOURCES if application.packaged else f"{SOURCES}/{_OWN_APPLICATIONS}:{SOURCES}"


def workload_folder(workload: Workload) -> str:
    """The path in the load generator's image of the workload's folder, with its Locust file."""
    parent = "loadtests/workloads" if _is_shipped_workload(workload) else _OWN_WORKLOADS
    return f"{SOURCES}/{parent}/{workload.name}"


def _parent(application: Application) -> str:
    return "apps" if application.packaged else _OWN_APPLICATIONS


def _is_shipped_workload(workload: Workload) -> bool:
    return workload.folder.parent == ROOT / "loadtests" / "workloads"
