"""From what was asked for to a finished run: what the servers run on, the measuring, the outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from gatebench.backend import Backend, Circumstances, ProcessBackend
from gatebench.cores import available_cores, cores_to_try, divide_evenly
from gatebench.earlier import Earlier
from gatebench.errors import ConfigurationError
from gatebench.model import Workload
from gatebench.outcome import Outcome, exit_status
from gatebench.progress import TerminalObserver
from gatebench.run import Run, choose_cores
from gatebench.selection import (
    ContainerOptions,
    LoadOptions,
    RunnerChoice,
    RunRequest,
    check_server_host,
    check_workers,
)
from gatebench.server_options import DEFAULT as DEFAULT_SERVERS
from gatebench.server_options import ServerOptions


def measure(
    request: RunRequest,
    choice: RunnerChoice,
    options: ContainerOptions,
    console: Console,
    *,
    earlier: Earlier | None = None,
) -> Outcome:
    """Runs what was asked for, with its progress on the console.

    Args:
        request: what.
        choice: what starts the servers.
        options: of their containers.
        console: to print on.
        earlier: what the run has measured before; None at its beginning.

    Raises:
        ConfigurationError: it cannot be run here; nothing was started.
        GatebenchError: it could not begin.
    """
    make = backend_maker(choice, request.load, options, request.workloads, request.servers)
    console.print(choice.reason, soft_wrap=True)
    share = 1.0 if earlier is None else len(earlier.turns) / request.profile.blocks
    with TerminalObserver(console, request.profile.budget_s * share) as observer:
        outcome = Run(
            request,
            make_backend=make,
            containers=choice.engine is not None,
            observer=observer,
            earlier=earlier,
        ).execute()
    if outcome.text:
        Console(stderr=True).print(outcome.text, style="bold", markup=False, soft_wrap=True)
    return outcome


def backend_maker(
    choice: RunnerChoice,
    load: LoadOptions,
    options: ContainerOptions,
    workloads: tuple[Workload, ...] = (),
    servers: ServerOptions = DEFAULT_SERVERS,
    *,
    measures: bool = True,
) -> Callable[[Circumstances], Backend]:
    """How to make what the servers run on, once it is known for whom.

    Args:
        choice: what starts the servers.
        load: where the load comes from.
        options: of containers.
        workloads: those that will be asked for.
        servers: what every server gets.
        measures: figures are taken, so that servers need cores of their own.

    Raises:
        ConfigurationError: there are too few cores, or workers elsewhere are to reach what they cannot.
    """
    engine, engines = choice.engine, load.engines
    cores = available_cores() if engine is None or engine.is_local else tuple(range(engine.cores))
    check_workers(load, len(cores))
    if engine is None:
        if options != ContainerOptions():
            raise ConfigurationError("--network and --server-host are for containers: --runner docker")
        divided = choose_cores(engines, servers.cores) if measures else cores_to_try()
        return lambda circumstances: ProcessBackend(divided, circumstances, servers=servers)
    # The SDK is slow to import; runs in processes do without.
    from gatebench.backend_docker import DockerBackend, Setting, choose_network  # noqa: PLC0415

    divide_evenly(cores, engines, {}, servers.cores)
    network = choose_network(engine) if options.network == "auto" else options.network
    check_server_host(options, load)
    if network == "bridge" and load.bind:
        raise ConfigurationError(
            "--load-bind: a bridge has no way in for workers elsewhere; use --network host"
        )
    setting = Setting(network, options.host, workloads, servers)
    return lambda circumstances: DockerBackend(engine, engines, setting, circumstances)


def conclude(outcome: Outcome, console: Console) -> int:
    """Prints the report of a run that has ended, where there is one.

    Returns:
        The exit status that the run calls for.
    """
    status = outcome.status
    if (outcome.folder / "summary.json").exists():
        print_report(outcome.folder, console)
        status = status or exit_status(outcome.folder)
    return status


def print_report(folder: Path, console: Console) -> None:
    """The standings of every level, and where the page is."""
    # pandas and scipy are heavy; only the commands that end with a report need them.
    from analysis.load import load_run  # noqa: PLC0415
    from analysis.summary import summarize  # noqa: PLC0415
    from analysis.tables import standings_table  # noqa: PLC0415

    run = load_run(folder)
    for level in summarize(run).levels:
        console.print(standings_table(level))
    ending = run.ending["outcome"] if run.ending else "it goes on, or was cut off"
    if ending != "complete":
        console.print(f"the run is not complete ({ending}): these figures rest on what was measured")
    page = folder / "report.html"
    console.print(f"report: {page}" if page.exists() else "the page could not be made", soft_wrap=True)
