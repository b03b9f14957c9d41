"""Measures one block: starts every server, holds it to the contract, drives the slices, ends every server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from gatebench.contract import Contract
from gatebench.errors import ServerFailure
from gatebench.kernel import listen_drops
from gatebench.load import LoadProcess
from gatebench.model import Cell, Subject
from gatebench.plan import LevelPlan, Plan, hash_seed, level_order, round_order
from gatebench.record import Record, SliceRow
from gatebench.runner import Instance, Runner
from gatebench.verify import Difference, verify, wait_until_accepting
from loadtests.engine.tally import SliceResult
from loadtests.engine.target import Target

Number = TypeVar("Number", int, float)

READY_TIMEOUT_S = 30.0
CASE_TIMEOUT_S = 10.0
FLUSH_INTERVAL_S = 10.0
VERIFY_THREADS = 4


class Observer(Protocol):
    """Hears of a run's progress."""

    def note(self, text: str) -> None:
        """Something a person should know, such as a server that failed."""

    def stage(self, text: str) -> None:
        """What is being done now."""

    def measured(self, cell: Cell, result: SliceResult) -> None:
        """One slice more."""

    def block_finished(self, done: int, blocks: int, elapsed_s: float) -> None:
        """`done` of `blocks` blocks were measured in `elapsed_s` seconds."""


@dataclass(slots=True)
class Spent:
    """Where a block's wall time went, in seconds."""

    started_s: float = 0.0
    load_s: float = 0.0
    round_s: dict[str, list[float]] = field(default_factory=dict)


def describe(differences: Sequence[Difference]) -> str:
    """Every difference from the contract, a line each."""
    return "\n".join(
        f"{each.case}: {each.aspect}: expected {each.expected}, got {each.got}" for each in differences
    )


def target_of(cell: Cell, instance: Instance, contract: Contract) -> Target:
    """What the engine sends to an instance for a cell, and what it must get back."""
    request, transport = cell.workload.request, cell.workload.transport
    if transport == "websocket":
        return Target(
            instance.host, instance.port, transport, path=request.path, message_bytes=request.message_bytes
        )
    expected = contract.expect(request.method, request.path, request.body)
    return Target(
        instance.host,
        instance.port,
        transport,
        method=request.method,
        path=request.path,
        body=request.body,
        status=expected.status,
        headers=dict(expected.headers),
        answer=expected.body,
    )


def hold_to_contract(instance: Instance, contract: Contract, *, thorough: bool) -> None:
    """Waits until a server answers, and holds it to the contract.

    Raises:
        ServerFailure: it never got ready, ended, or differs from the contract; with its last log lines.
    """
    variant = instance.subject.variant
    try:
        wait_until_accepting(
            instance.host,
            instance.port,
            deadline_s=READY_TIMEOUT_S,
            alive=lambda: not instance.fault(),
        )
    except ServerFailure as failure:
        raise failed(
            instance, failure.code, "\n".join(filter(None, (failure.text, instance.fault())))
        ) from failure
    differences = verify(
        variant.interface,
        variant.supports,
        instance.host,
        instance.port,
        contract,
        thorough=thorough,
        timeout_s=CASE_TIMEOUT_S,
    )
    # First of all whether it is this server that answered: a port can be somebody else's by now.
    if fault := instance.fault():
        raise failed(instance, "died", fault)
    if differences:
        raise failed(instance, "contract", describe(differences))
    instance.settle()


def hold_all_to_contract(
    instances: Sequence[Instance], contract: Contract, *, thorough: bool
) -> list[tuple[Instance, ServerFailure]]:
    """Holds several servers to the contract at the same time; returns those that fail."""
    pool = ThreadPoolExecutor(VERIFY_THREADS)
    try:
        checks = [
            (instance, pool.submit(hold_to_contract, instance, contract, thorough=thorough))
            for instance in instances
        ]
        failures = []
        for instance, check in checks:
            error = check.exception()
            if isinstance(error, ServerFailure):
                failures.append((instance, error))
            elif error is not None:
                raise error
        return failures
    finally:
        # After an interruption nobody waits for the checks: they fail when their servers are ended.
        pool.shutdown(wait=False, cancel_futures=True)


def failed(instance: Instance, code: str, text: str) -> ServerFailure:
    """A failure with the server's last lines below it."""
    tail = instance.log_tail()
    return ServerFailure(code, f"{text}\nlast lines of {instance.log.name}:\n{tail}" if tail else text)


def difference(after: Number | None, before: Number | None) -> Number | None:
    """What a counter gained, or None where it could not be read."""
    return None if after is None or before is None else after - before


def cpu_s_or_none(instance: Instance) -> float | None:
    """CPU seconds used so far, or None when a process of the server is gone."""
    try:
        return instance.cpu_s()
    except ProcessLookupError:
        return None


class Block:
    """One block of a run: fresh servers, then rounds of slices on each level."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        *,
        runner: Runner,
        load: LoadProcess,
        contract: Contract,
        record: Record,
        observer: Observer,
    ) -> None:
        self._number = number
        self._plan = plan
        self._runner = runner
        self._load = load
        self._contract = contract
        self._record = record
        self._observer = observer
        self._instances: dict[str, Instance] = {}
        self._flushed = time.monotonic()
        self.spent = Spent()

    def run(self, groups: Sequence[Sequence[Subject]], before_load: Callable[[], None]) -> None:
        """Measures the block; whatever ends it, every server is ended and every slice is written.

        Args:
            groups: subjects that are up at the same time; one group after the other.
            before_load: called when a group's servers are ready and its load has not begun.
        """
        for subjects in groups:
            try:
                began = time.monotonic()
                self._start(subjects)
                before_load()
                self.spent.started_s += time.monotonic() - began
                for level in level_order(self._plan, self._number):
                    self._measure(level)
            finally:
                try:
                    self._record.flush()
                finally:
                    self._end(tuple(self._instances.values()))
                    self._instances.clear()

    def _start(self, subjects: Sequence[Subject]) -> None:
        self._observer.stage(f"starting {len(subjects)} servers")
        for subject in subjects:
            log = self._record.logs / f"{subject.id}-b{self._number}.log"
            seed = hash_seed(self._plan, self._number, subject.id)
            try:
                instance = self._runner.start(subject, log=log, hash_seed=seed)
            except ServerFailure as failure:
                self._fail(subject, failure)
                continue
            self._instances[subject.id] = instance
            self._record.event(
                "argv", block=self._number, subject=subject.id, argv=instance.argv, port=instance.port
            )
        self._observer.stage("holding every server to the contract")
        failures = hold_all_to_contract(tuple(self._instances.values()), self._contract, thorough=False)
        for instance, differing in failures:
            self._fail(instance.subject, differing)
            del self._instances[instance.subject.id]
        self._end([instance for instance, _ in failures])

    def _measure(self, level: LevelPlan) -> None:
        cells = [cell for cell in level.cells if cell.subject.id in self._instances]
        if not cells:
            return
        self._observer.stage(f"{level.id}: warming up")
        self._load.spawn([(cell.subject.id, self._target(cell), cell.level.connections) for cell in cells])
        try:
            for cell in cells:
                self._load.prepare(cell.subject.id)
                self._load.run_slice(cell.subject.id, cell.workload.warmup_s)
                self._check_alive(cell)
            for round_number in range(level.rounds):
                self._observer.stage(f"{level.id}: round {round_number + 1} of {level.rounds}")
                self._round(level, round_number, last=round_number == level.rounds - 1)
        finally:
            self._load.stop()

    def _round(self, level: LevelPlan, round_number: int, *, last: bool) -> None:
        began = time.monotonic()
        for position, cell in enumerate(round_order(self._plan, self._number, level, round_number)):
            instance = self._instances.get(cell.subject.id)
            if instance is None:
                continue
            self._load.prepare(cell.subject.id)
            drops_before = listen_drops()
            before_s = cpu_s_or_none(instance)
            result = self._load.run_slice(cell.subject.id, cell.workload.slice_s)
            after_s = cpu_s_or_none(instance)
            row = SliceRow(
                self._number,
                round_number,
                position,
                cell,
                result,
                server_cpu_s=difference(after_s, before_s),
                server_memory_mib=instance.memory_mib() if last else None,
                listen_drops=difference(listen_drops(), drops_before),
            )
            self._record.add(row)
            self.spent.load_s += result.elapsed_s
            self._observer.measured(cell, result)
            self._check_alive(cell)
        self.spent.round_s.setdefault(level.id, []).append(time.monotonic() - began)
        if time.monotonic() - self._flushed > FLUSH_INTERVAL_S:
            self._record.flush()
            self._flushed = time.monotonic()

    def _target(self, cell: Cell) -> Target:
        return target_of(cell, self._instances[cell.subject.id], self._contract)

    def _check_alive(self, cell: Cell) -> None:
        instance = self._instances.get(cell.subject.id)
        if instance is not None and (fault := instance.fault()):
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

    @staticmethod
    def _end(instances: Sequence[Instance]) -> None:
        for instance in instances:
            instance.begin_stop()
        for instance in instances:
            instance.finish_stop()
