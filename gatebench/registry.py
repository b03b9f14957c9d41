"""Finds the folders of servers, applications and workloads, and selects among them by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gatebench.config import (
    APPLICATION_FILES,
    SERVER_FILE,
    parse_application,
    parse_server,
)
from gatebench.config_workload import WORKLOAD_FILE, parse_workload
from gatebench.contract import load_contract
from gatebench.errors import ConfigurationError
from gatebench.model import PLAIN_APPLICATION, Application, Server, Subject, Workload
from gatebench.strict import listed, near

SERVERS = Path("servers")
APPLICATIONS = Path("apps")
WORKLOADS = Path("loadtests") / "workloads"
GLOB_CHARACTERS = "*?["

_Item = TypeVar("_Item", Server, Application, Workload)


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything that folders register, by name and in the order of the names."""

    servers: Mapping[str, Server]
    applications: Mapping[str, Application]
    workloads: Mapping[str, Workload]

    def subjects(self, applications: Sequence[str] = (PLAIN_APPLICATION,)) -> tuple[Subject, ...]:
        """Every variant of every server with each of the named applications that has the variant's form."""
        chosen = [self.applications[name] for name in applications]
        return tuple(
            Subject(server, variant, application)
            for server in self.servers.values()
            for variant in server.variants
            for application in chosen
            if application.form(variant.interface) is not None
        )


def load_registry(
    root: Path,
    servers_dirs: Sequence[Path] = (),
    apps_dirs: Sequence[Path] = (),
    workloads_dirs: Sequence[Path] = (),
    *,
    shipped: bool = True,
) -> Registry:
    """Everything in the repository at `root` and in the user's own folders.

    Args:
        root: holds `servers`, `apps` and `loadtests/workloads`.
        servers_dirs: the user's own servers.
        apps_dirs: the user's own applications.
        workloads_dirs: the user's own workloads.
        shipped: whether the servers at `root` are held to the repository's rules: pinned and hashed.

    Raises:
        ConfigurationError: with every problem of every folder, and with every name that two folders claim.
    """
    servers = _Kind[Server]((SERVER_FILE,))
    servers.add(root / SERVERS, lambda folder: parse_server(folder, shipped=shipped))
    for directory in servers_dirs:
        servers.add(directory.resolve(), parse_server)

    applications = _Kind[Application](APPLICATION_FILES)
    applications.add(root / APPLICATIONS, lambda folder: parse_application(folder, root))
    for directory in apps_dirs:
        applications.add(directory.resolve(), lambda folder: parse_application(folder, folder.parent))

    workloads, contract = _Kind[Workload]((WORKLOAD_FILE,)), load_contract()
    for directory in (root / WORKLOADS, *(path.resolve() for path in workloads_dirs)):
        workloads.add(directory, lambda folder: parse_workload(folder, contract))

    problems = [*servers.problems, *applications.problems, *workloads.problems]
    if problems:
        raise ConfigurationError(problems)
    return Registry(servers.by_name(), applications.by_name(), workloads.by_name())


def select(patterns: Sequence[str], known: Iterable[str], kind: str) -> tuple[str, ...]:
    """The known names that any pattern selects, in their own order; all of them where there is no pattern.

    A pattern is a name or a glob. Where `kind` is "server", the names are subjects' IDs, and a server's bare
    name that is not itself an ID, such as `gunicorn`, selects all its subjects.

    Raises:
        ConfigurationError: with every pattern that selects nothing, the nearest name and the known ones.
    """
    names = tuple(known)
    if not patterns:
        return names
    selected: set[str] = set()
    problems = []
    for pattern in patterns:
        found = _matches(pattern, names, whole_servers=kind == "server")
        if not found:
            problems.append(f'unknown {kind} "{pattern}"{near(pattern, names)}; known: {listed(names)}')
        selected |= found
    if problems:
        raise ConfigurationError(problems)
    return tuple(name for name in names if name in selected)


def _matches(pattern: str, names: Sequence[str], *, whole_servers: bool) -> set[str]:
    if any(character in pattern for character in GLOB_CHARACTERS):
        return set(fnmatch.filter(names, pattern))
    if pattern in names or not whole_servers:
        return {pattern} & set(names)
    return {name for name in names if name.startswith((f"{pattern}-", f"{pattern}+"))}


class _Kind(Generic[_Item]):
    """Collects the folders of one kind, the problems in them, and who claims which name."""

    def __init__(self, markers: Sequence[str]) -> None:
        """`markers` are the files of which a folder must hold at least one."""
        self._markers = markers
        self._items: dict[str, _Item] = {}
        self._claims: dict[str, Path] = {}
        self.problems: list[str] = []

    def add(self, directory: Path, parse: Callable[[Path], _Item]) -> None:
        """Reads every folder in `directory`."""
        if not directory.is_dir():
            self.problems.append(f"{directory}: is no folder")
            return
        if any((directory / marker).is_file() for marker in self._markers):
            self.problems.append(
                f"{directory}: holds {listed(self._markers)} itself; name the folder above it"
            )
            return
        for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
            if not _is_leftover(folder):
                self._read(folder, parse)

    def by_name(self) -> dict[str, _Item]:
        """What was read, in the order of the names."""
        return dict(sorted(self._items.items()))

    def _read(self, folder: Path, parse: Callable[[Path], _Item]) -> None:
        first = self._claims.setdefault(folder.name, folder)
        if first != folder:
            self.problems.append(
                f'{folder}: the name "{folder.name}" is taken by {first}; rename one of them'
            )
        try:
            self._items[folder.name] = parse(folder)
        except ConfigurationError as error:
            self.problems.extend(error.problems)


def _is_leftover(folder: Path) -> bool:
    """Whether a folder registers nothing: hidden, or with no files but compiled Python ones."""
    if folder.name.startswith(".") or folder.name == "__pycache__":
        return True
    return not any(path.is_file() and path.parent.name != "__pycache__" for path in folder.rglob("*"))
