"""Finds the folders of servers, applications and workloads, and selects among them by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gatebench.words.errors import ConfigurationError
from gatebench.words.model import INTERFACES, PLAIN_APPLICATION, Application, Server, Subject, Workload
from gatebench.words.paths import APPLICATION_FILES, MADE_APPLICATIONS, ROOT, SERVER_FILE, WORKLOAD_FILE
from gatebench.words.text import listed, near

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


@dataclass(frozen=True, slots=True)
class Selection:
    """The subjects that were asked for.

    Attributes:
        subjects: in the registry's order; at least one.
        left_out: a sentence for each application that some of the named servers cannot run.
    """

    subjects: tuple[Subject, ...]
    left_out: tuple[str, ...] = ()


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
        shipped: whether what is at `root` is held to the repository's rules: requirements pinned and hashed.

    Raises:
        ConfigurationError: with every problem of every folder, and with every name that two folders claim.
    """
    # Pydantic is heavy, and the help and the load side do without.
    from gatebench.registry.contract import read_contract  # noqa: PLC0415
    from gatebench.registry.servers import parse_application, parse_server  # noqa: PLC0415
    from gatebench.registry.workloads import parse_workload  # noqa: PLC0415

    servers = _Kind[Server]("--servers-dir", (SERVER_FILE,))
    servers.add(root / SERVERS, lambda folder: parse_server(folder, shipped=shipped))
    for directory in servers_dirs:
        servers.add(directory.resolve(), parse_server)

    applications = _Kind[Application]("--apps-dir", APPLICATION_FILES)
    plain = root / APPLICATIONS / PLAIN_APPLICATION
    known = plain if plain.is_dir() else None
    contract = read_contract()
    applications.add(
        root / APPLICATIONS,
        lambda folder: parse_application(folder, root, known, shipped=shipped, contract=contract),
    )
    for directory in apps_dirs:
        applications.add(
            directory.resolve(),
            lambda folder: parse_application(folder, folder.parent, known, contract=contract),
        )

    workloads = _Kind[Workload]("--workloads-dir", (WORKLOAD_FILE,))
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
        found = matches(pattern, names, whole_servers=kind == "server")
        if not found:
            problems.append(f'unknown {kind} "{pattern}"{near(pattern, names)}; known: {listed(names)}')
        selected |= found
    if problems:
        raise ConfigurationError(problems)
    return tuple(name for name in names if name in selected)


def select_subjects(registry: Registry, patterns: Sequence[str], applications: Sequence[str]) -> Selection:
    """Every server that a pattern names, with every application that is named.

    A pattern is a server (`gunicorn`), a subject (`gunicorn-sync`), or a glob over them: each stands for the
    product with the applications. One with a `+`, such as `uvicorn+flask`, says its application itself.

    Args:
        registry: where they are looked up.
        patterns: of servers; none stands for the variants that are `selected`, which is less than `*`.
        applications: names or globs; none stands for the plain one.

    Raises:
        ConfigurationError: with every name that is unknown; or where all are known, with every pattern and
            every application that would take part in no subject.
    """
    problems: list[str] = []
    names: tuple[str, ...] = (PLAIN_APPLICATION,)
    try:
        names = select(applications, registry.applications, "application") if applications else names
    except ConfigurationError as error:
        problems += error.problems
    crossing = _Crossing(registry, names, restricted=bool(applications))
    found: dict[str, list[Subject]] = {}
    for pattern in dict.fromkeys(patterns or ("*",)):
        try:
            named = crossing.subjects(pattern)
            found[pattern] = [each for each in named if patterns or each.variant.selected]
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    problems = _without_part(registry, found, applications)
    if problems:
        raise ConfigurationError(problems)
    chosen = {subject.id for subjects in found.values() for subject in subjects if _runs(subject)}
    return Selection(
        tuple(each for each in registry.subjects(tuple(registry.applications)) if each.id in chosen),
        tuple(
            f"not measured: {ids}, because {why}"
            for ids, why in _lacking(each for many in found.values() for each in many)
        ),
    )


class _Crossing:
    """Servers by applications, also where an application lacks the form that a server asks for."""

    def __init__(self, registry: Registry, chosen: Sequence[str], *, restricted: bool) -> None:
        """`chosen` are the applications that patterns without one get; `restricted`: a person named them."""
        self._registry = registry
        self._chosen = chosen
        self._globbed = chosen if restricted else tuple(registry.applications)
        self._servers = {
            Subject(server, variant, registry.applications[PLAIN_APPLICATION]).id: (server, variant)
            for server in registry.servers.values()
            for variant in server.variants
        }

    def subjects(self, pattern: str) -> list[Subject]:
        """All that a pattern stands for, also what cannot run.

        Raises:
            ConfigurationError: it names no server, or no application.
        """
        left, plus, right = pattern.partition("+")
        servers = matches(left, tuple(self._servers), whole_servers=True)
        names = self._applications(right) if plus else self._chosen
        subjects = [
            Subject(*self._servers[server], self._registry.applications[name])
            for server in self._servers
            if server in servers
            for name in names
        ]
        if not plus and _is_glob(pattern):
            # `*+flask` is also written `*flask`.
            candidates = self._registry.subjects(self._chosen)
            subjects += [each for each in candidates if fnmatch.fnmatch(each.id, pattern)]
        if subjects:
            return subjects
        raise ConfigurationError(self._unknown(pattern, left, right, bool(servers)))

    def _applications(self, pattern: str) -> tuple[str, ...]:
        """Those after a `+`: of a glob, the ones whose subjects have a `+` in their ID."""
        if not _is_glob(pattern):
            return (pattern,) if pattern in self._registry.applications else ()
        return tuple(
            name for name in self._globbed if name != PLAIN_APPLICATION and fnmatch.fnmatch(name, pattern)
        )

    def _unknown(self, pattern: str, left: str, right: str, server_is_known: bool) -> str:
        applications = tuple(self._registry.applications)
        if server_is_known:
            return (
                f'unknown application "{right}" in "{pattern}"{near(right, applications)}; '
                f"known: {listed(applications)}"
            )
        hint = near(left, [*self._registry.servers, *self._servers])
        if left in applications:
            hint = " (it is an application: name it with --apps)"
        return f'unknown server "{pattern}"{hint}; known: {listed(self._servers)}'


def _without_part(
    registry: Registry, found: Mapping[str, Sequence[Subject]], applications: Sequence[str]
) -> list[str]:
    """What was named and would be measured nowhere; an application's reason is not said again of its servers.

    Args:
        registry: holds the applications.
        found: pattern → what it stands for, also what cannot run.
        applications: the patterns of applications.
    """
    problems, told = [], set()
    for wanted in dict.fromkeys(applications):
        names = select([wanted], registry.applications, "application")
        subjects = [each for many in found.values() for each in many if each.application.name in names]
        if any(_runs(each) for each in subjects):
            continue
        told |= set(names)
        own = " ".join(pattern for pattern in found if "+" in pattern)
        why = (
            f'every server is named with its application ("{own}"); name one without, or with "+{wanted}"'
            if not subjects
            else f"no chosen server can run it: {'; '.join(why for _, why in _lacking(subjects))}"
        )
        problems.append(f'application "{wanted}": {why}')
    for pattern, many in found.items():
        if not any(_runs(each) for each in many) and {each.application.name for each in many} - told:
            whys = "; ".join(why for _, why in _lacking(many))
            problems.append(f'server "{pattern}": it can run none of the applications: {whys}')
    return problems


def _lacking(subjects: Iterable[Subject]) -> Iterator[tuple[str, str]]:
    """Of each application that some of the subjects cannot run: their IDs, and why."""
    lacking: dict[str, dict[str, Subject]] = {}
    for each in subjects:
        if not _runs(each):
            lacking.setdefault(each.application.name, {})[each.id] = each
    for many in lacking.values():
        first = next(iter(many.values()))
        interface, application = first.variant.interface, first.application
        others = [each for each in INTERFACES if application.form(each)]
        if application.folder.is_relative_to(MADE_APPLICATIONS):  # the person named no folder and no file
            step = f"name servers of that interface (--servers), or its {interface.upper()} form, too (--app)"
            yield listed(many), f"{application.title} is {listed(map(str.upper, others))} alone; {step}"
            continue
        forms = listed(application.file(each).name for each in others)
        missing = f"no {interface.upper()} form ({application.file(interface).name})"
        yield listed(many), f"{application.folder} has {missing}, only {forms}"


def _runs(subject: Subject) -> bool:
    return subject.application.form(subject.variant.interface) is not None


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in GLOB_CHARACTERS)


def matches(pattern: str, names: Sequence[str], *, whole_servers: bool) -> set[str]:
    """The names that a name or a glob selects; with `whole_servers` as `select` does it for servers."""
    if _is_glob(pattern):
        return set(fnmatch.filter(names, pattern))
    if pattern in names or not whole_servers:
        return {pattern} & set(names)
    return {name for name in names if name.startswith((f"{pattern}-", f"{pattern}+"))}


class _Kind(Generic[_Item]):
    """Collects the folders of one kind, the problems in them, and who claims which name."""

    def __init__(self, option: str, markers: Sequence[str]) -> None:
        """`option` names folders of the user's own; `markers` are files, of which each must hold one."""
        self._option = option
        self._markers = markers
        self._items: dict[str, _Item] = {}
        self._claims: dict[str, Path] = {}
        self.problems: list[str] = []

    def add(self, directory: Path, parse: Callable[[Path], _Item]) -> None:
        """Reads every folder in `directory`."""
        if not directory.is_dir():
            self.problems.append(f"{directory}: is no folder ({self._option})")
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


def open_registry(
    servers_dirs: Sequence[Path] = (), apps_dirs: Sequence[Path] = (), workloads_dirs: Sequence[Path] = ()
) -> Registry:
    """Every server, application and workload of the repository and of the user's own folders.

    Raises:
        ConfigurationError: with every problem in every folder.
    """
    return load_registry(ROOT, servers_dirs=servers_dirs, apps_dirs=apps_dirs, workloads_dirs=workloads_dirs)
