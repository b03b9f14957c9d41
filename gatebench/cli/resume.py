"""Resumes a run that ended early, or measures a run again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.claims.check import check
from analysis.claims.file import load_claims
from analysis.compare.compare import Side, compare_runs
from analysis.compare.result import RunComparison
from analysis.compare.show import comparison_tables, order_tables
from analysis.figures.cells import of_level, whole_blocks
from analysis.figures.summary import summarize
from analysis.reading.run import Run, load_run
from gatebench.cli.precision import choose_precision
from gatebench.cli.run import (
    ContainerOptions,
    RunnerChoice,
    choose_profile,
    conclude,
    find_references,
    measure,
)
from gatebench.results.answers import compared, kept_answers
from gatebench.results.bundle import FOLDER, claims_of, kept_registry, unpacked
from gatebench.results.earlier import Earlier
from gatebench.results.schema import SCHEMA, RunMeta
from gatebench.run.looks import has_met
from gatebench.words.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    ConfigurationError,
    GatebenchError,
    Outcome,
)
from gatebench.words.options import LoadOptions, RunRequest, ServerOptions
from gatebench.words.plan import remaining_turns
from gatebench.words.precision import Precision
from gatebench.words.text import counted


def request_of(
    meta: RunMeta, folder: Path, choice: RunnerChoice, budget: str | None, out: Path, command: str
) -> RunRequest:
    """The plan of a run as a request, from the folders that it kept.

    Raises:
        ConfigurationError: a part of it was not kept, or is not what the run says it was.
    """
    registry = kept_registry(folder / FOLDER)
    names = sorted({subject.app for subject in meta.competitors})
    known = {subject.id: subject for subject in registry.subjects(names)}
    missing = [each.id for each in meta.competitors if each.id not in known]
    missing += [each.name for each in meta.workloads if each.name not in registry.workloads]
    if missing:
        raise ConfigurationError([f"{folder}: the run did not keep {name}" for name in missing])
    planned = meta.plan.precision
    usual = choose_profile(meta.profile, budget, None if planned is None else str(planned.asked))
    budget_s = meta.budget_s if budget is None else usual.budget_s
    profile = replace(usual, blocks=meta.blocks, least_blocks=meta.blocks, budget_s=budget_s)
    workloads = tuple(replace(registry.workloads[each.name], options=each.options) for each in meta.workloads)
    return RunRequest(
        subjects=tuple(known[each.id] for each in meta.competitors),
        workloads=workloads,
        profile=profile,
        seed=meta.seed,
        out=out,
        exclusive=meta.exclusive,
        command=command,
        runner_reason=choice.reason,
        references=find_references(registry, workloads, meta.workers),
        load=LoadOptions(engines=len(meta.cores.engine)),
        servers=ServerOptions(meta.server_cores, meta.workers, meta.threads),
        claims=claims_of(folder / FOLDER),
        precision=None if planned is None else planned.asked,
    )


def containers_of(meta: RunMeta, choice: RunnerChoice) -> ContainerOptions:
    """How a run's containers were connected; nothing where the servers are to be processes."""
    if choice.engine is None or meta.network not in {"host", "bridge"}:
        return ContainerOptions()
    return ContainerOptions("bridge" if meta.network == "bridge" else "host")


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that can go on.

    Attributes:
        load: engines and Locust workers, as the run had them.
        workers_elsewhere: its Locust workers joined from other machines.
        precision: at which it may end; None where none was asked for.
    """

    run: Run
    earlier: Earlier
    load: LoadOptions
    workers_elsewhere: bool
    precision: Precision | None = None

    @property
    def runner(self) -> str:
        """What started its servers, and must start them again."""
        return self.run.meta.runner


def open_begun(folder: Path, precision: str | None = None) -> Begun | str:
    """What there is of the run in `folder`, or in a few words that it lacks nothing.

    Args:
        folder: of the run.
        precision: another one than the run asked for.

    Raises:
        ConfigurationError: it is no run, or one that another version of Gatebench began.
        GatebenchError: it is damaged.
    """
    run = load_run(folder)
    if run.meta.schema_ != SCHEMA:
        raise ConfigurationError(
            f"{folder}: has schema {run.meta.schema_}, and this version writes schema {SCHEMA}; `gatebench "
            f"reproduce {folder}` measures it again"
        )
    asked = run.precision
    if precision is not None:
        subjects = [subject.id for subject in run.meta.competitors]
        asked = choose_precision(precision, subjects, [each.name for each in run.meta.workloads])
    earlier = earlier_of(run)
    if not earlier.turns:
        return "has all of its blocks; there is nothing to resume"
    if asked is not None and has_met(run.looks, asked):
        return (
            f"has reached {asked.in_words}: {run.looks[-1]['text']}; there is nothing to resume. A finer "
            "precision (--precision) goes on"
        )
    load = run.meta.load
    if load is None:
        raise GatebenchError(f"{folder / 'run.json'}: `load` is missing; the file is not what a run writes")
    return Begun(
        run,
        earlier,
        load=LoadOptions(engines=load.engines, workers=load.workers),
        workers_elsewhere=load.elsewhere,
        precision=asked,
    )


def earlier_of(run: Run) -> Earlier:
    """What a run has measured, and which blocks it lacks."""
    planned = [plan for plan in run.meta.levels if plan.rounds]
    begun = [int(event["block"]) for event in run.events if event["kind"] == "block-started"]
    whole = {plan.id: len(whole_blocks(run, plan)) for plan in planned}
    last = run.slices[run.slices["block"] == max(run.finished_blocks, default=-1)]
    rounds = {plan.id: of_level(last, plan)["round"].nunique() for plan in planned}
    return Earlier(
        folder=run.folder,
        description=run.meta.to_json(),
        turns=remaining_turns(whole, run.meta.blocks, max(begun, default=-1) + 1),
        rounds={level: count for level, count in rounds.items() if count},
        asked_interfaces=any(event["kind"] == "interface" for event in run.events),
    )


def resume_run(
    begun: Begun, choice: RunnerChoice, load_bind: str, console: Console, *, command: str
) -> Outcome:
    """Measures the blocks that a run lacks, into the same folder.

    Args:
        begun: the run.
        choice: what starts the servers; the runner that the run began with.
        load_bind: the address at which workers join that are elsewhere, as the run had them.
        console: to print on.
        command: what was typed.

    Raises:
        ConfigurationError: something is not as it was at the run's beginning; nothing was measured.
        GatebenchError: it could not begin.
    """
    meta, folder = begun.run.meta, begun.run.folder
    if begun.workers_elsewhere != bool(load_bind):
        raise ConfigurationError(
            f"{folder}: its Locust workers joined from other machines; name the address at which they do "
            "(--load-bind)"
            if begun.workers_elsewhere
            else f"--load-bind: the Locust workers of {folder} ran on its own machine"
        )
    request = replace(
        request_of(meta, folder, choice, None, folder, command),
        load=replace(begun.load, bind=load_bind),
        precision=begun.precision,
    )
    containers = containers_of(meta, choice)
    if load_bind and meta.server_host:
        containers = replace(containers, host=meta.server_host)
    return measure(request, choice, containers, console, earlier=begun.earlier)


def was_run_by(source: Path) -> str:
    """The name of the runner that a run had.

    Raises:
        GatebenchError: there is no run at `source`.
    """
    with unpacked(source) as folder:
        return load_run(folder).meta.runner


def reproduce_run(
    source: Path, choice: RunnerChoice, budget: str | None, out: Path, console: Console, *, command: str
) -> int:
    """Measures what the run at `source` measured, and prints what held, flipped and cannot be told.

    Args:
        source: a results folder or a bundle.
        choice: what starts the servers.
        budget: another wall time than the run's.
        out: folder for the results.
        console: to print on.
        command: what was typed.

    Returns:
        0 where nothing flipped, else 1.

    Raises:
        ConfigurationError: it cannot be repeated; nothing was started.
        GatebenchError: the run is damaged, or could not be repeated to the end.
    """
    with unpacked(source) as folder:
        original = load_run(folder)
        request = request_of(original.meta, folder, choice, budget, out, command)
        outcome = measure(request, choice, containers_of(original.meta, choice), console)
        status = conclude(outcome, console)
        if status == EXIT_INTERRUPTED or not outcome.reported:
            return status
        here = load_run(outcome.folder)
        for line in compared(kept_answers(folder), kept_answers(outcome.folder)):
            console.print(f"learned: {line}", markup=False, highlight=False, soft_wrap=True)
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
    claims = counted(flipped_claims, "claim")
    if not result.says_something:
        raise GatebenchError("nothing of the two runs can be compared; the reasons are listed above")
    return (
        f"of {sum(counts.values())} comparisons between subjects {counts['held']} held, {counts['flipped']} "
        f"flipped, and {counts['cannot be told']} cannot be told here; {claims} flipped"
    )
