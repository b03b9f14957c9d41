"""What several commands take: their options, and how a command gets its values from variables."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gatebench.words.errors import ConfigurationError
from gatebench.words.text import listed, near

SELECTION, PLAN, SERVERS, LOAD = "Selection", "Plan", "Servers", "Load"
OWN = "Your own application"
CONTAINERS, OUTPUT, OPTIONS = "Containers", "Output", "Options"
"""Panels of a command's help."""
SEVERAL: Any = {"parser": Path}
"""Of an option with several paths; without the parser its variable would be split at colons, like PATH."""


def option(name: str, panel: str, text: str, *, variable: str = "", **more: Any) -> Any:
    """An option that a variable may give as well: `GATEBENCH_SERVERS_DIR` is `--servers-dir`.

    Args:
        name: of the option, with its dashes.
        panel: of the help, in which it stands.
        text: of the help.
        variable: what its variable is called instead, after `GATEBENCH_`.
        more: what else `typer.Option` takes.
    """
    variable = variable or name.removeprefix("--").replace("-", "_").upper()
    return typer.Option(name, envvar=f"GATEBENCH_{variable}", rich_help_panel=panel, help=text, **more)


def argument(variable: str, text: str, **more: Any) -> Any:
    """An argument that a variable may give as well: `GATEBENCH_` and `variable`."""
    return typer.Argument(envvar=f"GATEBENCH_{variable}", help=text, **more)


ServerNames = Annotated[
    list[str] | None,
    option("--servers", SELECTION, "Select servers, subjects or globs: 'gunicorn-* uvicorn'. Default: all."),
]
AppNames = Annotated[
    list[str] | None,
    option("--apps", SELECTION, "Select applications or globs, each for every server. Default: plain."),
]
WorkloadNames = Annotated[
    list[str] | None,
    option("--workloads", SELECTION, "Select workloads or globs. Default: those of the profile."),
]
ServersDirs = Annotated[
    list[Path] | None,
    option(
        "--servers-dir", SELECTION, "Add a folder with server folders of your own; repeatable.", **SEVERAL
    ),
]
AppsDirs = Annotated[
    list[Path] | None,
    option(
        "--apps-dir", SELECTION, "Add a folder with application folders of your own; repeatable.", **SEVERAL
    ),
]
WorkloadsDirs = Annotated[
    list[Path] | None,
    option(
        "--workloads-dir", SELECTION, "Add a folder with workload folders of your own; repeatable.", **SEVERAL
    ),
]
RunnerName = Annotated[
    str,
    option(
        "--runner", SERVERS, "Start servers with docker, process or auto: containers where they can be had."
    ),
]
Workers = Annotated[
    int | None,
    option("--workers", SERVERS, "Set the worker processes of every server. Default: one per server core."),
]
Engines = Annotated[
    int | None,
    option(
        "--engines", LOAD, "Set the load engine processes, one core each. Default: 2 where cores are free."
    ),
]
LoadBind = Annotated[
    str, option("--load-bind", LOAD, "Listen at this address for Locust workers on other machines.")
]
Budget = Annotated[
    str | None, option("--budget", PLAN, "Limit the wall time after set-up, such as 90s or 10m.")
]
Precise = Annotated[
    str | None,
    option(
        "--precision",
        PLAN,
        "End once every ratio is known to within this, such as 3%; '3% keep-alive uvicorn gunicorn-*' "
        "asks it of these alone.",
    ),
]
Out = Annotated[
    Path | None, option("--out", OUTPUT, "Write results to this folder, which must be empty or new.")
]
Claims = Annotated[
    list[Path] | None, option("--claims", OUTPUT, "Check the claims in this file too; repeatable.", **SEVERAL)
]
Strict = Annotated[
    bool, option("--strict", OUTPUT, "End with status 1 where any figure is withheld, as for a CI.")
]
Port = Annotated[
    int, option("--port", OPTIONS, "Serve the subject at this port of 127.0.0.1.", min=1, max=65535)
]
RunFolder = Annotated[Path, argument("RUN", "Results folder of the run.", show_default="results/latest")]
SubjectName = Annotated[str, argument("SERVER", "Subject, such as uvicorn or uvicorn+bare.")]


OwnApps = Annotated[
    list[str] | None,
    option("--app", OWN, "Measure this application of your own: module:name or module:factory()."),
]
OwnDir = Annotated[
    Path | None, option("--app-dir", OWN, "Import it from this folder. Default: where you are.")
]
OwnRequirements = Annotated[
    Path | None,
    option("--requirements", OWN, "Install what this file lists beside each server. Default: the folder's."),
]
OwnPaths = Annotated[
    list[str] | None, option("--paths", OWN, "Ask these paths: '/ /api/items?page=2'. Default: /.")
]
Varies = Annotated[
    list[str] | None,
    option("--varies", OWN, "Let what matches this regular expression differ between answers; repeatable."),
]
OwnVariables = Annotated[
    list[str] | None, option("--app-env", OWN, "Set NAME=VALUE for the application; repeatable.")
]


class Command(TyperCommand):
    """A command whose variables end with it: a process that it starts sees none of them.

    The report of a run is such a process; it would take the run's claims for its own.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Typer's own context has no public type
        """As Click does, and of values that are none of their option's type every one is reported.

        Raises:
            ConfigurationError: with each of them, and with each variable that this command or none takes.
        """
        problems = _strange_variables(ctx)
        try:
            rest = super().parse_args(ctx, list(args))
        except typer.BadParameter as error:
            problems += _wrong_values(self, ctx, args) or [error.format_message()]
            raise ConfigurationError(problems) from error
        if problems:
            raise ConfigurationError(problems)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; `typed_command` has what it was asked for."""
        ctx.meta[_COMMAND] = ["gatebench", *sys.argv[1:], *_from_variables(ctx)]
        for command in ctx.find_root().command.commands.values():
            for parameter in command.params:
                if parameter.envvar:
                    os.environ.pop(parameter.envvar, None)
        return super().invoke(ctx)


_VARIABLES: dict[str, str] = {}
"""Option → its variable of `make`, where that was what started this command; empty where it was not."""


def as_typed(text: str) -> str:
    """A text for the person, in which options are called as that person gives them: `--out`, or `OUT`.

    A value follows its option with `=`, which both take, and stands in single quotes where it needs some.
    What a server wrote stays as it is.
    """
    ours, below, theirs = text.partition("\nlast lines of ")
    if _VARIABLES:
        names = "|".join(sorted(map(re.escape, _VARIABLES), key=len, reverse=True))
        ours = re.sub(rf"(?<![\w-])({names})(?![\w-])(='[^']*')?", _as_variable, ours)
    return ours + below + theirs


def _as_variable(found: re.Match[str]) -> str:
    return _VARIABLES[found[1]] + (found[2] or "").replace("$", "$$")


_COMMAND = "gatebench.command"
GIVEN_VARIABLE = "GATEBENCH_GIVEN"
"""In which `make` says what was given on its command line for one command."""
_PREFIX = "GATEBENCH_"
NOT_OPTIONS = frozenset({f"{_PREFIX}{name}" for name in ("OWNER", "TRACE", "FILES")})
"""The lab's own, by which it marks and instructs the processes that it starts."""


def _wrong_values(command: TyperCommand, ctx: Any, args: list[str]) -> list[str]:
    """Each value that its option cannot take, with the option; Click itself stops at the first."""
    given, rest, _ = command.make_parser(ctx).parse_args(args=list(args))
    problems = []
    for parameter in command.get_params(ctx):
        is_option = parameter.param_type_name == "option"
        variable = str(parameter.envvar or parameter.name)
        name = parameter.opts[0] if is_option else variable.removeprefix(_PREFIX)
        typed = given.get(parameter.name, None)
        try:
            _, rest = parameter.handle_parse_result(ctx, given, rest)
        except typer.BadParameter as error:
            if not error.message:
                problems.append(f"{name}: is missing; `gatebench {ctx.command.name} --help` shows what it is")
                continue
            value = typed if isinstance(typed, str) else parameter.value_from_envvar(ctx)
            why, _, _ = error.message.partition(",")
            problems.append(f'{name}: "{value}": {why[:1].lower()}{why[1:].rstrip(".")}')
    return problems


def _strange_variables(ctx: Any) -> list[str]:
    """Variables that somebody set for this command and that would be taken for nothing.

    One for another command may stand in the environment, but not on the command line of `make`; a name that
    is no command's is a slip of the pen.
    """
    _VARIABLES.clear()
    if GIVEN_VARIABLE in os.environ:
        options = (each for each in ctx.command.params if each.envvar and each.param_type_name == "option")
        _VARIABLES.update({each.opts[0]: str(each.envvar).removeprefix(_PREFIX) for each in options})
    given = os.environ.pop(GIVEN_VARIABLE, "").split()
    own = _variables(ctx.command)
    every = own.union(*(_variables(each) for each in ctx.find_root().command.commands.values()))
    problems = [
        f"{_PREFIX}{name}: there is no such variable{near(name, every)}; unset it"
        for name in sorted(each.removeprefix(_PREFIX) for each in os.environ if each.startswith(_PREFIX))
        if name not in every and _PREFIX + name not in NOT_OPTIONS
    ]
    if others := [name for name in given if name in every - own]:
        problems.append(f"{ctx.command.name} takes no {listed(others)}, only {listed(sorted(own))}")
    return problems


def _variables(command: Any) -> set[str]:
    found = (parameter.envvar for parameter in command.params)
    return {variable.removeprefix(_PREFIX) for variable in found if isinstance(variable, str)}


def typed_command(ctx: typer.Context) -> str:
    """The whole command as a person could type it: what came from variables has become options."""
    return shlex.join(ctx.meta[_COMMAND])


def _from_variables(ctx: Any) -> list[str]:
    words: list[str] = []
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name)
        if source is None or source.name != "ENVIRONMENT":
            continue
        value = ctx.params[parameter.name]
        is_option = parameter.param_type_name == "option"
        for each in value if isinstance(value, list) else [value]:
            if value is not False:
                words += parameter.opts[:1] if is_option else []
            if not isinstance(value, bool):
                words.append(str(each))
    return words
