"""What a run must know before it can plan: the engine's ceilings, and the capacities of references."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from gatebench.calibrate import Ceiling, Probe, Responder, calibrate
from gatebench.errors import ServerFailure
from gatebench.holding import hold_to_contract
from gatebench.measure import Means
from gatebench.model import Cell, Level, Subject, Workload
from gatebench.runner import HOST, Launch, start_one
from gatebench.targets import load_cell, target_of
from loadtests.engine.target import Target

SLICES = 10
SLICE_S = 0.2
"""A reference is asked for so many slices in a closed loop, and its capacity is their median."""
RATE_DIGITS = 2
"""A ladder's rates are rounded to so many significant digits: the capacity is no surer."""


def ceilings(
    workloads: Sequence[Workload],
    means: Means,
    responders: AbstractContextManager[Callable[[Target], Responder]],
    responder_cores: Sequence[int] = (),
) -> tuple[Ceiling, ...]:
    """What the engine does against the null responder, for every level whose figure it could limit."""
    probes = [
        Probe(workload.name, level.id, level.connections, target_of(workload, level, means.contract, HOST, 0))
        for workload in workloads
        for level in workload.levels
        if level.model == "closed" and not workload.service_s
    ]
    if not probes:
        return ()
    with responders as responder_of:
        return calibrate(means.load, probes, responder_of, responder_cores=responder_cores)


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
        hold_to_contract(instance, means.site, thorough=False)
        means.load.spawn([load_cell(cell, instance, means.contract)])
        try:
            rates = []
            for _ in range(SLICES):
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
