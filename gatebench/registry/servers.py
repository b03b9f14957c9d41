"""Reads the folders of servers and applications into the model; reports every problem at once."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterator
from itertools import takewhile
from json import dumps
from pathlib import Path

from gatebench.words.commands import other_braces, placeholders
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import CAPABILITIES, INTERFACES, Application, Server, Variant
from gatebench.words.text import listed, near
from gatebench.words.toml import Table

_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^]]*\])?\s*==\s*[^\s;*]+(\s|;|$)")
_HASH = re.compile(r"\s--hash=[a-z0-9]+:[0-9a-f]+")
_INDEX_OPTION = re.compile(r"(-i|-f|--(extra-)?index-url|--find-links|--no-index|--trusted-host)\b")
_FILE_OPTION = re.compile(r"(-r|-c|--requirements?|--constraints?)\b")
_LOCAL_PATH = re.compile(r"(\.|/|file:)")


def check_requirements(path: Path, problems: list[str], *, must_be_pinned: bool) -> bool:
    """Whether every requirement of a file is pinned and hashed; what is wrong with it goes into `problems`.

    An environment is known by the content of this one file, so what lies outside it must not matter: other
    files and package folders that are copied are refused. (`-e FOLDER` is a link, which follows its folder.)

    Args:
        path: a server's `requirements.txt`.
        problems: gets one line for each problem.
        must_be_pinned: whether an unpinned or unhashed requirement is a problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        problems.append(f"{path}: is missing or is not text; it lists what the server's environment holds")
        return False
    requirements = list(_logical_lines(text))
    if not requirements and must_be_pinned:  # a user's own server may need nothing but Python
        problems.append(f"{path}: lists no requirement")
    pinned = True
    for line in requirements:
        shown = line.split(" --hash", maxsplit=1)[0]
        if _FILE_OPTION.match(line):
            problems.append(f"{path}: {shown}: other files are not followed; list the requirements here")
        elif _LOCAL_PATH.match(line):
            problems.append(f"{path}: {shown}: a copied folder would grow stale; write -e {shown}")
        elif _INDEX_OPTION.match(line):
            pinned = False
            if must_be_pinned:
                problems.append(
                    f"{path}: {shown}: names a package index; leave that to the environment variables"
                )
        elif not _PINNED.match(line) or not _HASH.search(line):
            pinned = False
            if must_be_pinned:
                problems.append(
                    f"{path}: {shown}: must be pinned with == and hashed; "
                    "make the file with `uv pip compile --universal --generate-hashes`"
                )
    return pinned


def _logical_lines(text: str) -> Iterator[str]:
    """Requirements and options, continued lines joined, without comments."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            yield bare


SERVER_FILE = "server.toml"
APPLICATION_FILES = ("wsgi.py", "asgi.py")
PLACEHOLDERS = ("app", "app_file", "host", "port", "workers", "threads", "work", "folder")
_KNOWN = tuple(f"{{{name}}}" for name in PLACEHOLDERS)
STOP_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "KILL")

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
        variants = tuple(_variant(name, entry, folder) for name, entry in table.tables("variants").items())
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


def _variant(name: str, table: Table, folder: Path) -> Variant:
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
    _check_command(table, name, variant.command)
    for key, text in _texts(variant):
        _check_text(table, key, text, folder)
    words = {word for _, text in _texts(variant) for word in placeholders(text)}
    if variant.command and "port" not in words and words.issubset(PLACEHOLDERS):
        table.problem(
            "command",
            "has no {port}; the lab chooses where the server listens. Write it where the port belongs, there "
            "or in environment or files; in a shell, ${PORT:-{port}}",
        )
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
    for file in variant.files:
        if not _FILE_NAME.fullmatch(file):
            table.problem(
                "files",
                f'"{file}" is not a plain file name: letters, digits, _, . and -, no . or - first',
            )
    return variant


def _texts(variant: Variant) -> Iterator[tuple[str, str]]:
    """Every text of a variant that is filled in, with its key."""
    yield from (("command", word) for word in variant.command)
    yield from ((f"environment.{name}", text) for name, text in variant.environment.items())
    yield from ((f"files.{name}", text) for name, text in variant.files.items())


def _check_command(table: Table, name: str, command: tuple[str, ...]) -> None:
    if "command" in table and not command:
        table.problem("command", "must name the program to start")
    for word in command:
        braces = other_braces(word)
        if braces.count("{") != braces.count("}"):
            table.problem("command", f'"{word}" has a brace that belongs to no placeholder')
    if not command or Path(command[0]).name in _SHELLS:
        return
    set_first = list(takewhile(bool, map(_ASSIGNMENT.fullmatch, command)))
    if set_first:
        lines = "".join(f"\n{found['name']} = {dumps(found['value'])}" for found in set_first if found)
        table.problem(
            "command",
            f'"{command[0]}" is no program: a shell would set a variable, and no shell sees the command. '
            f"Begin with the program, and write this into {SERVER_FILE}:\n"
            f"[variants.{name}.environment]{lines}",
        )
    program = command[len(set_first) : len(set_first) + 1]
    shells = [word for word in command if _OPERATOR.fullmatch(word) or _VARIABLE.search(word)]
    found = dict.fromkeys((*(word for word in program if word in _SHELL_WORDS), *shells))
    if found:
        quoted = ", ".join(f'"{word}"' for word in found)
        table.problem(
            "command",
            f"{quoted} {'is' if len(found) == 1 else 'are'} for a shell, and no shell sees the command. "
            f"Leave that out, use a placeholder ({listed(_KNOWN)}), or start a shell: "
            'command = ["sh", "-c", "exec …"]',
        )


def _check_text(table: Table, key: str, text: str, folder: Path) -> None:
    """Notes words in braces that are no placeholders, and files of the folder that are not there.

    A configuration file may be full of braces of its own: nginx's blocks, which are no lone words, and
    variables such as `${HOME}` and Apache's `%{Referer}i`. A bare `{word}` is a placeholder misspelt, or the
    file's own, which has to say so.
    """
    for word in placeholders(text):
        found = f"{{{word}}}"
        if word not in PLACEHOLDERS:
            table.problem(
                key,
                f'unknown placeholder "{found}"{near(found, _KNOWN)}; allowed: {listed(_KNOWN)}. '
                f'If "{found}" is to stay as it is, write "{{{found}}}"',
            )
    for named in _IN_FOLDER.finditer(text):
        path = next((each for each in (named["rest"], named["path"]) if (folder / each).exists()), None)
        if path is None:
            table.problem(key, f'there is no file "{named["path"]}" in {folder}, which {{folder}} stands for')
        elif any(part.startswith(".") and part.strip(".") for part in Path(path).parts):
            table.problem(
                key, f'"{path}" is hidden, and neither an image nor a bundle holds hidden files; rename it'
            )
        elif not (folder / path).resolve().is_relative_to(folder.resolve()):
            table.problem(
                key, f'"{path}" lies outside {folder}, which is all that an image and a bundle hold'
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
