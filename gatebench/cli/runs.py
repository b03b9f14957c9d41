"""Commands about runs that exist: report, compare, bundle, resume, reproduce.

Each imports what it needs when it is called; pandas and scipy alone take a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gatebench.cli.options import (
    OUTPUT,
    SERVERS,
    Budget,
    Claims,
    Command,
    LoadBind,
    Out,
    Precise,
    RunFolder,
    Strict,
    argument,
    option,
    typed_command,
)
from gatebench.words.errors import EXIT_FAILED, ConfigurationError
from gatebench.words.paths import RESULTS

results_app = typer.Typer()
RUNS = "Runs"


@results_app.command(cls=Command, rich_help_panel=RUNS)
def report(
    folder: RunFolder = RESULTS / "latest",
    claims: Claims = None,
    quiet: Annotated[bool, typer.Option("--quiet", rich_help_panel=OUTPUT, help="Print no tables.")] = False,
    interim: Annotated[
        bool,
        typer.Option(
            "--interim", rich_help_panel=OUTPUT, help="Draw only the leading charts, as between blocks."
        ),
    ] = False,
    figures: Annotated[
        bool,
        typer.Option("--figures", rich_help_panel=OUTPUT, help="Make only summary.json: no chart, no page."),
    ] = False,
    all_charts: Annotated[
        bool,
        typer.Option(
            "--all-charts",
            rich_help_panel=OUTPUT,
            help="Draw every chart of a large run, which may take minutes.",
        ),
    ] = False,
    processes: Annotated[
        int, typer.Option(min=0, help="Use at most this many processes; 0 for one per core.")
    ] = 0,
) -> None:
    """Make summary, charts and page of a run again from its raw data."""
    from analysis.reading.tables import at_most
    from gatebench.cli.run import print_report

    with at_most(processes):
        if figures:  # without the chart library, whose import alone takes a second
            from analysis.page.summary import write_summary

            write_summary(folder.resolve(), claims or ())
        else:
            from analysis.page.report import build_report

            build_report(folder.resolve(), claims or (), interim=interim, every_chart=all_charts)
    if not quiet:
        print_report(folder, Console())


@results_app.command(cls=Command, rich_help_panel=RUNS)
def compare(
    a: Annotated[Path, argument("A", "Results folder or bundle to compare with.")],
    b: Annotated[Path, argument("B", "The other results folder or bundle.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", rich_help_panel=OUTPUT, help="Write the comparison as JSON too.")
    ] = None,
    charts: Annotated[
        Path | None, typer.Option("--charts", rich_help_panel=OUTPUT, help="Draw charts into this folder.")
    ] = None,
) -> None:
    """Compare two runs; the exit status is 1 where a regression beyond the noise was found."""
    from analysis.compare.show import compare_command

    raise typer.Exit(compare_command(a, b, Console(), json_file, charts))


@results_app.command("bundle", cls=Command, rich_help_panel=RUNS)
def bundle_run(
    folder: RunFolder = RESULTS / "latest",
    out: Annotated[Path | None, option("--out", OUTPUT, "Write this file. Default: beside the run.")] = None,
) -> None:
    """Pack a run into one small file to share, without what is private to the machine."""
    from analysis.reading.run import load_run
    from gatebench.results.bundle import SUFFIX, bundle

    run = folder.resolve()
    load_run(run)  # who gets it should not be the first to find that it is damaged
    file = bundle(run, out if out is not None else run.with_name(run.name + SUFFIX))
    Console().print(f"{file} ({file.stat().st_size / 2**20:.1f} MiB)", soft_wrap=True)


@results_app.command(cls=Command, rich_help_panel=RUNS)
def resume(
    ctx: typer.Context,
    folder: RunFolder = RESULTS / "latest",
    load_bind: LoadBind = "",
    precision: Precise = None,
    strict: Strict = False,
) -> None:
    """Resume a run that ended early: measure the missing blocks under the same conditions."""
    from gatebench.cli.resume import open_begun, resume_run
    from gatebench.cli.run import choose_runner, conclude
    from gatebench.machine.processes import interrupt_once

    folder = folder.resolve()
    console = Console()
    begun = open_begun(folder, precision)
    if isinstance(begun, str):
        console.print(f"{folder} {begun}", soft_wrap=True)
        if not (folder / "report.html").exists():  # the disk may have been full by then
            console.print(f"its page is missing; `gatebench report {folder}` makes it", soft_wrap=True)
            raise typer.Exit(EXIT_FAILED)
        return
    choice = choose_runner(begun.runner)
    interrupt_once()
    outcome = resume_run(begun, choice, load_bind, console, command=typed_command(ctx))
    raise typer.Exit(conclude(outcome, console, strict=strict))


@results_app.command(cls=Command, rich_help_panel=RUNS)
def reproduce(
    ctx: typer.Context,
    source: Annotated[Path, argument("RUN", "Results folder or bundle of the run.")],
    runner: Annotated[
        str,
        option("--runner", SERVERS, "Start servers with auto, docker or process. Default: as in that run."),
    ] = "",
    budget: Budget = None,
    out: Out = None,
) -> None:
    """Measure another run's plan again, and report claim by claim and pair by pair what holds here."""
    from gatebench.cli.resume import reproduce_run, was_run_by
    from gatebench.cli.run import choose_runner
    from gatebench.machine.processes import interrupt_once
    from gatebench.results.record import new_run_id

    if not source.exists():
        raise ConfigurationError(f"{source}: there is no such results folder or bundle")
    choice = choose_runner(runner or was_run_by(source))
    interrupt_once()
    target = out if out is not None else RESULTS / new_run_id()
    console = Console()
    raise typer.Exit(reproduce_run(source, choice, budget, target, console, command=typed_command(ctx)))
