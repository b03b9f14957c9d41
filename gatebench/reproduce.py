"""`gatebench reproduce`: runs the plan of another run again, and tells what of its result holds here."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.claims import check
from analysis.claims_file import load_claims
from analysis.comparing.compare import Side, compare_runs
from analysis.comparing.order import order_tables
from analysis.comparing.result import RunComparison
from analysis.comparing.tables import comparison_tables
from analysis.load import Run, load_run
from analysis.summary import summarize
from gatebench.bundle import unpacked
from gatebench.errors import GatebenchError
from gatebench.outcome import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from gatebench.running import measure, print_report
from gatebench.selection import RunnerChoice
from gatebench.sources import FOLDER, claims_of
from gatebench.what_was_run import containers_of, request_of


def was_run_by(source: Path) -> str:
    """The name of the runner that a run had.

    Raises:
        GatebenchError: there is no run at `source`.
    """
    with unpacked(source) as folder:
        return load_run(folder).meta.runner


def reproduce_run(source: Path, choice: RunnerChoice, budget: str | None, out: Path, console: Console) -> int:
    """Measures what the run at `source` measured, and prints what held, flipped and cannot be told.

    Args:
        source: a results folder or a bundle.
        choice: what starts the servers.
        budget: another wall time than the run's.
        out: folder for the results.
        console: to print on.

    Returns:
        0 where nothing flipped, else 1.

    Raises:
        ConfigurationError: it cannot be repeated; nothing was started.
        GatebenchError: the run is damaged, or could not be repeated to the end.
    """
    with unpacked(source) as folder:
        original = load_run(folder)
        request = request_of(original.meta, folder, choice, budget, out)
        outcome = measure(request, choice, containers_of(original.meta, choice), console)
        if outcome.status == EXIT_INTERRUPTED or not (outcome.folder / "summary.json").exists():
            return outcome.status or EXIT_FAILED
        print_report(outcome.folder, console)
        here = load_run(outcome.folder)
        return tell(original, here, claims_of(folder / FOLDER), console)


def tell(original: Run, here: Run, claims: tuple[Path, ...], console: Console) -> int:
    """Prints comparison by comparison and claim by claim what held, what flipped and what cannot be told.

    Args:
        original: the given run.
        here: the same plan on this machine.
        claims: files with claims of a user's own.
        console: to print on.

    Returns:
        0 where nothing flipped, else 1.

    Raises:
        GatebenchError: nothing of the two runs can be compared.
    """
    a, b = Side(original, summarize(original)), Side(here, summarize(here))
    result = compare_runs(a, b)
    console.print(comparison_tables(result))
    console.print(order_tables(result))
    table, flipped = claims_table(a, b, claims)
    console.print(table)
    console.print(_conclusion(result, flipped), soft_wrap=True)
    return EXIT_FAILED if flipped or result.with_outcome("flipped") else EXIT_DONE


def claims_table(a: Side, b: Side, files: tuple[Path, ...]) -> tuple[Table, int]:
    """Each claim with its verdict there and here, and how many of them flipped."""
    table = Table(title="Claims", title_justify="left", box=None, pad_edge=False)
    for column in ("claim", "there", "here", ""):
        table.add_column(column, overflow="fold")
    claims = load_claims(kept=files)
    flipped = 0
    for there, here in zip(check(claims, a.meta, a.summary), check(claims, b.meta, b.summary), strict=True):
        told = "undecided" not in {there.verdict, here.verdict}
        outcome = "cannot be told" if not told else "held" if there.verdict == here.verdict else "FLIPPED"
        flipped += outcome == "FLIPPED"
        table.add_row(escape(there.text), there.verdict, here.verdict, outcome)
    return table, flipped


def _conclusion(result: RunComparison, flipped_claims: int) -> str:
    counts = {name: len(result.with_outcome(name)) for name in ("held", "flipped", "cannot be told")}
    if not result.says_something:
        raise GatebenchError("nothing of the two runs can be compared; the reasons are listed above")
    return (
        f"of {sum(counts.values())} comparisons between subjects {counts['held']} held, {counts['flipped']} "
        f"flipped, and {counts['cannot be told']} cannot be told here; {flipped_claims} claim(s) flipped"
    )
