"""Measures one block: starts every server, holds it to the contract, drives the slices, ends every server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from gatebench.load.backend import Means
from gatebench.load.process import CellError, LoadCell
from gatebench.load.slicing import Place, Strangers, take_slice
from gatebench.load.targets import load_cell
from gatebench.machine.processes import kept_to
from gatebench.results.columns import SliceRow
from gatebench.results.record import Record
from gatebench.run.observer import Observer, starting
from gatebench.run.seen import look_again, look_at
from gatebench.runners.base import Around, Instance, Launch, start_one
from gatebench.runners.readiness import (
    asks_of,
    at_work,
    await_answers,
    failed,
    hold_all_to_contract,
    hold_to_contract,
    in_words,
    scopes_of,
)
from gatebench.words.errors import ServerFailure
from gatebench.words.model import Cell, Subject
from gatebench.words.plan import (
    LevelPlan,
    Plan,
    Search,
    arrival_seed,
    hash_seed,
    keeps_to,
    level_groups,
    needs_warmup,
    round_order,
)
from gatebench.words.text import counted
from loadtests.engine.protocol import Arrivals

FLUSH_INTERVAL_S, FLUSH_COUNTS = 10.0, 50_000
SPARE_FILES = 64
"""Files that a server or an engine has open beside its connections, generously."""


@dataclass(slots=True)
class Spent:
    """Where a block's wall time went, in seconds.

    Attributes:
        started_s: starting servers and holding them to the contract.
        warmed_s: load that is not measured.
        load_s: load that is, up to the last answer.
        ended_s: ending the servers at the block's end.
        round_s: level → what each of its rounds took.
        slices, shared: how many it took, and in how many of them others had the server's cores.
    """

    started_s: float = 0.0
    warmed_s: float = 0.0
    load_s: float = 0.0
    ended_s: float = 0.0
    round_s: dict[str, list[float]] = field(default_factory=dict)
    slices: int = 0
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What earlier blocks of a run have shown; a block adds to it.

    Attributes:
        at_work: IDs of the subjects of which a person was told that they work at rest.
        unusable: subject, workload and level of the cells whose Locust file failed. They have no figure,
            whatever later blocks do.
    """

    at_work: set[str] = field(default_factory=set)
    unusable: set[tuple[str, str, str]] = field(default_factory=set)


class Block:
    """One block of a run: fresh servers, then rounds of slices on each level.

    Args:
        first: whether every server is held to the whole contract, and not only to what its load uses of it.
        asks_interfaces: the first block looks what every server runs with; whether it also records what each
            hands the application.
        known: what the run knows from earlier blocks; gets what this one shows.

    Attributes:
        spent: where its wall time went.
        never_ready: IDs of the subjects that were not ready, or not as the contract says, before their load.
    """

    def __init__(
        self,
        number: int,
        plan: Plan,
        means: Means,
        *,
        record: Record,
        observer: Observer,
        first: bool = True,
        asks_interfaces: bool = False,
        known: Known | None = None,
    ) -> None:
        self._number = number
        self._plan = plan
        self._means = means
        self._load = means.load
        self._record = record
        self._observer = observer
        cells = () if first else (cell for level in plan.levels for cell in level.cells)
        self._scopes = scopes_of(cells, means.contract)
        self._asks = asks_of(cell for level in plan.levels for cell in level.cells)
        self._observes = first
        self._asks_interfaces = asks_interfaces
        self._known = Known() if known is None else known
        self._strangers = Strangers()
        self._instances: dict[str, Instance] = {}
        self._searches: dict[str, Search] = {}
        self._missing = 0
        self._told: set[str] = set()
        self.never_ready: set[str] = set()
        self._flushed = time.monotonic()
        self._check_sources: Callable[[], None] = lambda: None
        self.spent = Spent()

    def run(
        self,
        groups: Sequence[Sequence[Subject]],
        before_load: Callable[[], None],
        check_sources: Callable[[], None],
    ) -> None:
        """Measures the block; whatever ends it, every server is ended and every slice is written.

        Args:
            groups: subjects that are up at the same time; one group after the other.
            before_load: called when a group's servers are ready and its load has not begun.
            check_sources: called when servers or users were started; raises where their files have changed.
        """
        self._check_sources = check_sources
        for subjects in groups:
            try:
                began = time.monotonic()
                self._start(subjects)
                check_sources()
                self.spent.started_s += time.monotonic() - began
                before_load()
                # Between two slices the lab has work of its own, and none of it on the servers' cores.
                with kept_to(self._means.cores.lab):
                    for levels in level_groups(self._plan, self._number):
                        self._measure(levels)
                if self._observes:
                    look_again(tuple(self._instances.values()), self._record, self._number)
            finally:
                try:
                    self._record.flush()
                finally:
                    began = time.monotonic()
                    self._end(tuple(self._instances.values()))
                    self._instances.clear()
                    self.spent.ended_s += time.monotonic() - began

    def _start(self, subjects: Sequence[Subject]) -> None:
        self._observer.stage(starting(subjects))
        launches = [self._launch(subject) for subject in subjects]
        for subject, started in zip(subjects, self._means.runner.start(launches), strict=True):
            if isinstance(started, ServerFailure):
                self.never_ready.add(subject.id)
                self._fail(subject, started)
                continue
            self._instances[subject.id] = started
            self._record.event(
                "argv", block=self._number, subject=subject.id, argv=started.argv, port=started.port
            )
        self._observer.stage("holding every server to the contract")
        instances = tuple(self._instances.values())
        servers = tuple(each for each in instances if not each.subject.responder)
        responders = tuple(each for each in instances if each.subject.responder)
        site, scopes, asks = self._means.site, self._scopes, self._asks
        differing = hold_all_to_contract(servers, site, thorough=False, scopes=scopes, asks=asks)
        self._refuse(differing + await_answers(responders, site))
        self._refuse(self._means.runner.place(tuple(self._instances.values())))
        if self._observes:
            instances, asked = tuple(self._instances.values()), self._asks_interfaces
            self._refuse(look_at(instances, site, self._record, self._number, asks_interfaces=asked))
        if len(self._instances) > 1:
            self._name_those_at_work()

    def _refuse(self, failures: Sequence[tuple[Instance, ServerFailure]]) -> None:
        """Ends servers that get no load in this block."""
        for instance, failure in failures:
            self.never_ready.add(instance.subject.id)
            self._fail(instance.subject, failure)
            del self._instances[instance.subject.id]
        self._end([instance for instance, _ in failures])

    def _name_those_at_work(self) -> None:
        for subject, share in at_work(tuple(self._instances.values())).items():
            text = in_words(subject, share)
            self._record.event("notice", block=self._number, subject=subject, text=text)
            if subject not in self._known.at_work:
                self._known.at_work.add(subject)
                self._observer.note(text)

    def _launch(self, subject: Subject, purpose: str = "") -> Launch:
        log = self._record.logs / f"{subject.id}-b{self._number}{purpose}.log"
        return Launch(subject, log, hash_seed(self._plan, self._number, subject.id))

    def _measure(self, levels: Sequence[LevelPlan]) -> None:
        """Measures levels on the same connections, one after the other."""
        cells = {level.id: [cell for cell in level.cells if self._can_measure(cell)] for level in levels}
        first = levels[0]
        if not cells[first.id]:
            return
        if first.workload.steps:
            self._hold_idle(first)
            return
        if first.workload.locustfile:
            self._let_users_live(first, cells[first.id])
            return
        self._observer.stage(f"{first.id}: warming up")
        try:
            self._load.spawn([self._load_cell(cell) for cell in cells[first.id]])
            # A closed loop warms up as much in less time: after it, slow servers have no line to work off.
            paced = all(level.level.rate_per_s is not None for level in levels)
            for level in levels:
                if needs_warmup(level, after=level is not first):
                    self._warm_up(level, cells[level.id], paced=paced)
                self._measure_rounds(level, cells[level.id])
        finally:
            self._load.stop()

    def _measure_rounds(self, level: LevelPlan, cells: Sequence[Cell]) -> None:
        for round_number in range(level.rounds):
            self._observer.stage(f"{level.id}: round {round_number + 1} of {level.rounds}")
            self._round(level, round_number, cells, last=round_number == level.rounds - 1)

    def _can_measure(self, cell: Cell) -> bool:
        return cell.subject.id in self._instances and self._has_files(cell)

    def _let_users_live(self, level: LevelPlan, cells: Sequence[Cell]) -> None:
        """A Locust file's users live from the warm-up to the last slice, so one server after the other."""
        rounds_s = [0.0] * level.rounds
        for position, cell in enumerate(round_order(self._plan, self._number, level, 0)):
            if cell not in cells or cell.subject.id not in self._instances:
                continue
            if _key(cell) in self._known.unusable:
                continue
            try:
                self._observer.stage(f"{level.id}: {cell.subject.id} warming up")
                self._load.spawn([self._load_cell(cell)])
                self._check_sources()
                self._warm_up(level, [cell], paced=False)
                for round_number in range(level.rounds):
                    if (instance := self._instances.get(cell.subject.id)) is None:
                        break
                    began = time.monotonic()
                    self._observer.stage(
                        f"{level.id}: {cell.subject.id}, slice {round_number + 1} of {level.rounds}"
                    )
                    last = round_number == level.rounds - 1
                    place = Place(self._number, round_number, position, last)
                    row = self._take(cell, instance, place)
                    self._keep(row, closely=last)
                    rounds_s[round_number] += time.monotonic() - began
            except CellError as error:
                self._known.unusable.add(_key(cell))
                self._fail(cell.subject, ServerFailure("load", str(error)), cell)
            finally:
                self._load.stop()
            self._flush_in_time()
        self.spent.round_s.setdefault(level.id, []).extend(rounds_s)

    def _warm_up(self, level: LevelPlan, cells: Sequence[Cell], *, paced: bool) -> None:
        """Unmeasured load; a search learns from a closed loop where to begin.

        Args:
            level: which.
            cells: those of it whose connections are there.
            paced: whether the level's rate is kept to.
        """
        began = time.monotonic()
        for cell in cells:
            if cell.subject.id not in self._instances:
                continue
            self._load.prepare(cell.subject.id)
            arrivals = self._arrivals(level, cell, -1) if paced else None
            result = self._load.run_slice(cell.subject.id, cell.workload.warmup_s, arrivals)
            if level.level.objective:
                self._searches[cell.subject.id] = Search(result.counted / result.counted_s)
            self._check_alive(cell)
        self.spent.warmed_s += time.monotonic() - began
        # Some servers start more processes under load, as Apache does; they belong to them from then on.
        for cell in cells:
            if (instance := self._instances.get(cell.subject.id)) is not None:
                instance.settle()

    def _round(self, level: LevelPlan, round_number: int, cells: Sequence[Cell], *, last: bool) -> None:
        began = time.monotonic()
        for position, cell in enumerate(round_order(self._plan, self._number, level, round_number)):
            instance = self._instances.get(cell.subject.id)
            if instance is None or cell not in cells:
                continue
            row = self._take(
                cell,
                instance,
                Place(self._number, round_number, position, last),
                arrivals=self._arrivals(level, cell, round_number),
            )
            if level.level.objective:
                met = keeps_to(level.level.objective, row.result)
                if not row.disturbed:  # else the rate is tried again
                    self._searches[cell.subject.id].step(met=met)
                row = replace(row, objective_met=met)
            self._keep(row, closely=last)
        self.spent.round_s.setdefault(level.id, []).append(time.monotonic() - began)
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        """Between rounds, where it takes no time from a slice; writing much at once takes much memory."""
        waited_s = time.monotonic() - self._flushed
        if waited_s > FLUSH_INTERVAL_S or self._record.pending > FLUSH_COUNTS:
            self._record.flush()
            self._flushed = time.monotonic()

    def _hold_idle(self, level: LevelPlan) -> None:
        """One server after the other holds more and more connections that carry nothing."""
        began = time.monotonic()
        for position, cell in enumerate(round_order(self._plan, self._number, level, 0)):
            if cell.subject.id not in self._instances or not self._has_files(cell):
                continue
            try:
                with self._fresh(cell.subject) as instance:
                    for step, connections in enumerate(level.workload.steps):
                        self._observer.stage(
                            f"{level.id}: {cell.subject.id} with {connections:,} connections"
                        )
                        place = Place(self._number, step, position, last=True)
                        self._hold_step(cell, instance, place, connections)
            except ServerFailure as failure:
                self._fail(cell.subject, failure, cell)
        self.spent.round_s.setdefault(level.id, []).append(time.monotonic() - began)

    @contextmanager
    def _fresh(self, subject: Subject) -> Iterator[Instance]:
        """A server of its own: one that was under load before has free memory to give to connections."""
        instance = start_one(self._means.runner, self._launch(subject, "-idle"))
        try:
            scope, asks = self._scopes.get(subject.id), self._asks.get(subject.id, ())
            hold_to_contract(instance, self._means.site, thorough=False, scope=scope, asks=asks)
            yield instance
        finally:
            self._end([instance])

    def _take(
        self,
        cell: Cell,
        instance: Instance,
        place: Place,
        *,
        arrivals: Arrivals | None = None,
        connections: int | None = None,
    ) -> SliceRow:
        row = take_slice(
            self._load,
            cell,
            instance,
            place,
            around=self._around(instance),
            strangers=self._strangers,
            arrivals=arrivals,
            connections=connections,
        )
        self.spent.slices += 1
        self.spent.shared += row.observed.shared
        return row

    def _hold_step(self, cell: Cell, instance: Instance, place: Place, connections: int) -> None:
        self._load.spawn([load_cell(cell, instance, self._means.contract, connections=connections)])
        try:
            row = self._take(cell, instance, place, connections=connections)
        finally:
            self._load.stop()
        self._record.add(row)
        self.spent.load_s += row.result.elapsed_s
        self._observer.measured(cell, row.result)
        if fault := instance.fault(closely=True):
            raise failed(instance, "died", fault)

    def _around(self, instance: Instance) -> Around:
        cores = self._means.cores
        neighbours = [each for each in self._instances.values() if each.subject.id != instance.subject.id]
        return Around((*cores.server, *cores.engine), cores.server, neighbours)

    def _keep(self, row: SliceRow, *, closely: bool) -> None:
        self._record.add(row)
        self.spent.load_s += row.result.elapsed_s
        self._observer.measured(row.cell, row.result)
        if row.result.workers_missing > self._missing:
            self._missing = row.result.workers_missing
            self._observer.note(
                f"{counted(self._missing, 'Locust worker')} gave no count, or a late one, under "
                f"{row.cell.workload.name}; such cells are invalid. logs/load.log says more"
            )
        if any(row.result.failures.values()):
            self._tell_of_the_database(row.cell.subject)
        self._check_alive(row.cell, closely=closely)

    def _tell_of_the_database(self, subject: Subject) -> None:
        """Why it refused connections, where requests failed."""
        instance = self._instances.get(subject.id)
        for complaint in instance.complaints() if instance is not None else ():
            text = f"{subject.id}: requests failed, and the database said: {complaint}"
            if text not in self._told:
                self._told.add(text)
                self._record.event("notice", block=self._number, subject=subject.id, text=text)
                self._observer.note(text)

    def _arrivals(self, level: LevelPlan, cell: Cell, round_number: int) -> Arrivals | None:
        """When to send: in a round the same for every cell, but for a search. None in a closed loop."""
        rate_per_s = level.level.rate_per_s
        if level.level.objective:
            rate_per_s = self._searches[cell.subject.id].rate_per_s
        if rate_per_s is None:
            return None
        seed = arrival_seed(self._plan, self._number, level, round_number)
        return Arrivals(rate_per_s, cell.workload.arrivals, seed)

    def _has_files(self, cell: Cell) -> bool:
        """Whether server and engine may have as many files open as the level needs; notes it where not."""
        needed = cell.level.connections + SPARE_FILES
        limits = {
            "the server": self._instances[cell.subject.id].open_files(),
            "the engine": self._means.open_files,
        }
        short = [f"{who} may open {limit:,}" for who, limit in limits.items() if limit and limit < needed]
        if short:
            text = (
                f"{cell.level.connections:,} connections need {needed:,} open files; {' and '.join(short)}."
            )
            advice = "Raise it (ulimit -n; of containers, the engine's default-ulimits) and start again"
            self._fail(cell.subject, ServerFailure("files", f"{text} {advice}"), cell)
        return not short

    def _load_cell(self, cell: Cell) -> LoadCell:
        return load_cell(cell, self._instances[cell.subject.id], self._means.contract)

    def _check_alive(self, cell: Cell, *, closely: bool = False) -> None:
        instance = self._instances.get(cell.subject.id)
        if instance is None:
            return
        if fault := instance.fault(closely=closely) or instance.database_fault():
            self._fail(cell.subject, failed(instance, "died", fault), cell)
            self._drop(instance)

    def _fail(self, subject: Subject, failure: ServerFailure, cell: Cell | None = None) -> None:
        self._record.event(
            "failed",
            block=self._number,
            subject=subject.id,
            workload=cell.workload.name if cell else None,
            level=cell.level.id if cell else None,
            code=failure.code,
            text=failure.text,
        )
        where = f" under {cell.workload.name}/{cell.level.id}" if cell else ""
        self._observer.note(f"{subject.id} failed in block {self._number + 1}{where}: {failure}")

    def _drop(self, instance: Instance) -> None:
        del self._instances[instance.subject.id]
        self._end([instance])

    def _end(self, instances: Sequence[Instance]) -> None:
        if not instances:
            return
        self._means.runner.stop(instances)
        for instance in instances:
            if facts := instance.facts():
                self._record.event("ended", block=self._number, subject=instance.subject.id, **facts)


def _key(cell: Cell) -> tuple[str, str, str]:
    return cell.subject.id, cell.workload.name, cell.level.id
