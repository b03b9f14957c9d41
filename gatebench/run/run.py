"""A run from selection to report: select, install, plan, measure block by block, report."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from gatebench.contract.file import load_contract
from gatebench.contract.rules import Contract
from gatebench.load.backend import Backend, Circumstances, Ground, Means
from gatebench.load.calibration import with_rates
from gatebench.load.learning import UnlearnedError, learn, with_answers
from gatebench.load.responders import responder_cells
from gatebench.machine.cores import Cores, available_cores, divide_evenly, hyper_threads
from gatebench.machine.processes import Owner, marked_processes, memory_mib, sweep, tree
from gatebench.results.answers import keep_answers, kept_answers
from gatebench.results.bundle import FOLDER, keep_sources
from gatebench.results.earlier import Earlier
from gatebench.results.record import Record, RecordError, point_latest, record_error
from gatebench.run.block import Block, Known, Spent
from gatebench.run.describe import Sources, describe_run, precision_of
from gatebench.run.looks import Looks, Read
from gatebench.run.observer import Observer
from gatebench.run.reporter import Reporter, is_due
from gatebench.runners.session import watched
from gatebench.words.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    ConfigurationError,
    GatebenchError,
    Outcome,
)
from gatebench.words.model import Cell, Subject, Workload
from gatebench.words.options import RunRequest
from gatebench.words.plan import (
    MANY_BLOCKS,
    Plan,
    Turn,
    choose_twin,
    every_turn,
    few_rounds,
    make_plan,
    replan,
    subject_groups,
    with_rounds,
)
from gatebench.words.precision import FIRST_LOOK


def new_seed() -> int:
    """A seed for a run that names none."""
    return random.SystemRandom().randrange(1, 2**31)


def choose_cores(engines: int | None = None, server_cores: int = 1) -> Cores:
    """Divides the cores that this process may use.

    Args:
        engines: load engines; None for what the cores allow.
        server_cores: how many every server gets.

    Raises:
        ConfigurationError: there are too few for so many server cores and engines.
    """
    cores = available_cores()
    return divide_evenly(cores, engines, hyper_threads(cores), server_cores)


class Run:
    """One run in progress.

    Args:
        request: what to measure.
        make_backend: makes what the servers run on.
        containers: whether they are containers.
        observer: hears of its progress.
        earlier: what it has measured before; None at its beginning.
        read: reads how precise the run is from the report in its folder; needed where a precision is asked.
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        make_backend: Callable[[Circumstances], Backend],
        containers: bool = False,
        observer: Observer,
        earlier: Earlier | None = None,
        read: Read | None = None,
    ) -> None:
        self._request = request
        self._read = read
        self._make_backend = make_backend
        self._containers = containers
        self._observer = observer
        self._owner = Owner.this()
        self._earlier = earlier
        self._record = Record.create(request.out) if earlier is None else Record.reopen(request.out)
        self._contract: Contract = load_contract()
        self._reporter = Reporter(self._record, self._owner, observer.note)
        self._began = time.monotonic()
        self._setup_s = 0.0
        self._load_s = 0.0
        self._awaited_s = 0.0
        self._memory_mib = 0.0
        self._own_pids: list[int] = []
        self._notices: list[str] = []
        self._labs: set[int] = set()
        self._ended_for = "budget"

    def execute(self) -> Outcome:
        """Runs everything; whatever happens, what was measured is kept and reported, and nothing is left.

        Raises:
            GatebenchError: it could not begin.
        """
        with contextlib.closing(self._record):
            return self._execute()

    def _execute(self) -> Outcome:
        killed = sweep()
        if killed:
            self._observer.note(f"ended {len(killed)} processes that an earlier, killed run had left behind")
        scratch = self._owner.scratch()
        with watched(self._owner, containers=self._containers) as watch_pid:
            self._own_pids = [self._owner.pid, watch_pid]
            try:
                kind, outcome = self._try_to_measure(scratch)
            except (ConfigurationError, UnlearnedError):
                if self._earlier is None:
                    self._record.discard()  # nothing was measured, and nothing is left of it
                raise
            except BaseException as error:
                # A fault of the lab itself: what was measured before it is kept, and the fault is shown.
                self._finish("error", repr(error))
                raise
            try:
                reported = self._finish(kind, outcome.text)
            except KeyboardInterrupt:
                text = f"interrupted; `gatebench report {self._record.folder}` makes the report"
                text = text if kind == "complete" else self._early(text)
                return Outcome(EXIT_INTERRUPTED, self._record.folder, text)
        status = EXIT_DONE if reported else EXIT_FAILED
        failed = not reported and (self._record.folder / "run.json").exists()
        return replace(outcome, status=outcome.status or status, reported=reported, report_failed=failed)

    def _early(self, text: str) -> str:
        """Why the run ended early, with what a person can do about it."""
        if not self._setup_s:  # no block was begun: there is nothing to go on with
            return text
        return f"{text}\n`gatebench resume {self._record.folder}` measures what is missing"

    def _try_to_measure(self, scratch: Path) -> tuple[str, Outcome]:
        """Measures, and turns what may end a run early into how it ended."""
        folder = self._record.folder
        try:
            self._measure(scratch)
        except KeyboardInterrupt:
            if self._setup_s:  # without a block there is nothing to report
                self._observer.note("interrupted: the report comes next; interrupt it, too, to go without")
            return "interrupted", Outcome(EXIT_INTERRUPTED, folder, self._early("interrupted"))
        except RecordError as error:
            return "disk-full", Outcome(EXIT_FAILED, folder, self._early(str(error)))
        except (ConfigurationError, UnlearnedError):
            raise
        except GatebenchError as error:
            return "error", Outcome(EXIT_FAILED, folder, self._early(str(error)))
        return "complete", Outcome(EXIT_DONE, folder)

    def _measure(self, scratch: Path) -> None:
        request, record = self._request, self._record
        backend = self._make_backend(Circumstances(self._owner, scratch, self._observer.note))
        self._tell_of_other_labs()
        self._observer.stage("installing the servers")
        references = [each for each in request.references.values() if each not in request.subjects]
        readiness = backend.prepare((*request.subjects, *references))
        budget = backend.budget
        ready: list[Subject] = []
        for subject in request.subjects:
            if reason := subject.one_process_only(budget.workers):
                self._observer.note(f"left out: {reason}")
            elif reason := readiness[subject.id].reason:
                self._observer.note(f"{subject.id} is unavailable: {reason}")
            else:
                ready.append(subject)
        self._observer.stage("starting the load engine")
        with backend.open(record.logs, request.load) as ground:
            load = ground.load
            if load.instructions:
                self._observer.note(load.instructions)
            means = self._means(ground, backend)
            if self._earlier is None:
                request = self._request = self._with_answers(means, ready)
                workloads = self._with_rates(means, budget.workers, ready)
                twin = choose_twin(ready, workloads, request.profile.blocks, request.seed, budget.workers)
            else:
                workloads = self._earlier.workloads(
                    with_answers(request.workloads, kept_answers(record.folder))
                )
                twin = self._earlier.twin(ready)
            if twin is not None:
                ready.append(twin)
                readiness[twin.id] = readiness[twin.original_id]
            measurable = self._cells(workloads, ready, backend)
            ready += {cell.subject.id: cell.subject for cell in measurable if cell.subject.responder}.values()
            plan = make_plan(measurable, request.profile, request.seed)
            whole = replace(request, workloads=workloads, subjects=(*request.subjects, *filter(None, [twin])))
            self._tell_of_the_budget(plan)
            description = describe_run(
                whole,
                plan,
                run=record.run,
                backend=backend,
                readiness=readiness,
                budget=budget,
                notices=self._notices,
            )
            if self._earlier is None:
                # Also where there is nothing to measure: why is a row of the result.
                record.write_run(description)
                self._keep_sources(workloads)
                turns = every_turn(plan)
            else:
                self._earlier.check(description.to_json())
                turns, plan = self._earlier.turns, with_rounds(plan, self._earlier.rounds)
                self._resumed(turns[0].block)
            if not measurable:
                raise GatebenchError(
                    "nothing was measured: no chosen server is available and declares what the chosen "
                    "workloads need; the table gives the reason for each"
                )
            point_latest(record.folder)
            self._own_pids += tree(load.pid)
            self._setup_s = time.monotonic() - self._began
            self._blocks(plan, turns, means, ready)

    def _means(self, ground: Ground, backend: Backend) -> Means:
        open_files = ground.load.hello()["open_files"]
        return Means(ground.runner, ground.site, ground.load, self._contract, backend.cores, open_files)

    def _with_answers(self, means: Means, ready: Sequence[Subject]) -> RunRequest:
        """What was asked for, with the answers that its workloads left to be learned."""
        request, record = self._request, self._record
        if not any(each.is_learned for workload in request.workloads for each in workload.requests):
            return request
        self._observer.stage("learning what the servers answer")
        learned = learn(
            request.workloads,
            ready,
            means,
            logs=record.logs,
            exclusive=request.exclusive,
            note=self._note,
        )
        try:
            keep_answers(record.folder, learned)
        except OSError as error:
            raise record_error(record.folder, error) from error
        for each in learned:
            record.event("learned", **each.to_json())
        return replace(request, workloads=with_answers(request.workloads, learned))

    def _keep_sources(self, workloads: Sequence[Workload]) -> None:
        try:
            subjects = (*self._request.subjects, *self._request.references.values())
            keep_sources(subjects, workloads, self._record.folder / FOLDER, self._request.claims)
        except OSError as error:
            raise record_error(self._record.folder, error) from error

    def _with_rates(self, means: Means, workers: int, ready: Sequence[Subject]) -> tuple[Workload, ...]:
        """The workloads with the rates of their ladders, which must be measured before the plan."""
        request = self._request
        unsupported = (
            Cell(subject, workload, workload.levels[0]).unsupported(workers)
            for subject in ready
            for workload in request.workloads
        )
        if not request.references or all(unsupported):
            return request.workloads
        self._observer.stage("measuring what the ladders' rates are shares of")
        workloads, notes = with_rates(request.workloads, request.references, means, logs=self._record.logs)
        for note in notes:
            self._note(note)
        return workloads

    def _cells(self, workloads: Sequence[Workload], ready: Sequence[Subject], backend: Backend) -> list[Cell]:
        """What can be measured: the servers' cells, and at their levels those of null responders."""
        cells = [
            cell
            for workload in workloads
            for level in workload.levels
            for subject in ready
            if not (cell := Cell(subject, workload, level)).unsupported(backend.budget.workers)
            and level.has_rate
        ]
        levels = {(cell.workload.name, cell.level.id) for cell in cells}
        limits = responder_cells(workloads, self._contract, backend.responder_for)
        return [*cells, *(cell for cell in limits if (cell.workload.name, cell.level.id) in levels)]

    def _blocks(self, plan: Plan, turns: Sequence[Turn], means: Means, ready: Sequence[Subject]) -> None:
        request, record = self._request, self._record
        asked = self._earlier is not None and self._earlier.asked_interfaces
        budget_s = plan.profile.budget_s * len(turns) / plan.profile.blocks
        # A container's image holds what it was built from, whatever becomes of the folders.
        servers = [subject for subject in ready if not subject.responder]
        sources = Sources((), ()) if self._containers else Sources(servers, request.workloads)
        known = Known()
        whole = plan.profile.blocks - len(turns)
        looks = self._looks(whole)
        began = reported = time.monotonic()
        for done, turn in enumerate(turns, start=1):
            block_began = time.monotonic()
            record.event("block-started", block=turn.block)
            for text in self._other_labs():  # one that began after this one
                self._observer.note(text)
                record.event("notice", block=turn.block, subject="", text=text)
            named = f"block {turn.block + 1} of {turns[-1].block + 1}"
            self._observer.stage(named)
            part = turn.part_of(plan)
            block = Block(
                turn.block,
                part,
                means,
                record=record,
                observer=self._observer,
                first=done == 1,
                asks_interfaces=done == 1 and not asked,
                known=known,
            )
            try:
                groups = subject_groups(plan, turn.block, ready, exclusive=request.exclusive)
                block.run(groups, self._await_report, sources.check)
            finally:
                self._load_s += block.spent.load_s
            wall_s = time.monotonic() - block_began
            record.event(
                "block-finished",
                block=turn.block,
                wall_s=round(wall_s, 3),
                started_s=round(block.spent.started_s, 3),
                warmed_s=round(block.spent.warmed_s, 3),
                load_s=round(block.spent.load_s, 3),
                ended_s=round(block.spent.ended_s, 3),
            )
            self._memory_mib = max(self._memory_mib, memory_mib(self._own_pids))
            self._observer.block_finished(named, done, len(turns), time.monotonic() - began)
            remaining = len(turns) - done
            if not remaining:
                break
            self._tell_of_others(block.spent)
            ready = self._without(block.never_ready, ready)
            elapsed_s = time.monotonic() - began
            if looks is not None and looks.is_due(whole + done, elapsed_s):
                self._observer.stage("looking how precise the run is")
                self._reporter.start("figures")
                self._await_report()
                looks.paid(elapsed_s, time.monotonic() - began - elapsed_s)
                if self._reporter.made and looks.look(
                    whole + done, block=turn.block, block_s=elapsed_s / done, left=remaining
                ):
                    self._ended_for = "precision"
                    break
            if is_due(time.monotonic() - reported, self._awaited_s):
                reported, self._awaited_s = time.monotonic(), 0.0
                self._reporter.start("leading charts")
            if part == plan:  # a block of some levels does not tell what a whole one costs
                left_s = budget_s - (time.monotonic() - began)
                planned, plan = plan, replan(plan, left_s / remaining, wall_s, block.spent.round_s)
                if done == 1:
                    self._tell_of_fewer_rounds(planned, plan, wall_s)

    def _resumed(self, block: int) -> None:
        """Writes down that the run goes on with this block, and to which precision."""
        asked = {name: each.to_json() for name, each in precision_of(self._request.precision).items()}
        self._record.event("resumed", block=block, notices=self._notices, **asked)

    def _looks(self, before: int) -> Looks | None:
        """What may end the run early; None where it did not ask for a precision."""
        precision = self._request.precision
        if precision is None or self._read is None:
            return None
        return Looks(precision, self._read, before, self._record, self._observer.looked)

    def _tell_of_others(self, spent: Spent) -> None:
        if 2 * spent.shared > spent.slices:
            self._observer.note(
                f"others had the server's cores in {spent.shared} of {spent.slices} slices of this block. "
                "Where that goes on, most cells have no figure at the end: end the run (Ctrl-C), see what "
                "else this machine is doing, and start again"
            )

    def _tell_of_fewer_rounds(self, planned: Plan, plan: Plan, wall_s: float) -> None:
        pairs = zip(planned.levels, plan.levels, strict=True)
        fewer = [now.id for then, now in pairs if now.rounds == 1 < then.rounds]
        if fewer:
            self._observer.note(
                f"the first block took {wall_s:.0f} s, longer than planned: later blocks have a single round "
                f"of {', '.join(fewer)}. More time (--budget) gives them more"
            )

    def _without(self, failed: Collection[str], ready: Sequence[Subject]) -> Sequence[Subject]:
        """The subjects that later blocks start: one that was not ready in any block has no figure at all.

        Raises:
            GatebenchError: none is left.
        """
        if failed:
            self._observer.note(
                f"{', '.join(sorted(failed))}: left out of later blocks, since a subject that was not ready "
                "in one block has no figure"
            )
        left = [subject for subject in ready if subject.id not in failed]
        if all(subject.responder for subject in left):
            raise GatebenchError("no server is left to measure; the table gives the reason for each")
        return left

    def _other_labs(self) -> list[str]:
        """A sentence on each lab at work on this machine that has not been named yet."""
        found = {owner.pid for owner in marked_processes().values()} - {self._owner.pid} - self._labs
        self._labs |= found
        return [
            f"process {pid} is another lab at work on this machine; both disturb each other's figures"
            for pid in sorted(found)
        ]

    def _tell_of_other_labs(self) -> None:
        for text in self._other_labs():
            self._note(text)

    def _note(self, text: str) -> None:
        """Tells the person now, and the report later."""
        self._observer.note(text)
        self._notices.append(text)

    def _tell_of_the_budget(self, plan: Plan) -> None:
        usual = min(self._request.profile.blocks, MANY_BLOCKS)
        if plan.profile.blocks < usual:
            self._note(
                f"the budget pays for {plan.profile.blocks} blocks of fresh servers and not for {usual}: "
                "intervals are wider"
            )
        precision = self._request.precision
        if precision is not None and plan.profile.blocks < FIRST_LOOK:
            self._note(
                f"the budget pays for {plan.profile.blocks} blocks; {precision.in_words} is not taken for "
                f"reached before {FIRST_LOOK}: more time (--budget) or fewer servers or workloads help"
            )
        if text := few_rounds(plan):
            self._note(text)

    def _await_report(self) -> None:
        began = time.monotonic()
        if report_mib := self._reporter.wait():
            self._awaited_s = max(self._awaited_s, time.monotonic() - began)
            self._memory_mib = max(self._memory_mib, memory_mib(self._own_pids) + report_mib)

    def _finish(self, outcome: str, text: str) -> bool:
        """Writes how the run ended and makes its report; returns whether that went well."""
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
                **({"ended_for": self._ended_for} if self._request.precision is not None else {}),
            )
        except RecordError as error:
            self._observer.note(str(error))
        if (self._record.folder / "run.json").exists():
            self._observer.stage("making the report")
            self._reporter.start()
            self._await_report()
            return self._reporter.made
        return False
