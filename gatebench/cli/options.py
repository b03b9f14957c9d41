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
CONTAINERS, OUTPUT = "Containers", "Output"

ServerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--servers",
        metavar="NAMES",
        envvar="GATEBENCH_SERVERS",
        rich_help_panel=SELECTION,
        help="Select servers, subjects or globs: 'gunicorn-* uvicorn'. Default: all.",
    ),
]
AppNames = Annotated[
    list[str] | None,
    typer.Option(
        "--apps",
        metavar="NAMES",
        envvar="GATEBENCH_APPS",
        rich_help_panel=SELECTION,
        help="Select applications or globs, each for every server. Default: plain.",
    ),
]
WorkloadNames = Annotated[
    list[str] | None,
    typer.Option(
        "--workloads",
        metavar="NAMES",
        envvar="GATEBENCH_WORKLOADS",
        rich_help_panel=SELECTION,
        help="Select workloads or globs. Default: those of the profile.",
    ),
]
ServersDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--servers-dir",
        parser=Path,  # without it a variable would be split at colons, like PATH
        metavar="FOLDER",
        envvar="GATEBENCH_SERVERS_DIR",
        rich_help_panel=SELECTION,
        help="Add a folder with server folders of your own; repeatable.",
    ),
]
AppsDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--apps-dir",
        parser=Path,
        metavar="FOLDER",
        envvar="GATEBENCH_APPS_DIR",
        rich_help_panel=SELECTION,
        help="Add a folder with application folders of your own; repeatable.",
    ),
]
WorkloadsDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--workloads-dir",
        parser=Path,
        metavar="FOLDER",
        envvar="GATEBENCH_WORKLOADS_DIR",
        rich_help_panel=SELECTION,
        help="Add a folder with workload folders of your own; repeatable.",
    ),
]
RunnerName = Annotated[
    str,
    typer.Option(
        "--runner",
        metavar="NAME",
        envvar="GATEBENCH_RUNNER",
        rich_help_panel=SERVERS,
        help="Start servers with docker or process; auto uses containers where an engine answers.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        envvar="GATEBENCH_WORKERS",
        rich_help_panel=SERVERS,
        help="Set the worker processes of every server. Default: one per server core.",
    ),
]
Engines = Annotated[
    int | None,
    typer.Option(
        "--engines",
        envvar="GATEBENCH_ENGINES",
        rich_help_panel=LOAD,
        help="Set the number of load engine processes, one core each. Default: 2 where cores are free.",
    ),
]
LoadBind = Annotated[
    str,
    typer.Option(
        "--load-bind",
        metavar="ADDRESS",
        envvar="GATEBENCH_LOAD_BIND",
        rich_help_panel=LOAD,
        help="Listen at this address for Locust workers on other machines.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        envvar="GATEBENCH_BUDGET",
        rich_help_panel=PLAN,
        help="Limit the wall time after set-up, such as 90s or 10m.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        envvar="GATEBENCH_OUT",
        rich_help_panel=OUTPUT,
        help="Write results to this folder, which must be empty or new.",
    ),
]
Claims = Annotated[
    list[Path] | None,
    typer.Option(
        "--claims",
        parser=Path,
        metavar="FILE",
        envvar="GATEBENCH_CLAIMS",
        rich_help_panel=OUTPUT,
        help="Check the claims in this file too; repeatable.",
    ),
]
RunFolder = Annotated[Path, typer.Argument(envvar="GATEBENCH_RUN", help="Results folder of the run.")]
SubjectName = Annotated[
    str, typer.Argument(envvar="GATEBENCH_SERVER", help="Subject, such as uvicorn or uvicorn+bare.")
]
Port = Annotated[
    int,
    typer.Option(
        "--port",
        envvar="GATEBENCH_PORT",
        min=1,
        max=65535,
        help="Serve the subject at this port of 127.0.0.1.",
    ),
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
