"""`gatebench resume`: goes on with a run that ended before its plan did."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.cells import of_level, whole_blocks
from analysis.load import Run, load_run
from gatebench.earlier import Earlier
from gatebench.errors import ConfigurationError
from gatebench.outcome import Outcome
from gatebench.rows import SCHEMA
from gatebench.running import measure
from gatebench.selection import LoadOptions, RunnerChoice
from gatebench.turns import remaining_turns
from gatebench.what_was_run import containers_of, request_of


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that can go on.

    Attributes:
        load: engines and Locust workers, as the run had them.
        workers_elsewhere: its Locust workers joined from other machines.
    """

    run: Run
    earlier: Earlier
    load: LoadOptions
    workers_elsewhere: bool

    @property
    def runner(self) -> str:
        """What started its servers, and must start them again."""
        return self.run.meta.runner


def open_begun(folder: Path) -> Begun | None:
    """What there is of the run in `folder`; None where it has all of its blocks.

    Raises:
        ConfigurationError: it is no run, or one that another version of Gatebench began.
        GatebenchError: it is damaged.
    """
    if folder.is_dir() and not (folder / "run.json").exists():
        raise ConfigurationError(f"{folder}: ended before it had a plan, so nothing of it can go on")
    run = load_run(folder)
    if run.meta.schema != SCHEMA:
        raise ConfigurationError(
            f"{folder}: is of schema {run.meta.schema}, and this version writes schema {SCHEMA}; `gatebench "
            f"reproduce {folder}` measures it anew"
        )
    description = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    earlier = earlier_of(run, description)
    if not earlier.turns:
        return None
    load = description["load"]
    return Begun(
        run,
        earlier,
        load=LoadOptions(engines=load["engines"], workers=load["workers"]),
        workers_elsewhere=bool(load["elsewhere"]),
    )


def earlier_of(run: Run, description: dict[str, Any]) -> Earlier:
    """What a run has measured, and which blocks it lacks."""
    planned = [plan for plan in run.meta.levels if plan.rounds]
    begun = [int(event["block"]) for event in run.events if event["kind"] == "block-started"]
    whole = {plan.id: len(whole_blocks(run, plan)) for plan in planned}
    last = run.slices[run.slices["block"] == max(run.finished_blocks, default=-1)]
    rounds = {plan.id: of_level(last, plan)["round"].nunique() for plan in planned}
    return Earlier(
        folder=run.folder,
        description=description,
        turns=remaining_turns(whole, run.meta.blocks, max(begun, default=-1) + 1),
        rounds={level: count for level, count in rounds.items() if count},
        asked_interfaces=any(event["kind"] == "interface" for event in run.events),
    )


def resume_run(begun: Begun, choice: RunnerChoice, load_bind: str, console: Console) -> Outcome:
    """Measures the blocks that a run lacks, into the same folder.

    Args:
        begun: the run.
        choice: what starts the servers; the runner that the run began with.
        load_bind: the address at which workers join that are elsewhere, as the run had them.
        console: to print on.

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
            else f"--load-bind: the Locust workers of {folder} were not elsewhere"
        )
    request = replace(
        request_of(meta, folder, choice, None, folder), load=replace(begun.load, bind=load_bind)
    )
    containers = containers_of(meta, choice)
    if load_bind and meta.server_host:
        containers = replace(containers, host=meta.server_host)
    return measure(request, choice, containers, console, earlier=begun.earlier)
