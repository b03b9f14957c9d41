"""An application of one's own in one command: folders of it and its workloads, as if they had been written.

From `module:name` and some paths it makes an application's folder, which holds a copy of the source, and a
workload's folder for each path and load. From there on they are folders like any other: read by the registry,
kept with the run, found again by `resume` and `reproduce`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gatebench.cli import recognise as recogniser
from gatebench.machine.processes import Owner, marked_processes
from gatebench.registry.toml import one_line
from gatebench.registry.workloads import encoded_path, path_fault
from gatebench.runners.process.environments import Environment, Wanted, prepare
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import INTERFACES, Interface, Server
from gatebench.words.paths import CACHE, WORKLOAD_FILE
from gatebench.words.text import listed
from loadtests.engine.masked import compiled

FOLDER = CACHE.parent / "applications"
SOURCE = "source"
CONNECTIONS = 64
LIMIT = "100ms"
"""Of the open loop: it seeks the highest rate at which 99 % of the answers take no longer."""
IMPORT_S = 60.0
MOST_BYTES = 512 << 20
"""A source folder over this size holds something else than source."""
_APP = re.compile(
    r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(?P<call>\(\))?"
)
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", ".git", ".hg", "node_modules", ".venv", "venv", ".tox"
)


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
        told: a sentence on each form: what it is.
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
        if not _APP.fullmatch(each)
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
    file = requirements or where / "requirements.txt"
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


def own_runner(runner: str, apps: Sequence[str]) -> str:
    """What starts the servers of an application that was named so: processes, for now.

    Raises:
        ConfigurationError: containers were asked for, or other applications besides.
    """
    problems = []
    if apps:
        problems.append("--apps: measures applications that have a folder; --app is measured by itself")
    if runner == "docker":
        problems.append(
            "--runner docker: --app runs its servers as processes, and not in containers yet; leave it "
            "out, or make a folder of the application (docs/extending.md)"
        )
    if problems:
        raise ConfigurationError(problems)
    return "process"


def _size(folder: Path) -> int:
    """Bytes of what would be copied."""
    left_out, total = {".git", ".hg", "node_modules", ".venv", "venv", ".tox", "__pycache__"}, 0
    for path in folder.iterdir():
        if path.name in left_out:
            continue
        files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
        total += sum(each.stat().st_size for each in files if each.is_file())
        if total > MOST_BYTES:
            break
    return total


@contextmanager
def folders_of(asked: Asked, report: Callable[[str], None]) -> Iterator[Made]:
    """Makes the folders, which are gone after the block: the run has kept a copy by then.

    Raises:
        ConfigurationError: the application cannot be imported, or is none; with all of its forms' problems.
    """
    _sweep()
    home = FOLDER / str(Owner.this())
    shutil.rmtree(home, ignore_errors=True)
    try:
        name = _name(asked)
        folder = home / "apps" / name
        folder.mkdir(parents=True)
        try:
            shutil.copytree(asked.directory, folder / SOURCE, ignore=_LEFT_OUT, symlinks=True)
        except OSError as error:
            raise ConfigurationError(f"--app-dir: {asked.directory} cannot be copied: {error}") from error
        if asked.requirements is not None:
            text = one_file(asked.requirements)
            (folder / "requirements.txt").write_text(text, encoding="utf-8")
        told = _write_forms(asked, folder, report)
        (folder / "app.toml").write_text(app_toml(asked), encoding="utf-8")
        names = []
        for workload, text in workload_files(asked).items():
            (home / "workloads" / workload).mkdir(parents=True)
            (home / "workloads" / workload / WORKLOAD_FILE).write_text(text, encoding="utf-8")
            names.append(workload)
        yield Made(home / "apps", home / "workloads", name, tuple(names), told)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _sweep() -> None:
    """Removes what labs that are gone have left."""
    alive = {str(owner) for owner in marked_processes().values()} | {str(Owner.this())}
    for left in FOLDER.iterdir() if FOLDER.is_dir() else ():
        if left.name not in alive:
            shutil.rmtree(left, ignore_errors=True)


def _name(asked: Asked) -> str:
    """`mysite_app` of `mysite.wsgi:application`, which is no module of the source: it would hide that."""
    first = asked.apps[0].partition(":")[0].split(".")[0].lower()
    name = re.sub(r"[^a-z0-9_]|^[_0-9]+", "", f"{first}_app")
    while any((asked.directory / taken).exists() for taken in (name, f"{name}.py")):
        name += "_"
    return name


def one_file(path: Path, seen: frozenset[Path] = frozenset()) -> str:
    """Requirements with those of the files that they name (`-r base.txt`) in their places.

    Raises:
        ConfigurationError: a file that is named is not there.
    """
    lines = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--requirements: {path}: cannot be read: {error}") from error
    for line in text.splitlines():
        found = re.match(r"\s*(-r|--requirement)[ =]\s*(\S+)", line)
        if found is None:
            lines.append(line)
        elif (other := (path.parent / found[2]).resolve()) not in seen:
            lines.append(one_file(other, seen | {path.resolve()}))
    return "\n".join(lines) + "\n"


def _write_forms(asked: Asked, folder: Path, report: Callable[[str], None]) -> tuple[str, ...]:
    """Writes `wsgi.py` and `asgi.py`, as far as they were named, and says which is which."""
    environment = _environment(folder, report)
    problems: list[str] = []
    forms: dict[Interface, str] = {}
    for app in asked.apps:
        said = _recognised(app, folder / SOURCE, environment, asked)
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


def _environment(folder: Path, report: Callable[[str], None]) -> Environment:
    """The application's own environment, in which it is imported once, before any server is started.

    Raises:
        ConfigurationError: what it requires cannot be installed.
    """
    requirements = folder / "requirements.txt"
    if not requirements.exists():
        requirements = folder.parent / "nothing.txt"
        requirements.write_text("", encoding="utf-8")
    own = Server(folder.name, folder, "", (), requirements, pinned=False)
    made = prepare((Wanted(own),), CACHE, report=report)[own.name]
    if not isinstance(made, Environment):
        raise ConfigurationError(f"--requirements: they cannot be installed: {made.reason}")
    return made


def _recognised(app: str, source: Path, environment: Environment, asked: Asked) -> dict[str, str]:
    """What the application says of itself when it is imported, in its own environment."""
    found = _APP.fullmatch(app)
    assert found is not None  # noqa: S101 - `asked_for` has refused any other
    kind = "factory" if found["call"] else "object"
    python = str(environment.bin / "python")
    command = (python, "-B", recogniser.__file__, found["module"], found["name"], kind, str(source))
    try:
        done = subprocess.run(
            command,
            cwd=source,
            env={"PATH": str(environment.bin), "PYTHONDONTWRITEBYTECODE": "1", **asked.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=IMPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {
            "problem": f"{app}: importing it takes more than {IMPORT_S:g} s; does it start a server, or wait?"
        }
    try:
        said: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = "\n  ".join((done.stderr or done.stdout).splitlines()[-recogniser.LAST_LINES :])
        return {"problem": f"{app}: importing it ended Python with status {done.returncode}:\n  {last}"}
    if "problem" in said:
        # A person knows the folder, and not the copy of it that is gone by the time this is read.
        said["problem"] = said["problem"].replace(str(source), str(asked.directory))
    return said


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


def workload_files(asked: Asked) -> dict[str, str]:
    """Name of a workload → its `workload.toml`: for each path a closed loop and an open one."""
    files: dict[str, str] = {}
    for path in dict.fromkeys(asked.paths):
        slug = re.sub(r"[^a-z0-9]+", "-", encoded_path(path).lower()).strip("-") or "root"
        slug = slug if slug[0].isalpha() else f"path-{slug}"
        while slug in files:
            slug += "-again"
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


def _head(description: str, window: str, warmup: str, share: float) -> str:
    return (
        f'description = {one_line(description)}\ntransport = "keep-alive"\nslice = "{window}"\n'
        f'warmup = "{warmup}"\nshare = {share}\nprofiles = ["smoke", "standard", "full"]\n\n'
    )
