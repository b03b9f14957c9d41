"""The `gatebench` command: one function a subcommand, each of which hands over to the module that does it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from gatebench.cli.compose import FILE as COMPOSE_FILE
from gatebench.cli.compose import write as write_compose_file
from gatebench.cli.new_server import NewServer, create, next_steps
from gatebench.cli.run import (
    ContainerOptions,
    all_of,
    backend_maker,
    choose_containers,
    choose_load,
    choose_profile,
    choose_runner,
    choose_workloads,
    conclude,
    hold_together,
    measure,
    words,
)
from gatebench.cli.runs import Claims, check_claims, results_app
from gatebench.cli.subjects import (
    calibrate_command,
    check_subjects,
    command_backend,
    locust_ui,
    serve_subject,
)
from gatebench.explain.command import DEFAULT_PATH, choose, explain
from gatebench.load.locust_options import with_locust_options
from gatebench.machine.cores import cores_to_try
from gatebench.machine.processes import interrupt_once
from gatebench.registry.registry import SERVERS, open_registry, select_subjects
from gatebench.results.record import new_run_id
from gatebench.run.run import new_seed
from gatebench.words.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ConfigurationError,
    GatebenchError,
)
from gatebench.words.model import Subject
from gatebench.words.options import LoadOptions, RunRequest, choose_server_options
from gatebench.words.paths import CACHE, HOST, RESULTS, ROOT
from gatebench.words.plan import PROFILES
from gatebench.words.text import listed

WIDE = 130
"""Columns that wide tables need; on a narrower terminal their lines wrap instead of names being cut."""

app = typer.Typer(
    help="Compares Python's WSGI and ASGI servers and publishes no number that it cannot defend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Servers = Annotated[
    list[str] | None, typer.Option("--servers", help="Subjects, servers or globs: 'gunicorn-* uvicorn'.")
]
Apps = Annotated[
    list[str] | None,
    typer.Option("--apps", help="Applications, or globs, each with each server. Default: plain."),
]
Workloads = Annotated[list[str] | None, typer.Option("--workloads", help="Workloads, or globs.")]
ServersDirs = Annotated[
    list[Path] | None,
    typer.Option("--servers-dir", help="A folder with server folders of your own; repeatable."),
]
AppsDirs = Annotated[
    list[Path] | None,
    typer.Option("--apps-dir", help="A folder with application folders of your own; repeatable."),
]
WorkloadsDirs = Annotated[
    list[Path] | None,
    typer.Option("--workloads-dir", help="A folder with workload folders of your own; repeatable."),
]
RunnerName = Annotated[
    str, typer.Option("--runner", help="auto, docker or process: what starts the servers.")
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Worker processes of every server. Default: as many as it has cores."),
]

app.add_typer(results_app)


@app.command("list")
def list_everything(
    servers_dir: ServersDirs = None, apps_dir: AppsDirs = None, workloads_dir: WorkloadsDirs = None
) -> None:
    """Lists subjects, applications, workloads and profiles."""
    registry = open_registry(servers_dir or (), apps_dir or (), workloads_dir or ())
    console = Console(width=max(WIDE, Console().width))
    table = Table(title="subjects", title_justify="left")
    for column in ("subject", "interface", "class", "supports", "homepage"):
        table.add_column(column, no_wrap=column == "subject")
    for subject in registry.subjects():
        variant = subject.variant
        kind = "tuned" if variant.tuned else "default"
        table.add_row(
            subject.id, variant.interface, kind, ", ".join(sorted(variant.supports)), subject.server.homepage
        )
    console.print(table)
    console.print("applications:", ", ".join(registry.applications))
    table = Table(title="workloads", title_justify="left")
    for column in ("workload", "transport", "levels", "slice", "description"):
        table.add_column(column, no_wrap=column == "workload")
    for workload in registry.workloads.values():
        levels = ", ".join(level.id for level in workload.levels)
        table.add_row(
            workload.name, workload.transport, levels, f"{workload.slice_s * 1000:g} ms", workload.description
        )
    console.print(table)
    for profile in PROFILES.values():
        console.print(f"profile {profile.name}: {profile.blocks} block(s), {profile.budget_s / 60:g} min")


@app.command()
def verify(
    servers: Servers = None,
    apps: Apps = None,
    servers_dir: ServersDirs = None,
    apps_dir: AppsDirs = None,
    runner: RunnerName = "auto",
    workers: Workers = None,
) -> None:
    """Starts each subject, holds it to the whole contract, and prints every difference at once."""
    registry = open_registry(servers_dir or (), apps_dir or ())
    options = choose_server_options(workers=workers)
    chosen = select_subjects(registry, words(servers), words(apps))
    choice = choose_runner(runner)
    interrupt_once()
    console = Console()
    _tell(console, *chosen.left_out)
    make = backend_maker(choice, LoadOptions(), ContainerOptions(), servers=options, measures=False)
    with command_backend(make, console, choice) as (backend, scratch):
        all_hold = check_subjects(chosen.subjects, backend, scratch, console, named=bool(servers))
    raise typer.Exit(EXIT_DONE if all_hold else EXIT_FAILED)


@app.command()
def run(  # noqa: PLR0913, PLR0917 - a command's options are its parameters
    profile: Annotated[str, typer.Option(help="smoke, standard or full.")] = "standard",
    runner: RunnerName = "auto",
    budget: Annotated[str | None, typer.Option(help="Wall time after set-up, such as 90s or 10m.")] = None,
    servers: Servers = None,
    apps: Apps = None,
    workloads: Workloads = None,
    seed: Annotated[int | None, typer.Option(help="Repeats a run's order of slices.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; it must be empty or new.")] = None,
    engines: Annotated[
        int | None, typer.Option(help="Load engine processes, a core each. Default: 2 where cores are free.")
    ] = None,
    load_workers: Annotated[
        int, typer.Option(help="Locust workers that load together; 0: the load process alone.")
    ] = 0,
    load_bind: Annotated[
        str,
        typer.Option(help="Address at which workers join that are started elsewhere."),
    ] = "",
    network: Annotated[
        str, typer.Option(help="Of containers: auto, host, or bridge (one that all of them share).")
    ] = "auto",
    server_host: Annotated[
        str, typer.Option(help="Address that containers listen at where workers are elsewhere.")
    ] = HOST,
    server_cores: Annotated[int, typer.Option(help="Cores of every server, the same for all.")] = 1,
    workers: Workers = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of servers that take a number of them. Default: 4.")
    ] = None,
    claims: Claims = None,
    locust_option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of an option that the workloads' Locust files define; repeatable."),
    ] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="One server up at a time, for those who doubt co-residency.")
    ] = False,
    servers_dir: ServersDirs = None,
    apps_dir: AppsDirs = None,
    workloads_dir: WorkloadsDirs = None,
) -> None:
    """Measures the chosen subjects under the chosen workloads and leaves a results folder."""
    registry = open_registry(servers_dir or (), apps_dir or (), workloads_dir or ())
    choice, chosen_profile, chosen, chosen_workloads, load, containers, options, claim_files = all_of(
        lambda: choose_runner(runner),
        lambda: choose_profile(profile, budget),
        lambda: select_subjects(registry, words(servers), words(apps)),
        lambda: choose_workloads(registry, words(workloads), profile),
        lambda: choose_load(engines, load_workers, load_bind),
        lambda: choose_containers(network, server_host),
        lambda: choose_server_options(server_cores, workers, threads),
        lambda: check_claims(claims or (), registry),
    )
    references = hold_together(registry, chosen.subjects, chosen_workloads, words(workloads), options.workers)
    chosen_workloads = with_locust_options(chosen_workloads, locust_option or ())
    request = RunRequest(
        subjects=chosen.subjects,
        workloads=chosen_workloads,
        profile=chosen_profile,
        seed=new_seed() if seed is None else seed,
        out=out if out is not None else RESULTS / new_run_id(),
        exclusive=exclusive,
        command=shlex.join(["gatebench", *sys.argv[1:]]),
        runner_reason=choice.reason,
        references=references,
        load=load,
        servers=options,
        claims=claim_files,
    )
    console = Console()
    interrupt_once()
    _tell(console, *chosen.left_out)
    raise typer.Exit(conclude(measure(request, choice, containers, console), console))


@app.command("new-server")
def new_server(
    name: Annotated[str, typer.Argument(help="Of the folder: lower-case letters, digits and _.")],
    command: Annotated[
        list[str] | None,
        typer.Argument(help="After --, with {port}, {host}, and {app} or {app_file}. No shell sees it."),
    ] = None,
    interface: Annotated[str, typer.Option(help="wsgi or asgi; always needed.")] = "",
    homepage: Annotated[str, typer.Option(help="Address of the server's site; always needed.")] = "",
    package: Annotated[
        list[str] | None, typer.Option(help="What to install; repeatable. Default: the name.")
    ] = None,
    supports: Annotated[
        list[str] | None, typer.Option(help="What it can do. Default: close keep-alive; asgi: websocket too.")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where the folder goes.")] = ROOT / SERVERS,
) -> None:
    """Makes the folder of a new server, for: new-server NAME OPTIONS -- COMMAND, and pins its packages."""
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
    for line in next_steps(create(wanted, ROOT), ROOT):
        Console().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def compose() -> None:
    """Makes docker-compose.yml anew from the repository's server folders."""
    changed = write_compose_file(ROOT)
    Console().print(f"{ROOT / COMPOSE_FILE}: {'made anew' if changed else 'is up to date'}", soft_wrap=True)


@app.command()
def calibrate(
    engines: Annotated[
        int | None, typer.Option(help="Load engine processes, a core each. Default: 2 where cores are free.")
    ] = None,
    runner: RunnerName = "process",
) -> None:
    """Measures what the load engine can do on these cores, against a responder that only answers."""
    choice = choose_runner(runner)
    interrupt_once()
    console = Console(width=max(WIDE, Console().width))
    with command_backend(
        backend_maker(choice, LoadOptions(engines), ContainerOptions()), console, choice
    ) as (
        backend,
        scratch,
    ):
        backend.prepare(())
        calibrate_command(backend, scratch, console)


@app.command()
def serve(
    subject: Annotated[str, typer.Argument(help="A subject, such as uvicorn or uvicorn+bare.")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 8000,
    servers_dir: ServersDirs = None,
    apps: Apps = None,
    apps_dir: AppsDirs = None,
) -> None:
    """Runs one subject in the foreground, as a run would start it, for a person to try."""
    registry = open_registry(servers_dir or (), apps_dir or ())
    chosen = _only(select_subjects(registry, [subject], words(apps)).subjects, subject)
    interrupt_once()
    serve_subject(chosen, port=port, cores=cores_to_try(), cache=CACHE, console=Console())


@app.command("explain")
def explain_request(
    interface: Annotated[str, typer.Argument(help="wsgi or asgi.")],
    subject: Annotated[
        str | None, typer.Argument(help="A subject of it. Default: gunicorn-sync, uvicorn.")
    ] = None,
    path: Annotated[str, typer.Option(help="A route of the contract, such as /ws/echo.")] = DEFAULT_PATH,
    as_json: Annotated[bool, typer.Option("--json", help="The raw trace.")] = False,
    servers_dir: ServersDirs = None,
) -> None:
    """Shows, for one live request, what happens between client, server and application."""
    choice = choose(open_registry(servers_dir or ()), interface, subject, path)
    interrupt_once()
    explain(choice, cores=cores_to_try(), cache=CACHE, console=Console(), as_json=as_json)


@app.command()
def ui(
    subject: Annotated[str, typer.Argument(help="A subject, such as uvicorn or uvicorn+bare.")],
    port: Annotated[int, typer.Option(help="Port of the subject on 127.0.0.1.", min=1, max=65535)] = 8000,
    web_port: Annotated[int, typer.Option(help="Port of Locust's web UI.", min=1, max=65535)] = 8089,
    servers_dir: ServersDirs = None,
    apps: Apps = None,
    apps_dir: AppsDirs = None,
) -> None:
    """Runs one subject with Locust's web UI in front of it."""
    registry = open_registry(servers_dir or (), apps_dir or ())
    chosen = _only(select_subjects(registry, [subject], words(apps)).subjects, subject)
    interrupt_once()
    locust_ui(chosen, port=port, web_port=web_port, cores=cores_to_try(), cache=CACHE, console=Console())


def _only(found: tuple[Subject, ...], name: str) -> Subject:
    if len(found) != 1:
        names = listed(each.id for each in found)
        raise ConfigurationError(f'"{name}" names {len(found)} subjects; name one of {names}')
    return found[0]


def main() -> NoReturn:
    """Runs the command and ends with its exit status (0, 1, 2 or 130)."""
    try:
        app()
    except ConfigurationError as error:
        _say(f"{len(error.problems)} problem(s); nothing was done:", *error.problems)
        sys.exit(EXIT_USAGE)
    except GatebenchError as error:
        _say(str(error))
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_DONE)


def _say(*lines: str) -> None:
    _tell(Console(stderr=True), *lines)


def _tell(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
