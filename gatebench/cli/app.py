"""The `gatebench` command: every subcommand with its options.

Each imports what it needs when it is called, so that `--help` and a mistyped option are answered at once.
"""

from __future__ import annotations

import platform
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from gatebench import __version__
from gatebench.cli.options import (
    CONTAINERS,
    LOAD,
    OPTIONS,
    PLAN,
    SERVERS,
    AppNames,
    AppsDirs,
    Budget,
    Claims,
    Command,
    Engines,
    LoadBind,
    Out,
    OwnApps,
    OwnDir,
    OwnPaths,
    OwnRequirements,
    OwnVariables,
    Port,
    Precise,
    RunnerName,
    ServerNames,
    ServersDirs,
    Strict,
    SubjectName,
    Varies,
    Workers,
    WorkloadNames,
    WorkloadsDirs,
    argument,
    as_typed,
    option,
    typed_command,
)
from gatebench.cli.runs import results_app
from gatebench.words.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ConfigurationError,
    GatebenchError,
)
from gatebench.words.paths import CACHE, HOST, RESULTS, ROOT
from gatebench.words.text import counted, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatebench.words.model import Subject

WIDE = 130
"""Columns that wide tables need; on a narrower terminal their lines wrap instead of names being cut."""
MEASURE, SUBJECTS = "Measure", "Servers and applications"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command(cls=Command, rich_help_panel=MEASURE)
def run(  # noqa: PLR0913, PLR0917 - a command's options are its parameters
    ctx: typer.Context,
    servers: ServerNames = None,
    apps: AppNames = None,
    workloads: WorkloadNames = None,
    servers_dir: ServersDirs = None,
    apps_dir: AppsDirs = None,
    workloads_dir: WorkloadsDirs = None,
    own_apps: OwnApps = None,
    own_dir: OwnDir = None,
    requirements: OwnRequirements = None,
    paths: OwnPaths = None,
    varies: Varies = None,
    own_variables: OwnVariables = None,
    profile: Annotated[str, option("--profile", PLAN, "Choose smoke, standard or full.")] = "standard",
    budget: Budget = None,
    precision: Precise = None,
    seed: Annotated[int | None, option("--seed", PLAN, "Repeat the order of another run's slices.")] = None,
    exclusive: Annotated[
        bool, option("--exclusive", PLAN, "Keep one server up at a time, instead of all.")
    ] = False,
    runner: RunnerName = "auto",
    server_cores: Annotated[int, option("--server-cores", SERVERS, "Set the cores of every server.")] = 1,
    workers: Workers = None,
    threads: Annotated[
        int | None,
        option("--threads", SERVERS, "Set the threads of servers that take a number of them. Default: 4."),
    ] = None,
    engines: Engines = None,
    load_workers: Annotated[
        int,
        option("--load-workers", LOAD, "Share the load among Locust workers; 0 for the load process alone."),
    ] = 0,
    load_bind: LoadBind = "",
    locust_option: Annotated[
        list[str] | None,
        option(
            "--locust-option", LOAD, "Set NAME=VALUE, an option of the workloads' Locust files; repeatable."
        ),
    ] = None,
    network: Annotated[
        str, option("--network", CONTAINERS, "Connect containers by host, bridge (one for all) or auto.")
    ] = "auto",
    server_host: Annotated[
        str,
        option(
            "--server-host", CONTAINERS, "Serve at this address where the load comes from other machines."
        ),
    ] = HOST,
    out: Out = None,
    claims: Claims = None,
    strict: Strict = False,
) -> None:
    """Measure subjects under workloads and write a results folder."""
    from gatebench.cli import run as running
    from gatebench.cli.importing import ContainerImporter, ProcessImporter
    from gatebench.cli.own_application import asked_for, choose_own_runner, folders_of, within_budget
    from gatebench.cli.precision import choose_precision, tell_of_blocks
    from gatebench.load.locust_options import with_locust_options
    from gatebench.machine.processes import interrupt_once
    from gatebench.registry.registry import open_registry, select_subjects
    from gatebench.results.record import new_run_id
    from gatebench.run.run import new_seed
    from gatebench.words.options import RunRequest, choose_server_options

    console = Console()
    interrupt_once()
    own = asked_for(own_apps or (), own_dir, requirements, paths or (), varies or (), own_variables or ())
    chosen_runner, own_workloads = None, False
    if own is not None:
        chosen_runner = choose_own_runner(runner, apps or ())
        engine, say = chosen_runner.engine, partial(_tell, console)
        importer = ProcessImporter(say) if engine is None else ContainerImporter(engine, say)
        made = ctx.with_resource(folders_of(own, importer))
        _tell(console, *made.told)
        apps_dir, apps = [*(apps_dir or ()), made.apps_dir], [made.application]
        workloads_dir = [*(workloads_dir or ()), made.workloads_dir]
        own_workloads = not workloads
        workloads = workloads or list(made.workloads)
    registry = open_registry(servers_dir or (), apps_dir or (), workloads_dir or ())
    choice, chosen_profile, chosen, chosen_workloads, load, containers, options, claim_files = running.all_of(
        lambda: chosen_runner or running.choose_runner(runner),
        lambda: running.choose_profile(profile, budget, precision),
        lambda: select_subjects(registry, running.words(servers, "--servers"), running.words(apps, "--apps")),
        lambda: running.choose_workloads(registry, running.words(workloads, "--workloads"), profile),
        lambda: running.choose_load(engines, load_workers, load_bind),
        lambda: running.choose_containers(network, server_host),
        lambda: choose_server_options(server_cores, workers, threads),
        lambda: running.choose_claims(claims or (), registry),
    )
    if not workloads:  # a profile's own that need a database take part where an application has one
        chosen_workloads = tuple(
            workload
            for workload in chosen_workloads
            if any(workload.requires <= subject.application.requires for subject in chosen.subjects)
        )
    notes = [*chosen.left_out, *filter(None, [tell_of_blocks(chosen_profile)])]
    if own_workloads:
        chosen_workloads, left_out = within_budget(
            chosen.subjects, chosen_workloads, chosen_profile, options.workers
        )
        notes += filter(None, [left_out])
        workloads = [each.name for each in chosen_workloads]
    running.backend_maker(choice, load, containers, chosen_workloads, options)  # refuses what no machine has
    references = running.hold_together(
        registry, chosen.subjects, chosen_workloads, running.words(workloads, "--workloads"), options.workers
    )
    asked = choose_precision(
        precision, [each.id for each in chosen.subjects], [each.name for each in chosen_workloads]
    )
    chosen_workloads = with_locust_options(chosen_workloads, locust_option or (), load.workers)
    request = RunRequest(
        subjects=chosen.subjects,
        workloads=chosen_workloads,
        profile=chosen_profile,
        seed=new_seed() if seed is None else seed,
        out=out if out is not None else RESULTS / new_run_id(),
        exclusive=exclusive,
        command=typed_command(ctx),
        runner_reason=choice.reason,
        references=references,
        load=load,
        servers=options,
        claims=claim_files,
        precision=asked,
    )
    _tell(console, *map(as_typed, notes))
    outcome = running.measure(request, choice, containers, console)
    raise typer.Exit(running.conclude(outcome, console, strict=strict))


@app.command(cls=Command, rich_help_panel=MEASURE)
def calibrate(engines: Engines = None, runner: RunnerName = "process") -> None:
    """Measure what the load engine can do on these cores, against a responder that only answers."""
    from gatebench.cli.run import ContainerOptions, backend_maker, choose_runner
    from gatebench.cli.subjects import calibrate_command, command_backend
    from gatebench.machine.processes import interrupt_once
    from gatebench.words.options import LoadOptions

    choice = choose_runner(runner)
    interrupt_once()
    console = Console(width=max(WIDE, Console().width))
    make = backend_maker(choice, LoadOptions(engines), ContainerOptions())
    with command_backend(make, console, choice) as (backend, scratch):
        backend.prepare(())
        calibrate_command(backend, scratch, console)


app.add_typer(results_app)


@app.command("list", cls=Command, rich_help_panel=SUBJECTS)
def list_everything(
    servers_dir: ServersDirs = None, apps_dir: AppsDirs = None, workloads_dir: WorkloadsDirs = None
) -> None:
    """List subjects, applications, workloads and profiles."""
    from gatebench.cli.subjects import list_registry
    from gatebench.registry.registry import open_registry

    registry = open_registry(servers_dir or (), apps_dir or (), workloads_dir or ())
    list_registry(registry, Console(width=max(WIDE, Console().width)))


@app.command(cls=Command, rich_help_panel=SUBJECTS)
def verify(
    servers: ServerNames = None,
    apps: AppNames = None,
    servers_dir: ServersDirs = None,
    apps_dir: AppsDirs = None,
    runner: RunnerName = "auto",
    workers: Workers = None,
) -> None:
    """Start each subject and check it against the whole contract."""
    from gatebench.cli.run import ContainerOptions, backend_maker, choose_runner, words
    from gatebench.cli.subjects import check_subjects, command_backend
    from gatebench.machine.processes import interrupt_once
    from gatebench.registry.registry import open_registry, select_subjects
    from gatebench.words.options import LoadOptions, choose_server_options

    registry = open_registry(servers_dir or (), apps_dir or ())
    options = choose_server_options(workers=workers)
    # Nobody's figures wait for this one: it checks every variant, also those that a run leaves to be named.
    chosen = select_subjects(registry, words(servers, "--servers") or ("*",), words(apps, "--apps"))
    choice = choose_runner(runner)
    interrupt_once()
    console = Console()
    _tell(console, *chosen.left_out)
    make = backend_maker(choice, LoadOptions(), ContainerOptions(), servers=options, measures=False)
    with command_backend(make, console, choice) as (backend, scratch):
        all_hold = check_subjects(chosen.subjects, backend, scratch, console, named=bool(servers))
    raise typer.Exit(EXIT_DONE if all_hold else EXIT_FAILED)


@app.command(cls=Command, rich_help_panel=SUBJECTS)
def serve(
    subject: SubjectName,
    port: Port = 8000,
    servers_dir: ServersDirs = None,
    apps: AppNames = None,
    apps_dir: AppsDirs = None,
) -> None:
    """Run one subject in the foreground, as a run would start it."""
    from gatebench.cli.subjects import serve_subject
    from gatebench.machine.cores import cores_to_try
    from gatebench.machine.processes import interrupt_once

    chosen = _only(subject, servers_dir or (), apps, apps_dir or ())
    interrupt_once()
    serve_subject(chosen, port=port, cores=cores_to_try(), cache=CACHE, console=Console())


@app.command(cls=Command, rich_help_panel=SUBJECTS)
def ui(
    subject: SubjectName,
    port: Port = 8000,
    web_port: Annotated[
        int, typer.Option(help="Serve Locust's web UI at this port.", min=1, max=65535)
    ] = 8089,
    servers_dir: ServersDirs = None,
    apps: AppNames = None,
    apps_dir: AppsDirs = None,
) -> None:
    """Run one subject with Locust's web UI in front of it."""
    from gatebench.cli.subjects import locust_ui
    from gatebench.machine.cores import cores_to_try
    from gatebench.machine.processes import interrupt_once

    chosen = _only(subject, servers_dir or (), apps, apps_dir or ())
    interrupt_once()
    locust_ui(chosen, port=port, web_port=web_port, cores=cores_to_try(), cache=CACHE, console=Console())


@app.command("explain", cls=Command, rich_help_panel=SUBJECTS)
def explain_request(
    interface: Annotated[str, argument("INTERFACE", "wsgi or asgi.")] = "wsgi",
    subject: Annotated[
        str | None, argument("SERVER", "Subject of that interface. Default: gunicorn-sync or uvicorn.")
    ] = None,
    path: Annotated[
        str,
        option("--path", OPTIONS, "Request this route of the contract, such as /ws/echo.", variable="ROUTE"),
    ] = "/plaintext",
    as_json: Annotated[bool, typer.Option("--json", help="Print the raw trace.")] = False,
    servers_dir: ServersDirs = None,
) -> None:
    """Show one live request step by step, between client, server and application."""
    from gatebench.explain.command import choose, explain
    from gatebench.machine.cores import cores_to_try
    from gatebench.machine.processes import interrupt_once
    from gatebench.registry.registry import open_registry

    choice = choose(open_registry(servers_dir or ()), interface, subject, path)
    interrupt_once()
    explain(choice, cores=cores_to_try(), cache=CACHE, console=Console(), as_json=as_json)


@app.command("new-server", cls=Command, rich_help_panel=SUBJECTS)
def new_server(
    name: Annotated[str, typer.Argument(help="Name of the folder: lower-case letters, digits and _.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(help="Command after --, with {port}, {host}, and {app} or {app_file}; no shell."),
    ] = None,
    interface: Annotated[
        str, option("--interface", OPTIONS, "Set the interface: wsgi or asgi. Required.")
    ] = "",
    homepage: Annotated[
        str, option("--homepage", OPTIONS, "Set the address of the server's site. Required.")
    ] = "",
    package: Annotated[
        list[str] | None, option("--package", OPTIONS, "Install this package; repeatable. Default: the name.")
    ] = None,
    supports: Annotated[
        list[str] | None,
        option(
            "--supports",
            OPTIONS,
            "Declare what the server can do. Default: close keep-alive; for asgi websocket too.",
        ),
    ] = None,
    directory: Annotated[
        Path, option("--dir", OPTIONS, "Make the folder in this one.", variable="SERVERS_DIR")
    ] = ROOT / "servers",
) -> None:
    """Make the folder of a new server, for `new-server NAME OPTIONS -- COMMAND`, and pin its packages."""
    from gatebench.cli.new_server import NewServer, create, next_steps
    from gatebench.cli.run import words
    from gatebench.machine.processes import interrupt_once

    interrupt_once()
    wanted = NewServer(
        name=name,
        interface=interface,
        command=tuple(command or ()),
        homepage=homepage,
        directory=directory,
        packages=tuple(package or ()),
        supports=words(supports) if supports else None,
    )
    _tell(Console(), *next_steps(create(wanted, ROOT), ROOT))


@app.command(cls=Command, rich_help_panel=SUBJECTS)
def compose() -> None:
    """Make docker-compose.yml again from the repository's server folders."""
    from gatebench.cli.compose import FILE, write

    changed = write(ROOT)
    _tell(Console(), f"{ROOT / FILE}: {'written' if changed else 'up to date'}")


def _print_version(asked: bool) -> None:
    if asked:
        _tell(Console(), f"gatebench {__version__}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def gatebench(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version, and Python's.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Compare Python's WSGI and ASGI servers, and publish no number that cannot be defended."""


def _only(
    name: str, servers_dirs: Sequence[Path], apps: Sequence[str] | None, apps_dirs: Sequence[Path]
) -> Subject:
    """The one subject of that name.

    Raises:
        ConfigurationError: there is none, or there are several.
    """
    from gatebench.cli.run import words
    from gatebench.registry.registry import open_registry, select_subjects

    found = select_subjects(open_registry(servers_dirs, apps_dirs), [name], words(apps, "--apps")).subjects
    if len(found) != 1:
        names = listed(each.id for each in found)
        raise ConfigurationError(f'"{name}" matches {len(found)} subjects; name one of {names}')
    return found[0]


def main() -> NoReturn:
    """Runs the command and ends with its exit status (0, 1, 2 or 130)."""
    try:
        app()
    except ConfigurationError as error:
        _say(f"{counted(len(error.problems), 'problem')} found; nothing was done:", *error.problems)
        sys.exit(EXIT_USAGE)
    except GatebenchError as error:
        _say(str(error))
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_DONE)


def _say(*lines: str) -> None:
    _tell(Console(stderr=True), *map(as_typed, lines))


def _tell(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
