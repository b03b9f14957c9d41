"""A run from selection to report: select, install, plan, measure block by block, report."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gatebench
from gatebench.contract import Contract, load_contract
from gatebench.cores import Cores, available_cores, divide, hyper_threads
from gatebench.errors import ConfigurationError, GatebenchError
from gatebench.facts import content_hash, machine, versions
from gatebench.load import LoadProcess
from gatebench.measure import Block, Observer
from gatebench.model import Cell, Subject, Workload
from gatebench.plan import LevelPlan, Plan, Profile, divide_rounds, make_plan, subject_groups
from gatebench.processes import Owner, memory_mib, sweep, tree
from gatebench.record import Record, RecordError, point_latest, utc_now
from gatebench.registry import Registry
from gatebench.runner import Budget, Readiness, Runner
from gatebench.watch import watched

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a person asked for, names already resolved."""

    registry: Registry
    subjects: tuple[Subject, ...]
    workloads: tuple[Workload, ...]
    profile: Profile
    seed: int
    out: Path
    exclusive: bool
    command: str
    runner_reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        text: empty, or why it ended early.
    """

    status: int
    folder: Path
    text: str = ""


def new_seed() -> int:
    """A seed for a run that names none."""
    return random.SystemRandom().randrange(1, 2**31)


def choose_cores() -> Cores:
    """Divides the cores that this process may use.

    Raises:
        ConfigurationError: there is only one.
    """
    cores = available_cores()
    return divide(cores, siblings=hyper_threads(cores))


class Run:
    """One run in progress."""

    def __init__(
        self,
        request: RunRequest,
        *,
        make_runner: Callable[[Owner, Path, Budget], Runner],
        cores: Cores,
        observer: Observer,
    ) -> None:
        self._request = request
        self._make_runner = make_runner
        self._cores = cores
        self._observer = observer
        self._owner = Owner.this()
        self._record = Record.create(request.out)
        self._contract: Contract = load_contract()
        self._report: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._setup_s = 0.0
        self._load_s = 0.0
        self._memory_mib = 0.0
        self._own_pids: list[int] = []

    def execute(self) -> Outcome:
        """Runs everything; whatever happens, what was measured is kept and reported, and nothing is left.

        Raises:
            GatebenchError: it could not begin.
        """
        killed = sweep()
        if killed:
            self._observer.note(f"ended {len(killed)} processes that an earlier, killed run had left behind")
        scratch = self._owner.scratch()
        outcome, status, text = "complete", EXIT_DONE, ""
        with watched(self._owner) as watch_pid:
            self._own_pids = [self._owner.pid, watch_pid]
            try:
                self._measure(scratch)
            except KeyboardInterrupt:
                outcome, status, text = "interrupted", EXIT_INTERRUPTED, "interrupted"
            except RecordError as error:
                outcome, status, text = "disk-full", EXIT_FAILED, str(error)
            except ConfigurationError:
                raise
            except GatebenchError as error:
                outcome, status, text = "error", EXIT_FAILED, str(error)
        self._finish(outcome, text)
        return Outcome(status, self._record.folder, text)

    def _measure(self, scratch: Path) -> None:
        request, record = self._request, self._record
        budget = Budget(self._cores.server)
        runner = self._make_runner(self._owner, scratch, budget)
        self._observer.stage("installing the servers")
        readiness = runner.prepare(request.subjects)
        ready = [subject for subject in request.subjects if not readiness[subject.id].reason]
        for subject in request.subjects:
            if reason := readiness[subject.id].reason:
                self._observer.note(f"{subject.id} is unavailable: {reason}")
        cells = [
            Cell(subject, workload, level)
            for workload in request.workloads
            for level in workload.levels
            for subject in ready
        ]
        measurable = [cell for cell in cells if not cell.missing]
        plan = make_plan(measurable, request.profile, request.seed)
        # Also where there is nothing to measure: why is a row of the result.
        record.write_run(self._description(plan, runner, readiness, budget))
        if not measurable:
            raise GatebenchError(
                "nothing was measured: no chosen server is available and declares what the chosen workloads "
                "need; the table gives the reason for each"
            )
        point_latest(record.folder)
        load_log = record.logs / "load.log"
        with LoadProcess(cores=self._cores, owner=self._owner, log=load_log) as load:
            load.hello()
            self._own_pids += tree(load.pid)
            self._setup_s = time.monotonic() - self._began
            self._blocks(plan, runner, load, ready)

    def _blocks(self, plan: Plan, runner: Runner, load: LoadProcess, ready: Sequence[Subject]) -> None:
        request, record = self._request, self._record
        began = time.monotonic()
        for number in range(plan.profile.blocks):
            block_began = time.monotonic()
            record.event("block-started", block=number)
            self._observer.stage(f"block {number + 1} of {plan.profile.blocks}")
            block = Block(
                number,
                plan,
                runner=runner,
                load=load,
                contract=self._contract,
                record=record,
                observer=self._observer,
            )
            try:
                block.run(
                    subject_groups(plan, number, ready, exclusive=request.exclusive), self._await_report
                )
            finally:
                self._load_s += block.spent.load_s
            wall_s = time.monotonic() - block_began
            record.event(
                "block-finished",
                block=number,
                wall_s=round(wall_s, 3),
                started_s=round(block.spent.started_s, 3),
                load_s=round(block.spent.load_s, 3),
            )
            self._memory_mib = max(self._memory_mib, memory_mib(self._own_pids))
            self._observer.block_finished(number + 1, plan.profile.blocks, time.monotonic() - began)
            remaining = plan.profile.blocks - number - 1
            if remaining:
                self._start_report()
                left_s = plan.profile.budget_s - (time.monotonic() - began)
                plan = replan(plan, left_s / remaining, wall_s, block.spent.round_s)

    def _start_report(self) -> None:
        """Makes the report of what there is so far, beside the start of the next block's servers."""
        self._await_report()
        command = [sys.executable, "-m", "gatebench", "report", str(self._record.folder), "--quiet"]
        log = self._record.logs / "report.log"
        try:
            with log.open("ab") as output:
                self._report = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            self._observer.note(f"no report yet: {error}")

    def _await_report(self) -> None:
        if self._report is None:
            return
        _, status, usage = os.wait4(self._report.pid, 0)
        self._report.returncode = os.waitstatus_to_exitcode(status)
        if self._report.returncode != 0:
            self._observer.note(f"the report could not be made; see {self._record.logs / 'report.log'}")
        self._report = None
        lab_mib = memory_mib(self._own_pids)
        self._memory_mib = max(self._memory_mib, lab_mib + usage.ru_maxrss / 1024)

    def _finish(self, outcome: str, text: str) -> None:
        self._await_report()
        try:
            self._record.event(
                "finished",
                outcome=outcome,
                wall_s=round(time.monotonic() - self._began, 3),
                setup_s=round(self._setup_s, 3),
                load_s=round(self._load_s, 3),
                lab_memory_mib=round(self._memory_mib, 1),
                text=text,
            )
        except RecordError as error:
            self._observer.note(str(error))
        if (self._record.folder / "run.json").exists():
            self._observer.stage("making the report")
            self._start_report()
            self._await_report()

    def _description(
        self, plan: Plan, runner: Runner, readiness: dict[str, Readiness], budget: Budget
    ) -> dict[str, Any]:
        """`run.json`, but for schema and ID."""
        request = self._request
        root = Path(gatebench.__file__).resolve().parent.parent
        hashes = {"engine": content_hash(root / "loadtests" / "engine")}
        for subject in request.subjects:
            hashes[f"apps/{subject.application.name}"] = content_hash(subject.application.folder)
        for workload in request.workloads:
            hashes[f"workloads/{workload.name}"] = content_hash(workload.folder)
        unpinned = sorted({s.server.name for s in request.subjects if not s.server.pinned})
        return {
            "started": utc_now(),
            "gatebench": gatebench.__version__,
            "command": request.command,
            "runner": runner.name,
            "runner_reason": request.runner_reason,
            "profile": plan.profile.name,
            "seed": plan.seed,
            "budget_s": plan.profile.budget_s,
            "exclusive": request.exclusive,
            "plan": {
                "blocks": plan.profile.blocks,
                "levels": [_level_description(each) for each in every_level(request.workloads, plan)],
            },
            "cores": {
                "server": list(self._cores.server),
                "engine": list(self._cores.engine),
                "lab": list(self._cores.lab),
            },
            "workers": budget.workers,
            "threads": budget.threads,
            "machine": machine(),
            "versions": versions(),
            "hashes": hashes,
            "notices": [f"the requirements of {name} are not pinned and hashed" for name in unpinned],
            "subjects": [_subject_description(each, readiness[each.id]) for each in request.subjects],
            "workloads": [_workload_description(each) for each in request.workloads],
        }


def replan(plan: Plan, block_s: float, wall_s: float, round_s: dict[str, list[float]]) -> Plan:
    """The plan with each level's rounds set anew from what a round and the rest of a block really cost.

    Args:
        plan: the plan so far.
        block_s: wall time that each remaining block may take.
        wall_s: what the last block took.
        round_s: what each of its rounds took, per level.
    """
    costs = {level: sum(times) / len(times) for level, times in round_s.items() if times}
    costs = {level.id: costs.get(level.id, level.round_cost_s) for level in plan.levels}
    other_s = wall_s - sum(sum(times) for times in round_s.values())
    most = plan.profile.max_rounds
    return replace(plan, levels=divide_rounds(plan.levels, block_s - other_s, costs, most))


def every_level(workloads: Sequence[Workload], plan: Plan) -> tuple[LevelPlan, ...]:
    """The plan's levels and, without cells and rounds, those in which no chosen server can take part."""
    planned = {level.id: level for level in plan.levels}
    asked = (LevelPlan(workload, level, (), 0) for workload in workloads for level in workload.levels)
    return tuple(planned.get(level.id, level) for level in asked)


def exit_status(folder: Path) -> int:
    """The status that a finished run's summary calls for.

    1 where a server failed, or where no cell of a subject that was tried is valid.
    """
    summary = json.loads((folder / "summary.json").read_text())
    statuses: dict[str, set[str]] = {}
    for cell in summary["cells"]:
        statuses.setdefault(cell["subject"], set()).add(cell["status"])
    for found in statuses.values():
        if "failed" in found or ("invalid" in found and "ok" not in found):
            return EXIT_FAILED
    return EXIT_DONE


def _level_description(level: LevelPlan) -> dict[str, Any]:
    return {
        "workload": level.workload.name,
        "level": level.level.id,
        "connections": level.level.connections,
        "rounds": level.rounds,
        "slice_s": level.workload.slice_s,
        "warmup_s": level.workload.warmup_s,
    }


def _subject_description(subject: Subject, readiness: Readiness) -> dict[str, Any]:
    variant = subject.variant
    return {
        "id": subject.id,
        "server": subject.server.name,
        "variant": variant.name,
        "app": subject.application.name,
        "interface": variant.interface,
        "class": "tuned" if variant.tuned else "default",
        "why": variant.why,
        "homepage": subject.server.homepage,
        "supports": sorted(variant.supports),
        "command": list(variant.command),
        "version": version_of(subject.server.name, readiness.packages),
        "packages": dict(readiness.packages),
        "color": variant.color,
        "status": "unavailable" if readiness.reason else "ready",
        "reason": readiness.reason,
    }


def version_of(server: str, packages: Mapping[str, str]) -> str | None:
    """The version of the package that a server folder is named after, however its name is spelt.

    `uvicorn_034` is named after uvicorn: the longest package name that begins the folder's.
    """
    words = server.lower().split("_")
    spelt = {name.lower().replace("-", "_"): version for name, version in packages.items()}
    names = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((spelt[name] for name in names if name in spelt), None)


def _workload_description(workload: Workload) -> dict[str, Any]:
    request = workload.request
    return {
        "name": workload.name,
        "description": workload.description,
        "transport": workload.transport,
        "request": {
            "method": request.method,
            "path": request.path,
            "body_bytes": len(request.body),
            "message_bytes": request.message_bytes if workload.transport == "websocket" else None,
        },
        "needs": sorted(workload.needs),
        "saturates": workload.saturates,
        "service_s": workload.service_s,
        "levels": [level.id for level in workload.levels],
        "slice_s": workload.slice_s,
    }
