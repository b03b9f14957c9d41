"""Reads the folders of servers and applications into the model; reports every problem at once."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gatebench.contract.file import load_contract
from gatebench.contract.rules import Contract
from gatebench.registry.requirements import check_requirements
from gatebench.registry.toml import Fault, Many, Some, Table, Text, check, like, load
from gatebench.words.commands import other_braces, placeholders
from gatebench.words.errors import ConfigurationError
from gatebench.words.footing import Loop, Parser, SocketLibrary
from gatebench.words.model import (
    CAPABILITIES,
    DATABASE_VARIABLE,
    Application,
    Capability,
    Expects,
    Interface,
    Resource,
    Server,
    Variant,
)
from gatebench.words.paths import APPLICATION_FILE, APPLICATION_FILES, SERVER_FILE
from gatebench.words.text import listed, near

PLACEHOLDERS = ("app", "app_file", "host", "port", "workers", "threads", "work", "folder")
_KNOWN = tuple(f"{{{name}}}" for name in PLACEHOLDERS)
StopSignal = Literal["TERM", "INT", "QUIT", "HUP", "KILL"]

_LABS_OWN = frozenset(
    (
        *("PATH", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
        DATABASE_VARIABLE,
    )
)
"""Variables that an application cannot set."""

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
HYPHENATED = re.compile(r"[a-z][a-z0-9-]*")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_IN_FOLDER = re.compile(r"\{folder\}/(?P<rest>(?P<path>[A-Za-z0-9_./-]*).*)")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
_SHELL_WORDS = frozenset({"cd", "exec", "export", "source", ".", "set", "unset", "ulimit", "eval"})
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.DOTALL)
_OPERATOR = re.compile(r"&&|\|\|?|&|;|(\d|&)?(>>?|<<?)(&\d|[^ ]*)")
_VARIABLE = re.compile(r"\$\{?[A-Z_][A-Z0-9_]*")
_OWN_REQUIREMENTS = re.compile(r"requirements-[a-z][a-z0-9-]*\.txt")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WITHOUT_PORT = (
    "has no {port}; the lab chooses where the server listens. Write it where the port belongs, there "
    "or in environment or files; in a shell, ${PORT:-{port}}"
)

_VariableName = Annotated[str, like(_ENVIRONMENT_NAME, "cannot be the name of an environment variable")]
_FileName = Annotated[
    str, like(_FILE_NAME, "is not a plain file name: letters, digits, _, . and -, no . or - first")
]
_VariantName = Annotated[
    str, like(HYPHENATED, "is no variant's name: lower-case letters, digits and -, a letter first")
]


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
    path = folder / SERVER_FILE
    data = load(path, problems)
    file = data and check(_ServerFile, data, path, problems, partial(_faults, folder=folder))
    requirements = folder / "requirements.txt"
    pinned = check_requirements(requirements, problems, must_be_pinned=shipped)
    own = (
        dict.fromkeys(each.requirements for each in file.variants.values() if each.requirements)
        if file
        else {}
    )
    pins = {name: check_requirements(folder / name, problems, must_be_pinned=shipped) for name in own}
    if problems or not file:
        raise ConfigurationError(problems)
    return Server(
        name=folder.name,
        folder=folder,
        homepage=file.homepage,
        variants=tuple(_variant(name, table, pins) for name, table in file.variants.items()),
        requirements=requirements,
        pinned=pinned,
        remedies=file.remedies,
        drops_root=file.drops_root,
    )


def parse_application(
    folder: Path,
    search_path: Path,
    plain: Path | None = None,
    *,
    shipped: bool = False,
    contract: Contract | None = None,
) -> Application:
    """The application in a folder: `wsgi.py`, `asgi.py` or both, each with the callable `app`.

    What else is to be said of it is in `app.toml`; without one it answers the whole contract.

    Args:
        folder: the application's folder, inside `search_path`; its name is the application's.
        search_path: the folder that is put on PYTHONPATH, from which the import paths are reckoned.
        plain: the folder of the plain application, which it may import from.
        shipped: whether the folder is part of the repository, where requirements must be pinned and hashed.
        contract: has the routes that it may declare; the project's own by default.

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
    path = folder / APPLICATION_FILE
    data = load(path, problems) if path.is_file() else {}
    faults = partial(_application_faults, contract=contract or load_contract(), forms=forms)
    file = None if data is None else check(_ApplicationFile, data, path, problems, faults)
    requirements, pinned = folder / "requirements.txt", True
    if has_requirements := requirements.is_file():
        pinned = check_requirements(requirements, problems, must_be_pinned=shipped)
    elif (folder / "requirements.in").is_file():
        problems.append(
            f"{folder}: has a requirements.in and no requirements.txt, which is what is installed; make it "
            "with `uv pip compile --universal --generate-hashes requirements.in -o requirements.txt`"
        )
    if problems or file is None:
        raise ConfigurationError(problems)
    return Application(
        name=folder.name,
        folder=folder,
        search_path=search_path,
        wsgi=forms.get("wsgi.py"),
        asgi=forms.get("asgi.py"),
        plain=plain,
        title=file.title,
        homepage=file.homepage,
        routes=file.routes,
        environment=file.environment,
        requirements=requirements if has_requirements else None,
        pinned=pinned,
        requires=file.requires,
        prepare=file.prepare,
    )


class _Plot(Table):
    color: Annotated[Text, like(_COLOR, 'is not a colour such as "#1f77b4"')] | None = None


class _Expects(Table):
    loop: Loop | None = None
    http: Parser | None = None
    websocket: SocketLibrary | None = None


class _Variant(Table):
    interface: Interface
    command: Many[Text]
    form: Literal["default", "tuned"] = Field("default", alias="class")
    why: str = ""
    supports: Some[Capability]
    stop: StopSignal = "TERM"
    needs: Many[Text] = ()
    environment: dict[_VariableName, Text] = Field(default_factory=dict)
    plot: _Plot = _Plot()
    files: dict[_FileName, Text] = Field(default_factory=dict)
    expects: _Expects = _Expects()
    selected: bool = True
    requirements: (
        Annotated[str, like(_OWN_REQUIREMENTS, "is no file of this folder such as requirements-uvloop.txt")]
        | None
    ) = None


class _ServerFile(Table):
    homepage: Text
    remedies: dict[str, Text] = Field(default_factory=dict)
    drops_root: bool = False
    variants: dict[_VariantName, _Variant]


class _ApplicationFile(Table):
    title: Text = ""
    homepage: Text = ""
    routes: Some[Text] | None = None
    requires: Some[Resource] = frozenset()
    prepare: Many[Text] = ()
    environment: dict[_VariableName, Text] = Field(default_factory=dict)


def _application_faults(
    file: Mapping[str, Any], contract: Contract, forms: Mapping[str, str]
) -> Iterator[Fault]:
    """What does not go together in an `app.toml`, whose values are right by themselves or left out.

    Args:
        file: its data without what is wrong.
        contract: has the routes that may be declared.
        forms: name of a source file → its import path.
    """
    declared, sockets = file.get("routes"), {each.path for each in contract.websockets}
    for route in declared or ():
        if route not in contract.forms:
            known = contract.forms
            yield (
                ("routes",),
                f'"{route}" is no route of the contract{near(route, known)}; routes: {listed(known)}',
            )
        elif route in sockets and "asgi.py" not in forms:
            yield ("routes",), f'"{route}" is a WebSocket, and WSGI has none; it needs an asgi.py'
    lacking = contract.resources(declared or ()) - {*file.get("requires", ())}
    for resource in sorted(lacking):
        asking = listed(each.form for each in contract.routes if resource in each.requires)
        yield ("requires",), f'must name "{resource}", which {asking} need'
    if declared and not {each.form for each in contract.routes} & {*declared}:
        yield ("routes",), "names no HTTP route, by which it would be known that a server is ready"
    for name in file.get("environment", {}):
        if name in _LABS_OWN:
            yield ("environment", name), "is set by the lab, alike for every application; leave it out"


def _variant(name: str, table: _Variant, pins: Mapping[str, bool]) -> Variant:
    own = table.requirements
    return Variant(
        name=name,
        interface=table.interface,
        command=table.command,
        tuned=table.form == "tuned",
        why=table.why,
        supports=table.supports,
        stop=table.stop,
        needs=table.needs,
        environment=table.environment,
        color=table.plot.color,
        files=table.files,
        expects=Expects(
            *(each or "" for each in (table.expects.loop, table.expects.http, table.expects.websocket))
        ),
        selected=table.selected,
        requirements=own or "",
        pinned=pins[own] if own else True,
    )


def _faults(file: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    """What does not go together in a file, whose values are right by themselves or left out."""
    if file.get("variants") == {}:
        yield ("variants",), "has no variant; add a table such as [variants.default]"
    for name, variant in file.get("variants", {}).items():
        for place, text in _variant_faults(name, variant, folder):
            yield ("variants", name, *place), text


def _variant_faults(name: str, variant: Mapping[str, Any], folder: Path) -> Iterator[Fault]:
    command, supports = variant.get("command"), variant.get("supports")
    texts: list[Fault] = [(("command",), word) for word in command or ()]
    for key in ("environment", "files"):
        texts += (((key, each), text) for each, text in variant.get(key, {}).items())
    for place, text in texts:
        yield from ((place, fault) for fault in _text_faults(text, folder))
    if command is not None:
        yield from ((("command",), fault) for fault in _command_faults(name, command))
    words = {word for _, text in texts for word in placeholders(text)}
    if command and "port" not in words and words.issubset(PLACEHOLDERS):
        yield ("command",), _WITHOUT_PORT
    tuned, why = variant.get("class", "default") == "tuned", variant.get("why")
    if tuned and not why:
        yield ("why",), 'is missing; class = "tuned" must say what was changed and why'
    if why and not tuned:
        yield ("why",), 'belongs to class = "tuned" only'
    if supports == []:
        yield ("supports",), f"must name at least one of {listed(CAPABILITIES)}"
    if variant.get("interface") == "wsgi" and "websocket" in (supports or ()):
        yield ("supports",), '"websocket" needs interface = "asgi": WSGI has no WebSocket'
    if variant.get("interface") == "wsgi":
        for key in sorted({"loop", "websocket"} & {*variant.get("expects", {})}):
            yield (
                ("expects", key),
                'needs interface = "asgi": no event loop calls a WSGI application, nor a WebSocket',
            )


def _command_faults(name: str, command: Sequence[str]) -> Iterator[str]:
    """What is wrong with the command of the variant of that name, whatever else the variant has."""
    if not command:
        yield "must name the program to start"
    for word in command:
        braces = other_braces(word)
        if braces.count("{") != braces.count("}"):
            yield f'"{word}" has a brace that belongs to no placeholder'
    if not command or Path(command[0]).name in _SHELLS:
        return
    set_first = list(takewhile(bool, map(_ASSIGNMENT.fullmatch, command)))
    if set_first:
        lines = "".join(f"\n{found['name']} = {dumps(found['value'])}" for found in set_first if found)
        yield (
            f'"{command[0]}" is no program: a shell would set a variable, and no shell sees the command. '
            f"Begin with the program, and write this into {SERVER_FILE}:\n"
            f"[variants.{name}.environment]{lines}"
        )
    program = command[len(set_first) : len(set_first) + 1]
    shells = [word for word in command if _OPERATOR.fullmatch(word) or _VARIABLE.search(word)]
    found = dict.fromkeys((*(word for word in program if word in _SHELL_WORDS), *shells))
    if found:
        quoted = ", ".join(f'"{word}"' for word in found)
        yield (
            f"{quoted} {'is' if len(found) == 1 else 'are'} for a shell, and no shell sees the command. "
            f"Leave that out, use a placeholder ({listed(_KNOWN)}), or start a shell: "
            'command = ["sh", "-c", "exec …"]'
        )


def _text_faults(text: str, folder: Path) -> Iterator[str]:
    """Words in braces that are no placeholders, and files of the folder that are not there.

    A configuration file may be full of braces of its own: nginx's blocks, which are no lone words, and
    variables such as `${HOME}` and Apache's `%{Referer}i`. A bare `{word}` is a placeholder misspelt, or the
    file's own, which has to say so.
    """
    for word in placeholders(text):
        found = f"{{{word}}}"
        if word not in PLACEHOLDERS:
            yield (
                f'unknown placeholder "{found}"{near(found, _KNOWN)}; allowed: {listed(_KNOWN)}. '
                f'If "{found}" is to stay as it is, write "{{{found}}}"'
            )
    for named in _IN_FOLDER.finditer(text):
        path = next((each for each in (named["rest"], named["path"]) if (folder / each).exists()), None)
        if path is None:
            yield f'there is no file "{named["path"]}" in {folder}, which {{folder}} stands for'
        elif any(part.startswith(".") and part.strip(".") for part in Path(path).parts):
            yield f'"{path}" is hidden, and neither an image nor a bundle holds hidden files; rename it'
        elif not (folder / path).resolve().is_relative_to(folder.resolve()):
            yield f'"{path}" lies outside {folder}, which is all that an image and a bundle hold'


def check_name(folder: Path, form: re.Pattern[str], allowed: str, problems: list[str]) -> None:
    """Notes a folder whose name cannot be an ID."""
    if not form.fullmatch(folder.name):
        problems.append(f'{folder}: the folder name "{folder.name}" is the ID: {allowed}, a letter first')
