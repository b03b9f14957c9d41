"""Reads the folders of servers and applications into the model; reports every problem at once."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from gatebench.errors import ConfigurationError
from gatebench.model import (
    CAPABILITIES,
    INTERFACES,
    Application,
    Server,
    Variant,
)
from gatebench.requirements import check_requirements
from gatebench.strict import Table, listed, near

SERVER_FILE = "server.toml"
APPLICATION_FILES = ("wsgi.py", "asgi.py")
PLACEHOLDERS = ("app", "app_file", "host", "port", "workers", "threads", "work")
STOP_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "KILL")

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
HYPHENATED = re.compile(r"[a-z][a-z0-9-]*")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_WORD_IN_BRACES = re.compile(r"(?<![$%])\{[A-Za-z_][A-Za-z0-9_]*\}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def parse_server(folder: Path, *, shipped: bool = False) -> Server:
    """The server that a folder describes.

    Args:
        folder: holds `server.toml` and `requirements.txt`; its name is the server's.
        shipped: whether the folder is part of the repository, where requirements must be pinned and hashed.

    Raises:
        ConfigurationError: with every problem in the folder.
    """
    problems: list[str] = []
    check_name(folder, _IDENTIFIER, "lower-case letters, digits and _", problems)
    homepage = ""
    remedies: dict[str, str] = {}
    variants: tuple[Variant, ...] = ()
    drops_root = False
    table = Table.load(folder / SERVER_FILE, problems)
    if table is not None:
        homepage = table.string("homepage")
        remedies = table.mapping("remedies")
        drops_root = table.boolean("drops_root", default=False)
        variants = tuple(_variant(name, entry) for name, entry in table.tables("variants").items())
        if not variants:
            table.problem("variants", "has no variant; add a table such as [variants.default]")
        table.finish()
    requirements = folder / "requirements.txt"
    pinned = check_requirements(requirements, problems, must_be_pinned=shipped)
    raise_all(problems)
    return Server(
        name=folder.name,
        folder=folder,
        homepage=homepage,
        variants=variants,
        requirements=requirements,
        pinned=pinned,
        remedies=remedies,
        drops_root=drops_root,
    )


def parse_application(folder: Path, search_path: Path, plain: Path | None = None) -> Application:
    """The application in a folder: `wsgi.py`, `asgi.py` or both, each with the callable `app`.

    Args:
        folder: the application's folder, inside `search_path`; its name is the application's.
        search_path: the folder that is put on PYTHONPATH, from which the import paths are reckoned.
        plain: the folder of the plain application, which it may import from.

    Raises:
        ConfigurationError: with every problem in the folder.
    """
    problems: list[str] = []
    check_name(folder, _IDENTIFIER, "lower-case letters, digits and _", problems)
    package = ".".join(folder.relative_to(search_path).parts)
    if keyword.iskeyword(folder.name) or package in sys.stdlib_module_names:
        problems.append(
            f"{folder}: the name is taken by Python itself and cannot be imported; rename the folder"
        )
    forms = {
        name: f"{package}.{name.removesuffix('.py')}:app"
        for name in APPLICATION_FILES
        if (folder / name).is_file()
    }
    if not forms:
        problems.append(f"{folder}: holds no application; it must have {' or '.join(APPLICATION_FILES)}")
    raise_all(problems)
    return Application(
        name=folder.name,
        folder=folder,
        search_path=search_path,
        wsgi=forms.get("wsgi.py"),
        asgi=forms.get("asgi.py"),
        plain=plain,
    )


def _variant(name: str, table: Table) -> Variant:
    if not HYPHENATED.fullmatch(name):
        table.problem("", "a variant's name is of lower-case letters, digits and -, a letter first")
    variant = Variant(
        name=name,
        interface=table.choice("interface", INTERFACES),
        command=table.strings("command"),
        tuned=table.choice("class", ("default", "tuned"), default="default") == "tuned",
        why=table.text("why"),
        supports=table.choices("supports", CAPABILITIES),
        stop=table.choice("stop", STOP_SIGNALS, default="TERM"),
        needs=table.strings("needs", default=()),
        environment=table.mapping("environment"),
        color=_color(table),
        files=table.mapping("files"),
    )
    table.finish()
    _check_command(table, variant.command)
    _check_files(table, variant.files)
    if variant.tuned and not variant.why:
        table.problem("why", 'is missing; class = "tuned" must say what was changed and why')
    if variant.why and not variant.tuned:
        table.problem("why", 'belongs to class = "tuned" only')
    if "supports" in table and not variant.supports:
        table.problem("supports", f"must name at least one of {listed(CAPABILITIES)}")
    if variant.interface == "wsgi" and "websocket" in variant.supports:
        table.problem("supports", '"websocket" needs interface = "asgi": WSGI has no WebSocket')
    for variable in variant.environment:
        if not _ENVIRONMENT_NAME.fullmatch(variable):
            table.problem("environment", f'"{variable}" cannot be the name of an environment variable')
    return variant


def _check_command(table: Table, command: tuple[str, ...]) -> None:
    if "command" in table and not command:
        table.problem("command", "must name the program to start")
    known = tuple(f"{{{name}}}" for name in PLACEHOLDERS)
    for word in command:
        for found in _PLACEHOLDER.findall(word):
            if found not in known:
                text = f'unknown placeholder "{found}"{near(found, known)}; allowed: {listed(known)}'
                table.problem("command", text)
        if set(_PLACEHOLDER.sub("", word)) & set("{}"):
            table.problem("command", f'"{word}" has a brace that belongs to no placeholder')


def _check_files(table: Table, files: Mapping[str, str]) -> None:
    """Notes names that are no plain file names, and words in braces that are no placeholders.

    A configuration file may be full of braces of its own: nginx's blocks, which are no lone words, and
    variables such as `${HOME}` and Apache's `%{Referer}i`. A bare `{word}` is a placeholder misspelt.
    """
    known = tuple(f"{{{name}}}" for name in PLACEHOLDERS)
    for name, text in files.items():
        if not _FILE_NAME.fullmatch(name):
            table.problem(
                "files",
                f'"{name}" is not a plain file name: letters, digits, _, . and -, no . or - first',
            )
        for found in dict.fromkeys(_WORD_IN_BRACES.findall(text)):
            if found not in known:
                table.problem(
                    f"files.{name}",
                    f'unknown placeholder "{found}"{near(found, known)}; allowed: {listed(known)}',
                )


def _color(table: Table) -> str | None:
    plot = table.table("plot", required=False)
    color = plot.string("color") if "color" in plot else plot.text("color")
    plot.finish()
    if color and not _COLOR.fullmatch(color):
        plot.problem("color", f'"{color}" is not a colour such as "#1f77b4"')
    return color or None


def check_name(folder: Path, form: re.Pattern[str], allowed: str, problems: list[str]) -> None:
    """Notes a folder whose name cannot be an ID."""
    if not form.fullmatch(folder.name):
        problems.append(f'{folder}: the folder name "{folder.name}" is the ID: {allowed}, a letter first')


def raise_all(problems: list[str]) -> None:
    """Raises a ConfigurationError with every problem, if there is one."""
    if problems:
        raise ConfigurationError(problems)
