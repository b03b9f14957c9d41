"""Makes the folder of a new server: a `server.toml` that the registry accepts, and pinned requirements."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory

from gatebench.machine.processes import Owner, sweep
from gatebench.registry.registry import SERVERS
from gatebench.runners.process.environments import InstallError, pin
from gatebench.words.commands import placeholders
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import DEFAULT_VARIANT, Server
from gatebench.words.paths import SERVER_FILE
from gatebench.words.text import listed

USUAL: Mapping[str, tuple[str, ...]] = {
    "wsgi": ("close", "keep-alive"),
    "asgi": ("close", "keep-alive", "websocket"),
}
"""What a server of an interface is taken to support until it is known better."""

_LOOSE, _PINNED = "requirements.in", "requirements.txt"
_STAND_IN = "server"
_FOR_A_SHELL = re.compile(r"""^~|[*?]|\[.*\]|^(['"]).*\1$|\$\(|`""")
"""What a shell would replace: a home, names of files, quotes, another command's output."""
_PACKAGE = re.compile(r"[A-Za-z0-9][^\r\n]*")


@dataclass(frozen=True, slots=True)
class NewServer:
    """What a person asked for, as it was typed.

    Attributes:
        name: of the folder, which is the server's ID.
        interface: `wsgi` or `asgi`.
        command: the argument vector with its placeholders; a single argument is split as a shell splits it.
        homepage: of the server.
        directory: the folder of server folders, made where it is missing.
        packages: what has to be installed; where there are none, the package of the server's name.
        supports: capabilities; None for those in `USUAL`.
    """

    name: str
    interface: str
    command: tuple[str, ...]
    homepage: str
    directory: Path
    packages: tuple[str, ...] = ()
    supports: tuple[str, ...] | None = None


def create(wanted: NewServer, root: Path) -> Server:
    """The new server, whose folder is there as a whole afterwards, or not at all.

    It is made beside its place, read by the registry's own loader, held to the rules of the repository
    (pinned and hashed) wherever it lies, and only then moved.

    Args:
        wanted: what was asked for.
        root: the repository, whose servers' names are taken.

    Raises:
        ConfigurationError: with every problem of what was asked for; or the packages cannot be pinned, or the
            folder cannot be written.
    """
    _check_text(wanted)
    directory = wanted.directory.resolve()
    try:
        with _scratch(directory) as scratch:
            staged = scratch / (wanted.name if _is_folder_name(wanted.name) else _STAND_IN)
            staged.mkdir()
            problems: list[str] = []
            command = _argument_vector(wanted.command, problems)
            problems += _own_problems(wanted, command, directory, root)
            (staged / SERVER_FILE).write_text(server_toml(wanted, command), encoding="utf-8")
            (staged / _PINNED).touch()
            _load(staged, problems, shipped=False)
            _pin(staged, wanted.packages or (wanted.name,))
            _load(staged, [], shipped=True)
            place = directory / wanted.name
            staged.rename(place)
    except OSError as error:
        text = f"--dir: {directory}: the new folder cannot be made there: {error.strerror or error}"
        raise ConfigurationError(text) from error
    return _parse(place, shipped=True)


def server_toml(wanted: NewServer, command: Sequence[str]) -> str:
    """The text of `server.toml`, laid out like those of the repository; it need not be right."""
    supports = USUAL.get(wanted.interface, USUAL["wsgi"]) if wanted.supports is None else wanted.supports
    lines = (
        f"homepage = {_string(wanted.homepage)}",
        "",
        f"[variants.{DEFAULT_VARIANT}]",
        f"interface = {_string(wanted.interface)}",
        f"command = {_array(command)}",
        'class = "default"',
        f"supports = {_array(tuple(dict.fromkeys(supports)))}",
        'stop = "TERM"',
    )
    return "\n".join(lines) + "\n"


def next_steps(server: Server, root: Path) -> tuple[str, ...]:
    """Lines that tell a person what was made and which commands come next."""
    (variant,) = server.variants
    directory = server.folder.parent
    shipped = directory == (root / SERVERS).resolve()
    near_by = directory.relative_to(root) if directory.is_relative_to(root) else directory
    folder = "" if shipped else str(near_by)
    lines = (
        f"{server.folder}: {SERVER_FILE}, {_LOOSE} and {_PINNED}",
        *(
            f"{word} is passed to the server as it stands: no shell sees the command."
            for word in variant.command[1:]
            if _FOR_A_SHELL.search(word)
        ),
        f"It declares {listed(sorted(variant.supports))}: `verify` says which of these do not hold.",
        f"Next, in {root}:",
        *(f"  {_next_command(verb, server.name, folder)}" for verb in ("verify", "bench")),
    )
    return (*lines, "CONTRIBUTING.md says what else a server of the repository needs.") if shipped else lines


def _next_command(verb: str, name: str, folder: str) -> str:
    """A command on the new server: of Make, unless Make would misread the folder's name."""
    if not folder:
        return f"make {verb} SERVERS={name}"
    if shlex.quote(folder) == folder:
        return f"make {verb} SERVERS_DIR={folder} SERVERS={name}"
    subcommand = {"bench": "run"}.get(verb, verb)
    return shlex.join((".venv/bin/gatebench", subcommand, "--servers-dir", folder, "--servers", name))


def _string(text: str) -> str:
    """A TOML basic string. JSON's is one, but for DEL, which TOML wants escaped, and for surrogate pairs."""
    return dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_string, items))}]"


def _check_text(wanted: NewServer) -> None:
    """Refuses bytes that are no text, which no file of the folder could hold."""
    given = (wanted.name, wanted.interface, wanted.homepage, *wanted.command, *wanted.packages)
    problems = []
    for text in (*given, *(wanted.supports or ())):
        try:
            text.encode()
        except UnicodeEncodeError:
            problems.append(f"{text!a}: is not text in UTF-8")
    if problems:
        raise ConfigurationError(problems)


def _is_folder_name(name: str) -> bool:
    return name not in {"", ".."} and Path(name).name == name


def _argument_vector(arguments: Sequence[str], problems: list[str]) -> tuple[str, ...]:
    if len(arguments) != 1:
        return tuple(arguments)
    try:
        return tuple(shlex.split(arguments[0]))
    except ValueError as error:
        problems.append(f"COMMAND: cannot be split into arguments: {error}")
        return tuple(arguments)


def _own_problems(wanted: NewServer, command: Sequence[str], directory: Path, root: Path) -> Iterator[str]:
    """What the loader cannot know or does not ask: a free name, plain packages, a port and an application."""
    if not _is_folder_name(wanted.name):
        example = _suggestion(wanted.name)
        yield f'NAME: "{wanted.name}" is not a folder name{example}; --dir says where it goes'
    else:
        for folder in dict.fromkeys((directory / wanted.name, (root / SERVERS).resolve() / wanted.name)):
            if folder.exists() or folder.is_symlink():
                yield f'NAME: the name "{wanted.name}" is taken by {folder}; choose another one'
    if (directory / SERVER_FILE).exists():
        yield f"--dir: {directory}: holds {SERVER_FILE} itself; name the folder above it"
    for package in wanted.packages:
        if not _PACKAGE.fullmatch(package):
            yield (
                f'--package: "{package}" is not a package such as "uvicorn[standard]" or "uvicorn==0.34.0"; '
                f"for a working copy name a package first, and then write -e FOLDER into {_PINNED}"
            )
    if command and not any("host" in placeholders(word) for word in command):
        yield "COMMAND: has no {host}; the lab chooses the address at which the server listens"
    if command and not any({"app", "app_file"} & {*placeholders(word)} for word in command):
        yield "COMMAND: has neither {app}, the application's import path, nor {app_file}, its file"


def _suggestion(name: str) -> str:
    allowed = re.sub(r"[^a-z0-9]+", "_", name.lower()).lstrip("_0123456789").rstrip("_")
    return f'; for example "{allowed}"' if allowed else ""


def _parse(folder: Path, *, shipped: bool) -> Server:
    from gatebench.registry.servers import parse_server  # noqa: PLC0415 - pydantic is heavy, and help needs none

    return parse_server(folder, shipped=shipped)


def _load(staged: Path, problems: list[str], *, shipped: bool) -> None:
    """Has the registry's loader read the folder.

    Raises:
        ConfigurationError: with `problems` and with those of the loader.
    """
    try:
        _parse(staged, shipped=shipped)
    except ConfigurationError as error:
        problems = [*problems, *(_as_typed(problem, staged) for problem in error.problems)]
    if problems:
        raise ConfigurationError(problems)


def _as_typed(problem: str, staged: Path) -> str:
    """A problem of the loader, told of what was typed and not of a file that will be gone."""
    if problem.startswith(f"{staged}: "):
        return problem.replace(str(staged), "NAME", 1) + _suggestion(staged.name)
    variant = f"{staged / SERVER_FILE}: variants.{DEFAULT_VARIANT}."
    for file, typed in (
        (f"{variant}command", "COMMAND"),
        (variant, "--"),
        (f"{staged / SERVER_FILE}: ", "--"),
        (str(staged / _PINNED), "--package"),
    ):
        if problem.startswith(file):
            return typed + problem.removeprefix(file)
    return problem


def _pin(staged: Path, packages: Sequence[str]) -> None:
    """Writes the requirements, as they were given and as uv pins them.

    Raises:
        ConfigurationError: uv cannot; with its last lines and what to do next.
    """
    (staged / _LOOSE).write_text("".join(f"{package}\n" for package in packages), encoding="utf-8")
    try:
        pin(staged, _LOOSE, _PINNED)
    except KeyboardInterrupt:
        sweep(also=Owner.this())  # uv may have been building a package
        raise
    except InstallError as error:
        raise ConfigurationError(
            f"--package: {listed(packages)}: cannot be pinned; name what has to be installed, as the package "
            f"index spells it:\n{error}"
        ) from error


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A hidden folder in `directory`, which the registry leaves out, for as long as the new one is made.

    `directory` and its parents are made where they are missing, and go again if they stay empty.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-server-", dir=directory) as scratch:
            yield Path(scratch)
    finally:
        for folder in made:
            with suppress(OSError):  # the new server is in it
                folder.rmdir()
