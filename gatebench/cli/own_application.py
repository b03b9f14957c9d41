"""An application of one's own in one command: folders of it and its workloads, as if they had been written.

From `module:name` and some paths it makes an application's folder, which holds a copy of the source, and a
workload's folder for each path and load. From there on they are folders like any other: read by the registry,
kept with the run, found again by `resume` and `reproduce`.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from gatebench.cli.importing import APP, REQUIREMENTS, SOURCE, Importer, recognised
from gatebench.cli.run import RunnerChoice, choose_runner
from gatebench.machine.processes import Owner, marked_processes
from gatebench.registry.registry import WORKLOADS
from gatebench.registry.toml import one_line
from gatebench.registry.workloads import path_fault
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import INTERFACES, Cell, Interface, Subject, Workload
from gatebench.words.paths import MADE_APPLICATIONS, ROOT, WORKLOAD_FILE
from gatebench.words.plan import Profile, least_s, make_plan
from gatebench.words.text import listed
from loadtests.engine.masked import compiled

CONNECTIONS = 64
LIMIT = "100ms"
"""Of the open loop: it seeks the highest rate at which 99 % of the answers take no longer."""
MOST_BYTES = 512 << 20
"""A source folder over this size holds something else than source."""
_LOCAL = re.compile(r"\s*(?:(?:-e|--editable)[ =]\s*(?!\S+://)\S|\.{1,2}(?:/|\s*$)|/|file:)")
NOT_COPIED = ("__pycache__", ".git", ".hg", "node_modules", ".venv", "venv", ".tox")
"""Folders that are no source; what pip and npm made, and histories, can be of any size."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person named.

    Attributes:
        apps: one or two of `module:name` and `module:factory()`, of which one is WSGI and the other ASGI.
        directory: the folder from which the modules are imported.
        requirements: a file of what they need; None for the one in the folder, where there is one.
        paths: what is asked, each with its query.
        varies: regular expressions of what may differ in answers.
        environment: variables, name → value.
    """

    apps: tuple[str, ...]
    directory: Path
    requirements: Path | None = None
    paths: tuple[str, ...] = ("/",)
    varies: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """The folders that were made, to be read by the registry.

    Attributes:
        application: its name.
        workloads: their names.
        told: a sentence on each form, what it is, and one on each path, which workloads ask it.
    """

    apps_dir: Path
    workloads_dir: Path
    application: str
    workloads: tuple[str, ...]
    told: tuple[str, ...]


def asked_for(
    apps: Sequence[str],
    directory: Path | None,
    requirements: Path | None,
    paths: Sequence[str],
    varies: Sequence[str],
    variables: Sequence[str],
) -> Asked | None:
    """What the options name; None where no application is named.

    Raises:
        ConfigurationError: with everything that cannot be.
    """
    named = [word for each in apps for word in each.split()]
    given = {"--app-dir": directory, "--requirements": requirements, "--paths": paths, "--varies": varies}
    if not named:
        alone = [name for name, value in {**given, "--app-env": variables}.items() if value]
        if alone:
            raise ConfigurationError(f"{listed(alone)}: for an application of your own; name it (--app)")
        return None
    problems = [
        f'--app: "{each}" is not module:name, such as mysite.wsgi:application, or module:factory()'
        for each in named
        if not APP.fullmatch(each)
    ]
    if len(named) > len(INTERFACES):
        problems.append(
            f"--app: {len(named)} applications; there is one for WSGI and one for ASGI at the most"
        )
    where = (directory or Path()).resolve()
    if not where.is_dir():
        problems.append(f"--app-dir: {where} is no folder")
    elif (size := _size(where)) > MOST_BYTES:
        problems.append(
            f"--app-dir: {where} holds {size >> 20:,} MiB, over {MOST_BYTES >> 20}. It is copied; "
            "name the folder of the source alone"
        )
    file = requirements or where / REQUIREMENTS
    if requirements is not None and not requirements.is_file():
        problems.append(f"--requirements: there is no file {requirements}")
    asked = tuple(word for each in paths for word in each.split()) or ("/",)
    problems += (f"--paths: {fault}" for fault in map(path_fault, asked) if fault)
    settings = [word for each in variables for word in each.split()]
    problems += (
        f'--app-env: "{each}" is not NAME=VALUE' for each in settings if not re.match(r"[A-Za-z_]\w*=", each)
    )
    patterns = tuple(word for each in varies for word in each.split())
    for pattern in patterns:
        try:
            compiled(pattern)
        except ValueError as error:
            problems.append(f"--varies: {error}")
    if problems:
        raise ConfigurationError(problems)
    environment = dict(each.split("=", 1) for each in settings)
    return Asked(tuple(named), where, file if file.is_file() else None, asked, patterns, environment)


def choose_own_runner(name: str, apps: Sequence[str]) -> RunnerChoice:
    """What starts the servers of an application of one's own: processes, unless containers are asked for.

    An application reads files and talks to databases of its machine, of which a container has nothing.

    Raises:
        ConfigurationError: there is no such runner, or other applications were named besides.
    """
    if apps:
        raise ConfigurationError(
            "--apps: measures applications that have a folder; --app is measured by itself"
        )
    choice = choose_runner("process" if name == "auto" else name)
    usual = (
        "servers run as local processes, as is usual for your own application; containers: --runner=docker"
    )
    return replace(choice, reason=usual) if name == "auto" else choice


def _size(folder: Path) -> int:
    """Bytes of what would be copied."""
    total = 0
    for path in folder.iterdir():
        if path.name in NOT_COPIED:
            continue
        files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
        total += sum(each.stat().st_size for each in files if each.is_file())
        if total > MOST_BYTES:
            break
    return total


@contextmanager
def folders_of(asked: Asked, importer: Importer) -> Iterator[Made]:
    """Makes the folders, which are gone after the block: the run has kept a copy by then.

    Args:
        asked: what the person named.
        importer: what imports the application once.

    Raises:
        ConfigurationError: the application cannot be imported, or is none; with all of its forms' problems.
    """
    _sweep()
    home = MADE_APPLICATIONS / str(Owner.this())
    shutil.rmtree(home, ignore_errors=True)
    try:
        name = _name(asked)
        folder = home / "apps" / name
        folder.mkdir(parents=True)
        try:
            shutil.copytree(
                asked.directory,
                folder / SOURCE,
                ignore=shutil.ignore_patterns(*NOT_COPIED, "*.pyc"),
                symlinks=True,
            )
        except OSError as error:
            raise ConfigurationError(f"--app-dir: {asked.directory} cannot be copied: {error}") from error
        if asked.requirements is not None:
            text = one_file(asked.requirements)
            (folder / REQUIREMENTS).write_text(text, encoding="utf-8")
        told = [*_write_forms(asked, folder, importer), *_named_so(asked)]
        (folder / "app.toml").write_text(app_toml(asked), encoding="utf-8")
        names = []
        for workload, text in workload_files(asked).items():
            (home / "workloads" / workload).mkdir(parents=True)
            (home / "workloads" / workload / WORKLOAD_FILE).write_text(text, encoding="utf-8")
            names.append(workload)
        yield Made(home / "apps", home / "workloads", name, tuple(names), tuple(told))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _sweep() -> None:
    """Removes what labs that are gone have left."""
    alive = {str(owner) for owner in marked_processes().values()} | {str(Owner.this())}
    for left in MADE_APPLICATIONS.iterdir() if MADE_APPLICATIONS.is_dir() else ():
        if left.name not in alive:
            shutil.rmtree(left, ignore_errors=True)


def _name(asked: Asked) -> str:
    """`mysite_app` of `mysite.wsgi:application`, which is no module of the source: it would hide that.

    It is also a part of images' names, which have no two underscores at an end.
    """
    first = asked.apps[0].partition(":")[0].split(".")[0].lower()
    base = re.sub(r"_+", "_", re.sub(r"[^a-z0-9_]", "", first)).strip("_0123456789") or "own"
    name, number = f"{base}_app", 2
    while any((asked.directory / taken).exists() for taken in (name, f"{name}.py")):
        name, number = f"{base}_app{number}", number + 1
    return name


def one_file(path: Path, seen: frozenset[Path] = frozenset()) -> str:
    """Requirements with those of the files that they name (`-r base.txt`) in their places.

    Raises:
        ConfigurationError: a file that is named is not there, or a folder of this machine is required.
    """
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--requirements: {path}: cannot be read: {error}") from error
    for line in text.splitlines():
        if found := _LOCAL.match(line):
            raise ConfigurationError(
                f"--requirements: {path}: {line.strip()}: is a folder of this machine, which no image holds. "
                "What is in --app-dir is imported from there; list the packages that it needs, by name"
            )
        found = re.match(r"\s*(-r|--requirement)[ =]\s*(\S+)", line)
        if found is None:
            lines.append(line)
        elif (other := (path.parent / found[2]).resolve()) not in seen:
            lines.append(one_file(other, seen | {path.resolve()}))
    return "\n".join(lines) + "\n"


def _write_forms(asked: Asked, folder: Path, importer: Importer) -> tuple[str, ...]:
    """Writes `wsgi.py` and `asgi.py`, as far as they were named, and says which is which."""
    problems: list[str] = []
    forms: dict[Interface, str] = {}
    found = recognised(asked.apps, folder, asked.environment, importer, asked.directory)
    for app, said in found.items():
        interface: Interface | None = next(
            (each for each in INTERFACES if said.get("interface") == each), None
        )
        if interface is None:
            problems.append(said.get("problem", f"{app}: nothing could be told of it"))
        elif interface in forms:
            problems.append(
                f"--app: {forms[interface]} and {app} are both {interface.upper()}; name one of them"
            )
        else:
            forms[interface] = app
            (folder / f"{interface}.py").write_text(form_file(app, asked.environment), encoding="utf-8")
    if problems:
        raise ConfigurationError(problems)
    return tuple(f"{app} is {interface.upper()}" for interface, app in forms.items())


def form_file(app: str, variables: Mapping[str, str]) -> str:
    """The file that servers start: it searches the source first, and has the application as `app`."""
    module, _, name = app.partition(":")
    return f'''"""{app}, as it was named on the command line."""

import importlib
import os
import sys
from pathlib import Path

os.environ.update({dict(variables)!r})
sys.path.insert(0, str(Path(__file__).resolve().parent / "{SOURCE}"))

app = importlib.import_module("{module}").{name}
'''


def app_toml(asked: Asked) -> str:
    """What the application says of itself: it answers no route of the contract."""
    return f"title = {one_line(' '.join(asked.apps))}\nroutes = []\n"


def within_budget(
    subjects: Sequence[Subject], workloads: Sequence[Workload], profile: Profile, workers: int
) -> tuple[tuple[Workload, ...], str]:
    """The workloads but for searches, from the last, for which the budget has no time; and which they are.

    A search takes the rounds that it needs, whatever the budget.
    """
    kept = list(workloads)
    left_out: list[str] = []
    while searches := [each for each in kept if each.levels[0].objective is not None]:
        cells = [
            Cell(subject, workload, level)
            for workload in kept
            for level in workload.levels
            for subject in subjects
            if not Cell(subject, workload, level).unsupported(workers)
        ]
        needed_s = least_s(make_plan(cells, profile, 0))
        if needed_s <= profile.budget_s:
            break
        kept.remove(searches[-1])
        left_out.insert(0, searches[-1].name)
    if not left_out:
        return tuple(kept), ""
    return tuple(kept), (
        f"left out, since a budget of {profile.budget_s:.0f} s does not pay for them: {listed(left_out)}. "
        "More time (--budget) or fewer servers or paths bring them back, and naming them (--workloads) does"
    )


def workload_names(paths: Sequence[str]) -> dict[str, str]:
    """Path → the name of its closed loop; that of its open loop has `-rate` behind it.

    What separates words in a path is a dash, letters are without their accents, and the path `/` is `root`.
    Where a name is taken, by a path before or by a workload of the repository, there is another one:
    `/download` is `path-download`, and where `/a/b` is `a-b`, `/a-b` is `a-b-2`.
    """
    names: dict[str, str] = {}
    shipped = {each.name for each in (ROOT / WORKLOADS).iterdir()}
    taken = set(shipped)
    for path in dict.fromkeys(paths):
        plain = unicodedata.normalize("NFKD", unquote(path).casefold())
        slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"[\u0300-\u036f]", "", plain)).strip("-") or "root"
        slug = slug if slug[0].isalpha() and not shipped & {slug, f"{slug}-rate"} else f"path-{slug}"
        name, number = slug, 2
        while taken & {name, f"{name}-rate"}:
            name, number = f"{slug}-{number}", number + 1
        names[path] = name
        taken |= {name, f"{name}-rate"}
    return names


def workload_files(asked: Asked) -> dict[str, str]:
    """Name of a workload → its `workload.toml`: for each path a closed loop and an open one."""
    files: dict[str, str] = {}
    for path, slug in workload_names(asked.paths).items():
        request = f"[request]\npath = {one_line(path)}\n\n[answer]\nlearn = true\n"
        if asked.varies:
            request += f"varies = [{', '.join(map(one_line, asked.varies))}]\n"
        closed = f'[load]\nmodel = "closed"\nconnections = [{CONNECTIONS}]\n'
        files[slug] = (
            _head(f"{path} over connections that stay open", "200ms", "200ms", 1) + f"{request}\n{closed}"
        )
        paced = f'[load]\nmodel = "objective"\npercentile = "p99"\nlimit = "{LIMIT}"\n'
        paced += f"connections = {CONNECTIONS}\n"
        text = f"{path}: the highest rate at which 99 % of the answers take {LIMIT} or less"
        files[f"{slug}-rate"] = _head(text, "500ms", "200ms", 1.5) + f"{request}\n{paced}"
    return files


def _named_so(asked: Asked) -> Iterator[str]:
    for path, name in workload_names(asked.paths).items():
        yield f"GET {path}: workloads {name} (closed loop) and {name}-rate (highest rate within {LIMIT})"


def _head(description: str, window: str, warmup: str, share: float) -> str:
    return (
        f'description = {one_line(description)}\ntransport = "keep-alive"\nslice = "{window}"\n'
        f'warmup = "{warmup}"\nshare = {share}\nprofiles = ["smoke", "standard", "full"]\n\n'
    )
