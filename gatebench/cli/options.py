"""What several commands take: their options, and how a command gets its values from variables."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

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

    def invoke(self, ctx: Any) -> Any:  # Typer's own context has no public type
        """Runs the command; `typed_command` has what it was asked for."""
        ctx.meta[_COMMAND] = ["gatebench", *sys.argv[1:], *_from_variables(ctx)]
        for command in ctx.find_root().command.commands.values():
            for parameter in command.params:
                if parameter.envvar:
                    os.environ.pop(parameter.envvar, None)
        return super().invoke(ctx)


_COMMAND = "gatebench.command"


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
