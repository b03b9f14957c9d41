"""Commands about runs that exist: report, compare, bundle, resume, reproduce.

pandas and scipy take a second to import; each command imports what it needs when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gatebench.cli.run import choose_runner, conclude, print_report
from gatebench.machine.processes import interrupt_once
from gatebench.registry.registry import Registry
from gatebench.results.bundle import SUFFIX, bundle
from gatebench.results.record import new_run_id
from gatebench.words.errors import EXIT_FAILED, ConfigurationError
from gatebench.words.paths import RESULTS

results_app = typer.Typer()

Claims = Annotated[
    list[Path] | None, typer.Option("--claims", help="A file with claims of your own; repeatable.")
]


def check_claims(paths: Sequence[Path], registry: Registry) -> tuple[Path, ...]:
    """Claims files of a user, each of which can be used.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    if paths:
        # numpy and scipy are heavy, and most runs have no claims but the project's.
        from analysis.claims.file import Known, load_claims  # noqa: PLC0415

        load_claims(paths, Known.of_registry(registry))
    return tuple(path.resolve() for path in paths)


@results_app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = RESULTS / "latest",
    claims: Claims = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Prints no tables.")] = False,
    interim: Annotated[
        bool, typer.Option("--interim", help="Only the leading charts, as a run makes it between blocks.")
    ] = False,
    all_charts: Annotated[
        bool, typer.Option("--all-charts", help="Every chart of a large run, which may take minutes.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=0, help="At most so many, which take memory. 0: as many as cores.")
    ] = 0,
) -> None:
    """Makes summary, charts and page of a run again from its raw data."""
    # matplotlib and pandas are heavy; only this command needs them.
    from analysis.load.tables import at_most  # noqa: PLC0415
    from analysis.page.report import build_report  # noqa: PLC0415

    with at_most(processes):
        build_report(folder.resolve(), claims or (), interim=interim, every_chart=all_charts)
    if not quiet:
        print_report(folder, Console())


@results_app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Results folder or bundle to hold the other against.")],
    b: Annotated[Path, typer.Argument(help="The other results folder or bundle.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Also as JSON, to this file.")] = None,
    charts: Annotated[Path | None, typer.Option("--charts", help="Folder for charts.")] = None,
) -> None:
    """Compares two runs; exit status 1 where a regression beyond the noise was found."""
    # matplotlib and pandas are heavy; only this command needs them.
    from analysis.compare.show import compare_command  # noqa: PLC0415

    raise typer.Exit(compare_command(a, b, Console(), json_file, charts))


@results_app.command("bundle")
def bundle_run(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = RESULTS / "latest",
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: beside the run.")] = None,
) -> None:
    """Packs a run into one small file to give away, without what is private to the machine."""
    # pandas is heavy; only this command needs it.

    run = folder.resolve()
    from analysis.load.run import load_run  # noqa: PLC0415

    load_run(run)  # who gets it should not be the first to find that it is damaged
    file = bundle(run, out if out is not None else run.with_name(run.name + SUFFIX))
    Console().print(f"{file} ({file.stat().st_size / 2**20:.1f} MiB)", soft_wrap=True)


@results_app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="The results folder of a run that ended early.")] = RESULTS
    / "latest",
    load_bind: Annotated[
        str,
        typer.Option(help="Address at which workers join that are elsewhere, where the run had such."),
    ] = "",
) -> None:
    """Goes on with a run that ended early, with the blocks that it lacks and under the same conditions."""
    from gatebench.cli.repeat import open_begun, resume_run  # noqa: PLC0415

    folder = folder.resolve()
    console = Console()
    begun = open_begun(folder)
    if begun is None:
        console.print(f"{folder} has all of its blocks; there is nothing to go on with", soft_wrap=True)
        if not (folder / "report.html").exists():  # the disk may have been full by then
            console.print(f"its page is missing; `gatebench report {folder}` makes it", soft_wrap=True)
            raise typer.Exit(EXIT_FAILED)
        return
    choice = choose_runner(begun.runner)
    interrupt_once()
    raise typer.Exit(conclude(resume_run(begun, choice, load_bind, console), console))


@results_app.command()
def reproduce(
    source: Annotated[Path, typer.Argument(help="A results folder or a bundle.")],
    runner: Annotated[
        str, typer.Option("--runner", help="auto, docker or process. Default: as the run had it.")
    ] = "",
    budget: Annotated[str | None, typer.Option(help="Another wall time than the run's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; it must be empty or new.")] = None,
) -> None:
    """Runs the plan of another run again, and tells claim by claim and pair by pair what holds here."""
    from gatebench.cli.repeat import reproduce_run, was_run_by  # noqa: PLC0415

    if not source.exists():
        raise ConfigurationError(f"{source}: there is no such results folder or bundle")
    choice = choose_runner(runner or was_run_by(source))
    interrupt_once()
    target = out if out is not None else RESULTS / new_run_id()
    raise typer.Exit(reproduce_run(source, choice, budget, target, Console()))
