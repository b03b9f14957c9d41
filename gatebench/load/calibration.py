"""How much the load engine can do on this machine, and the rates that follow for ladders."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from gatebench.contract.site import wait_until_accepting
from gatebench.load.backend import Means, Responder
from gatebench.load.process import LoadCell
from gatebench.load.slicing import others
from gatebench.load.targets import load_cell
from gatebench.machine.kernel import core_time, fresh_port
from gatebench.machine.processes import OWNER_VARIABLE, Owner, cpu_s
from gatebench.results.columns import SHARED_LIMIT
from gatebench.results.schema import NULL_RESPONDER, CeilingMeta
from gatebench.runners.base import Counters, Launch, start_one
from gatebench.runners.readiness import asks_of, hold_to_contract
from gatebench.words.errors import GatebenchError, ServerFailure
from gatebench.words.model import Cell, Level, Subject, Workload
from gatebench.words.paths import HOST
from loadtests.engine.protocol import Target
from loadtests.engine.tally import SliceResult

READY_TIMEOUT_S = 20.0
STOP_GRACE_S = 2.0
WARMUP_S = 0.1
WINDOW_S = 0.2
SLICES = 4
"""With the warm-up, about a second a level: enough to know a limit that figures may come within half of."""
MOST_SLICES = 12
"""So many at most, where others disturb some: another two seconds a level."""
AGREEING = 0.9
"""A ceiling is a maximum. It is known once the second best slice comes so near to the best."""
AT_ITS_LIMIT = 0.85
"""A share of a core from which on a side is called the limit: that of the gate `generator-busy`."""
MIB = 1 << 20


class Load(Protocol):
    """What drives the connections; `gatebench.load.process.LoadProcess` in a run."""

    def spawn(self, cells: Sequence[LoadCell]) -> None:
        """Opens the connections of these cells."""

    def prepare(self, cell: str) -> None:
        """Untimed: connects what is not connected."""

    def run_slice(self, cell: str, window_s: float) -> SliceResult:
        """Drives the cell's connections in a closed loop for `window_s` seconds and drains them."""

    def stop(self) -> None:
        """Closes every connection."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One closed-loop load whose ceiling is to be found.

    Attributes:
        target: the request and its answer; host and port are replaced by the responder's.
    """

    workload: str
    level: str
    connections: int
    target: Target


class Ceiling(CeilingMeta):
    """What the engine reached against the null responder.

    Attributes:
        mib_per_s: MiB per second over the wire, both ways, heads included; the median over the slices.
    """

    engine_busy_share: float
    connections: int
    mib_per_s: float

    @property
    def limit(self) -> str:
        """What the rate was limited by: `engine`, `responder`, `both` or `neither`."""
        engine = self.engine_busy_share >= AT_ITS_LIMIT
        responder = self.responder_cpu_share is not None and self.responder_cpu_share >= AT_ITS_LIMIT
        if engine and responder:
            return "both"
        return "engine" if engine else "responder" if responder else "neither"


@dataclass(frozen=True, slots=True)
class ResponderProcess:
    """The lab's own null responder, as a process of this machine."""

    pid: int
    port: int
    log: Path
    name: str = NULL_RESPONDER
    host: str = HOST

    def cpu_s(self) -> float:
        """CPU seconds that it has used.

        Raises:
            GatebenchError: it has ended; with its last lines.
        """
        try:
            return cpu_s([self.pid])
        except ProcessLookupError as error:
            raise GatebenchError(f"the null responder ended; {_last_lines(self.log)}") from error


@contextmanager
def null_responder(*, core: int | None, owner: Owner, log: Path) -> Iterator[ResponderProcess]:
    """Runs a null responder (`loadtests.null_server`), which ends with the block.

    Args:
        core: the core that it is pinned to, or None.
        owner: the lab whose mark it carries.
        log: file for what it prints.

    Raises:
        GatebenchError: it did not get ready; with its last lines.
    """
    port = fresh_port(HOST, set())
    command = [sys.executable, "-m", "loadtests.null_server", "--port", str(port)]
    if core is not None:
        command += ["--cpu", str(core)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, OWNER_VARIABLE: str(owner)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_accepting(HOST, port, deadline_s=READY_TIMEOUT_S, alive=lambda: process.poll() is None)
        yield ResponderProcess(process.pid, port, log)
    except ServerFailure as failure:
        raise GatebenchError(f"the null responder: {failure.text}; {_last_lines(log)}") from failure
    finally:
        process.terminate()
        try:
            process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def calibrate(
    load: Load,
    probes: Sequence[Probe],
    responder_of: Callable[[Target], Responder],
    *,
    slices: int = SLICES,
    window_s: float = WINDOW_S,
    responder_cores: Sequence[int] = (),
) -> tuple[Ceiling, ...]:
    """Finds the ceiling of each probe, one after the other, with the load process of the run.

    Args:
        load: which holds no connections now.
        probes: closed loops only; an open one offers what it offers.
        responder_of: which responder answers a target.
        slices: how many are measured of each probe; more, up to `MOST_SLICES`, where these are disturbed.
        window_s: their length in seconds.
        responder_cores: the responders' cores, of this machine; empty where they are elsewhere.

    Raises:
        GatebenchError: the responder ended, or one of its answers was late or wrong: no figure of this lab
            can be trusted then.
    """
    return tuple(
        _ceiling(load, probe, responder_of(probe.target), slices, window_s, responder_cores)
        for probe in probes
    )


def is_disturbed(rates_per_s: Sequence[float], shared: Sequence[bool]) -> bool:
    """Whether slices do not show what the engine can do.

    Args:
        rates_per_s: one a slice; two slices at least can be enough.
        shared: for each, whether others had the responder's core.
    """
    best = sorted(rates_per_s, reverse=True)[:2]
    return len(best) < 2 or best[1] < AGREEING * best[0] or shared.count(False) < 2


def _ceiling(
    load: Load,
    probe: Probe,
    responder: Responder,
    slices: int,
    window_s: float,
    cores: Sequence[int],
) -> Ceiling:
    name = f"{probe.workload}/{probe.level}"
    target = replace(probe.target, host=responder.host, port=responder.port)
    load.spawn([LoadCell(name, probe.connections, target)])
    results: list[SliceResult] = []
    responder_shares: list[float] = []
    rates: list[float] = []
    shared: list[bool] = []
    try:
        load.prepare(name)
        _hold_to_answers(name, load.run_slice(name, WARMUP_S))
        while len(results) < slices or (len(results) < MOST_SLICES and is_disturbed(rates, shared)):
            load.prepare(name)
            core_before, before_s = core_time(cores) if cores else None, responder.cpu_s()
            result = load.run_slice(name, window_s)
            after_s, core_after = responder.cpu_s(), core_time(cores) if cores else None
            had_s, _ = others(Counters(before_s, core=core_before), Counters(after_s, core=core_after), 0.0)
            shared.append(had_s is not None and had_s > SHARED_LIMIT * result.elapsed_s)
            rates.append(result.counted / result.counted_s)
            if before_s is not None and after_s is not None:
                responder_shares.append((after_s - before_s) / result.elapsed_s)
            _hold_to_answers(name, result)
            results.append(result)
    finally:
        load.stop()
    return Ceiling(
        workload=probe.workload,
        level=probe.level,
        connections=probe.connections,
        rates_per_s=tuple(rates),
        mib_per_s=statistics.median(
            (result.bytes_received + result.bytes_sent) / MIB / result.elapsed_s for result in results
        ),
        engine_busy_share=statistics.median(result.busy_share for result in results),
        responder_cpu_share=statistics.median(responder_shares) if responder_shares else None,
        responder=responder.name,
        disturbed=is_disturbed(rates, shared),
    )


def _hold_to_answers(name: str, result: SliceResult) -> None:
    failures = [
        f"{count} {kind}: {result.examples.get(kind)}" for kind, count in result.failures.items() if count
    ]
    if not failures and not result.counted:
        failures = ["not a single answer"]
    if failures:
        raise GatebenchError(
            f"calibration failed under {name}: the null responder always answers at once and right, so the "
            "load engine or this machine is at fault and no figure could be trusted. Try again on a machine "
            "with nothing else to do; `gatebench calibrate` does this part alone:\n" + "\n".join(failures)
        )


def _last_lines(log: Path, count: int = 8) -> str:
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return "\n".join((f"its last lines ({log}):", *lines)) if lines else "it had written nothing"


CAPACITY_SLICES = 10
SLICE_S = 0.2
"""A reference is asked for so many slices in a closed loop, and its capacity is their median."""
RATE_DIGITS = 2
"""A ladder's rates are rounded to so many significant digits: the capacity is no surer."""


def with_rates(
    workloads: Sequence[Workload], references: Mapping[str, Subject], means: Means, *, logs: Path
) -> tuple[tuple[Workload, ...], list[str]]:
    """The workloads with the rates of every ladder filled in, and what a person should know.

    Args:
        workloads: those of the run. A ladder whose reference fails keeps levels without a rate.
        references: workload → the subject whose capacity its rates are shares of.
        means: what to measure with.
        logs: folder for the references' output.
    """
    known: list[Workload] = []
    notes: list[str] = []
    for workload in workloads:
        if not workload.reference:
            known.append(workload)
            continue
        subject = references[workload.name]
        try:
            capacity_per_s = _capacity(Cell(subject, workload, workload.levels[0]), means, logs)
        except ServerFailure as failure:
            notes.append(
                f"{workload.name} has no rates, because its reference {subject.id} failed: {failure}"
            )
            known.append(workload)
            continue
        levels = tuple(_with_rate(level, capacity_per_s) for level in workload.levels)
        rates = ", ".join(f"{level.rate_per_s:,.0f}" for level in levels)
        notes.append(
            f"{workload.name}: {subject.id} answers {capacity_per_s:,.0f} requests/s over "
            f"{levels[0].connections} connections in a closed loop, so the rates are {rates} requests/s"
        )
        known.append(replace(workload, levels=levels))
    return tuple(known), notes


def _with_rate(level: Level, capacity_per_s: float) -> Level:
    rate_per_s = float(f"{capacity_per_s * (level.capacity_share or 0):.{RATE_DIGITS}g}")
    return replace(level, rate_per_s=max(1.0, rate_per_s))


def _capacity(cell: Cell, means: Means, logs: Path) -> float:
    """What a subject answers a second in a closed loop.

    Raises:
        ServerFailure: it could not be started, differs from the contract, or answered nothing.
    """
    log = logs / f"{cell.subject.id}-reference.log"
    instance = start_one(means.runner, Launch(cell.subject, log, hash_seed=1))
    try:
        asks = asks_of([cell]).get(cell.subject.id, ())
        hold_to_contract(instance, means.site, thorough=False, asks=asks)
        means.load.spawn([load_cell(cell, instance, means.contract)])
        try:
            rates = []
            for _ in range(CAPACITY_SLICES):
                means.load.prepare(cell.subject.id)
                result = means.load.run_slice(cell.subject.id, SLICE_S)
                rates.append(result.counted / result.counted_s)
        finally:
            means.load.stop()
    finally:
        means.runner.stop([instance])
    capacity_per_s = statistics.median(rates)
    if not capacity_per_s:
        raise ServerFailure("start", f"{cell.subject.id} answered nothing")
    return capacity_per_s
