"""From a run's raw data to its result: the status and the figures of every cell, and every comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.cells import cpu_by_block, level_data, totals
from analysis.figures.gates import FIGURES
from analysis.figures.leads import (
    RESPONSE_P50,
    RESPONSE_P90,
    fit,
    lead_metric,
    lead_table,
    leading_figure,
    percentile_table,
    typical_percentiles,
    why_no_lead,
)
from analysis.figures.limits import limit_of, refuses
from analysis.figures.refusals import refusals
from analysis.figures.results import (
    FIGURE_STATUSES,
    LATENCY_NAMES,
    CellResult,
    Judged,
    LevelResult,
    Noise,
    Summary,
)
from analysis.figures.spoilt import is_the_servers, left_out_in_words
from analysis.figures.statistics import (
    LOOKING_SIGNIFICANCE,
    MIN_BLOCKS,
    SIGNIFICANCE,
    Comparison,
    Estimate,
    compare_all,
    least_effect,
    log_rate_table,
    rate,
)
from analysis.figures.steadiness import MIN_ROUNDS, drifts
from analysis.reading.tables import forked_map, together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from analysis.figures.cells import LevelData, Totals
    from analysis.figures.gates import FigureName, Refusal
    from analysis.figures.leads import Metric
    from analysis.figures.results import FigureStatus
    from analysis.figures.steadiness import Drift
    from analysis.reading.run import Failure, Run
    from gatebench.results.schema import LevelPlan, SubjectMeta


MIB = 1 << 20
_WITHOUT_ONE_RATE = {
    "objective": "a search tries many rates, and these would be of a mixture",
    "idle": "idle connections carry nothing",
}
"""Load models whose slices have no throughput and no latencies in common."""


def summarize(run: Run) -> Summary:
    """The result of `run`, complete or cut off; the same data give the same result, in whatever order."""
    return Summary(
        run=run.meta.run,
        runner=run.meta.runner,
        profile=run.meta.profile,
        seed=run.meta.seed,
        levels=tuple(forked_map(partial(_level, run), run.meta.levels)),
    )


def _level(run: Run, plan: LevelPlan) -> LevelResult:
    data = level_data(run, plan)
    workload = run.meta.workload(plan.workload)
    cores = len(run.meta.cores.server) + len(run.meta.cores.engine)
    rates = log_rate_table(data.rated)
    judged = drifts(rates, exclusive=run.meta.exclusive) if plan.model == "closed" else {}
    # All servers of a level have one unit: what the file did with one of them tells what it is.
    named = [run.details.of(subject.id, plan.workload, plan.level) for subject in run.meta.subjects]
    metric = lead_metric(plan, workload, of_messages=together(named).counts_messages)
    added = {subject.id: totals(data, subject.id, workload.transport, cores) for subject in run.meta.subjects}
    limit = limit_of(run, plan, [each.rate_per_s for each in added.values() if each is not None])
    tables = _Tables(rates, lead_table(data), judged, metric, limit if refuses(limit) else None)
    # What a server drove the engine to, the engine can do: calibration was disturbed where it did less.
    fastest = max((each.rate_per_s for each in added.values() if each is not None), default=0.0)
    if plan.ceiling is not None and fastest > plan.ceiling.rate_per_s:
        disturbed = plan.ceiling.replaced(disturbed=True)
        data = replace(data, plan=plan.replaced(ceiling=disturbed))
    every = tuple(_cell(run, data, subject, added[subject.id], tables) for subject in run.meta.subjects)
    level = LevelResult(plan, metric, data.rounds, every, (), limit=limit)
    others = (RESPONSE_P50, RESPONSE_P90) if plan.paced else ()
    percentiles = [_by_percentile(run, data, level, each) for each in others]
    return replace(_compared(run, level, tables.leads), percentiles=tuple(percentiles))


def _by_percentile(run: Run, data: LevelData, level: LevelResult, metric: Metric) -> LevelResult:
    """The level ranked by another percentile than p99: a family of comparisons of its own, as a level is."""
    ranked = replace(
        level,
        metric=metric,
        cells=tuple(_led_by(cell, metric) for cell in level.cells),
        limit=None if level.limit is None else _led_by(level.limit, metric),
    )
    return _compared(run, ranked, percentile_table(data, metric.name))


def _compared(run: Run, level: LevelResult, leads: pd.DataFrame) -> LevelResult:
    """The level without the second copy of a twin, and with what `leads` says of each pair."""
    cells = tuple(cell for cell in level.cells if not run.meta.subject(cell.subject).twin_of)
    valid = [cell.subject for cell in cells if cell.valid and cell.subject in leads]
    twins = _twins(run, level.cells, leads)
    significance = SIGNIFICANCE if run.precision is None else LOOKING_SIGNIFICANCE
    comparisons, of_twins = compare_all(leads, valid, twins, significance)
    noise = _noise(twins[0], of_twins) if twins and of_twins else None
    return replace(level, cells=cells, comparisons=tuple(comparisons), noise=noise)


def _led_by(cell: CellResult, metric: Metric) -> CellResult:
    return replace(cell, lead=cell.typical.get(metric.name))


def _twins(run: Run, cells: tuple[CellResult, ...], leads: pd.DataFrame) -> tuple[str, str] | None:
    """The subject that was measured twice and its second copy; None where either has no valid figure."""
    twin = run.meta.twin
    if twin is None:
        return None
    valid = {cell.subject for cell in cells if cell.valid and cell.subject in leads}
    return (twin.original, twin.id) if {twin.id, twin.original} <= valid else None


def _noise(subject: str, twins: Comparison) -> Noise | None:
    """What the pair of the twins says of its level; None where they have too few blocks."""
    if twins.verdict == "not enough data":
        return None
    return Noise(subject, least_effect(twins), twins.ratio, twins.low, twins.high)


@dataclass(frozen=True, slots=True)
class _Tables:
    """Logarithms of a level's rates and leading figures: a row a (block, round), a column a subject.

    Attributes:
        drifts: how each subject's rate moves within blocks, of those for which that can be told.
        metric: what the leading figures are.
        limit: what they are held against by the gate `ceiling`.
    """

    rates: pd.DataFrame
    leads: pd.DataFrame
    drifts: Mapping[str, Drift]
    metric: Metric
    limit: CellResult | None


def _cell(
    run: Run, data: LevelData, subject: SubjectMeta, added: Totals | None, tables: _Tables
) -> CellResult:
    plan = data.plan
    workload = run.meta.workload(plan.workload)
    if why := run.meta.why_unsupported(subject, workload):
        return _empty(plan, subject, "unsupported", f"unsupported: {why}")
    if not subject.ready:
        return _empty(plan, subject, "unavailable", f"unavailable: {subject.reason}")
    failures = [failure for failure in run.failures if _concerns(failure, plan, subject.id)]
    if failures:
        return _failed(run, plan, subject, failures, added)
    if added is None:
        return _unmeasured(run, plan, subject)
    slices = data.slices[data.slices["subject"] == subject.id]
    details = run.details.of(subject.id, plan.workload, plan.level, {int(each) for each in slices["block"]})
    drift = tables.drifts.get(subject.id)
    found = refusals(
        added, workload, plan, run.meta.server_cores, drift, details, tables.limit, run.meta.database_cores
    )
    judged = judge(found, plan)
    kept = {name for name, each in judged.items() if each.status != "withheld"}
    timed = plan.model not in _WITHOUT_ONE_RATE
    percentiles = timed and "latency_us" in kept
    nothing = dict.fromkeys(LATENCY_NAMES)
    with_rate = timed and "rps" in kept and subject.id in tables.rates
    estimate = rate(tables.rates[subject.id]) if with_rate else None
    measured = rate(tables.leads[subject.id]) if subject.id in tables.leads else None
    reasons = [refusal.reason for refusal in found]
    reasons += [f"left-out: {why}" for why in left_out_in_words(added, plan, run.meta.server_cores)]
    if plan.ceiling is not None and plan.ceiling.disturbed:
        reasons.append(
            "not-measured: what the engine can do: its calibration was disturbed "
            f"({plan.ceiling.rate_per_s:,.0f} a second), so no figure is refused for being near to it"
        )
    full = is_the_servers(added, run.meta.server_cores)
    if plan.model == "closed" and workload.says_its_answers and not full:
        reasons.append(
            "not-measured: what the engine can do: no null responder gives answers that a workload says or "
            "learns itself, so no figure is refused for being near to it"
        )
    reasons += _notes(data, added, measured, tables.metric)
    if plan.model == "closed" and subject.id not in tables.drifts:
        reasons.append(f"not-measured: steadiness needs {MIN_BLOCKS} blocks with {MIN_ROUNDS} rounds")
    if run.meta.in_containers:
        reasons += _container_notes(added)
    cpu = added.cpu_us_per_request if "cpu_us_per_request" in kept else None
    memory_kept = "memory_mib" in kept
    return CellResult(
        **_identity(plan, subject),
        status=min((each.status for each in judged.values()), key=FIGURE_STATUSES.index),
        reasons=tuple(reasons),
        blocks=added.blocks,
        requests=added.requests,
        errors=added.errors,
        rps=estimate,
        lead=measured if leading_figure(plan) in kept else None,
        latency_us=added.percentiles.values if percentiles else nothing,
        typical=typical_percentiles(data, subject.id) if plan.paced and percentiles else {},
        service_us=added.service.values if percentiles else nothing,
        last_us=added.last.values if percentiles else nothing,
        mib_per_s=estimate.estimate * workload.body_bytes / MIB if estimate and workload.body_bytes else None,
        fit=fit(slices) if plan.model == "idle" and memory_kept else None,
        requests_per_connection=added.requests_per_connection,
        cpu=None if cpu is None else _cpu(cpu, slices, added.blocks),
        memory_mib=added.memory_mib if memory_kept else None,
        memory_peak_mib=added.memory_peak_mib if memory_kept else None,
        details=details,
        figures=judged,
    )


def judge(found: Sequence[Refusal], plan: LevelPlan) -> dict[FigureName, Judged]:
    """What the gates that a cell failed say of each of its figures.

    A search rests on response times, and the memory of idle connections on how many there were: there, what
    spoils the one or the other spoils the leading figure too.
    """
    judged: dict[FigureName, Judged] = {}
    for name in FIGURES:
        derived = name == leading_figure(plan) and plan.model in _WITHOUT_ONE_RATE
        withheld = [each for each in found if name in each.withholds or (derived and each.withholds)]
        limited = [each for each in found if name in each.limits or (derived and each.limits)]
        status: FigureStatus = "withheld" if withheld else "limited" if limited else "ok"
        reasons = dict.fromkeys(each.reason for each in (*withheld, *limited))
        judged[name] = Judged(status, tuple(reasons))
    return judged


def _cpu(cpu_us: float, slices: pd.DataFrame, blocks: int) -> Estimate:
    """CPU time a request over all slices, with the interval over blocks where there is one."""
    by_block = cpu_by_block(slices)
    over = rate(np.log(by_block.iloc[:, 0])) if by_block.size else None
    return Estimate(cpu_us, over.low if over else None, over.high if over else None, blocks)


def _concerns(failure: Failure, plan: LevelPlan, subject: str) -> bool:
    """Whether a failure is this cell's own: in this cell, or before the subject's first slice of a block."""
    if failure.subject != subject:
        return False
    return failure.workload in {None, plan.workload} and failure.level in {None, plan.level}


def _failed(
    run: Run, plan: LevelPlan, subject: SubjectMeta, failures: list[Failure], added: Totals | None
) -> CellResult:
    """A cell whose server failed in any block, even where others went well.

    The blocks that it survived are a selection, so no figure is published from them; the raw data keep them.
    """
    blocks = added.blocks if added else 0
    reasons = [f"{failure.code}: block {failure.block + 1}: {failure.text}" for failure in failures]
    planned = run.meta.blocks
    reasons.append(
        f"not-measured: {blocks} of {planned} blocks have data; a server that failed in one has no figures"
    )
    return CellResult(
        **_identity(plan, subject),
        status="failed",
        reasons=tuple(reasons),
        blocks=blocks,
        requests=added.requests if added else None,
        errors=added.errors if added else None,
        details=run.details.of(subject.id, plan.workload, plan.level),
    )


def _unmeasured(run: Run, plan: LevelPlan, subject: SubjectMeta) -> CellResult:
    """A cell without slices whose subject was ready: it failed in another cell, or the run ended too soon."""
    elsewhere = [failure for failure in run.failures if failure.subject == subject.id]
    if elsewhere:
        first = elsewhere[0]
        reason = (
            f"{first.code}: the server failed in {first.workload} before this workload's turn: {first.text}"
        )
        return _empty(plan, subject, "failed", reason)
    if plan.model == "ladder" and plan.rate_per_s is None:
        reference = run.meta.workload(plan.workload).reference
        reason = f"not-measured: the rate is a share of what {reference} does, which could not be measured"
        return _empty(plan, subject, "unavailable", reason)
    return _empty(plan, subject, "unavailable", "not-measured: the run has not come to this cell")


def _empty(plan: LevelPlan, subject: SubjectMeta, status: Any, reason: str) -> CellResult:
    return CellResult(**_identity(plan, subject), status=status, reasons=(reason,))


def _identity(plan: LevelPlan, subject: SubjectMeta) -> dict[str, Any]:
    return {
        "subject": subject.id,
        "server": subject.server,
        "app": subject.app,
        "interface": subject.interface,
        "workload": plan.workload,
        "level": plan.level,
        "leading": leading_figure(plan),
        "loop": subject.loop,
    }


def _notes(data: LevelData, added: Totals, lead: Estimate | None, metric: Metric) -> list[str]:
    """Why single figures of a measured cell are None, and what else its reader must know."""
    notes: list[str] = []
    if data.partial:
        notes.append("partial-block: no block was finished; the figures rest on a part of the first")
    every = data.every
    # A block of which all slices are left out is not missing: `left-out` speaks of it.
    present = int(every.loc[every["subject"] == added.subject, "block"].nunique())
    if present < int(every["block"].nunique()):
        notes.append(f"missing-blocks: {added.blocks} of {data.blocks} blocks have slices of this cell")
    if lead is not None and lead.low is None:
        notes.append(f"too-few-blocks: an interval and a ranking need {MIN_BLOCKS} blocks, not {lead.blocks}")
    if lead is None:
        why = why_no_lead(data.plan.model) if added.requests else "not one answer was correct"
        notes.append(f"not-measured: {metric.label}: {why}")
    without = _WITHOUT_ONE_RATE.get(data.plan.model)
    if without:
        notes.append(f"not-measured: throughput and latencies: {without}")
    else:
        where = " (all blocks together)" if data.plan.paced else ""
        notes.extend(f"{reason}{where}" for reason in added.percentiles.reasons)
        if added.service.samples:
            notes.extend(f"{reason} (service time{where})" for reason in added.service.reasons)
    if added.last.samples:
        notes.extend(f"{reason} (last subscriber)" for reason in added.last.reasons)
    if added.cpu_us_per_request is None and data.plan.model != "idle":
        unread = "the server's CPU time could not be read, nor whether it was idle"
        notes.append(f"not-measured: {unread if added.requests else 'CPU a request: no answer was correct'}")
    if added.memory_mib is None:
        notes.append("not-measured: the server's memory could not be read")
    if added.requests_per_connection is None:
        notes.append("not-measured: no connection was opened")
    return notes


def _container_notes(added: Totals) -> list[str]:
    """What could not be read of a server's container; processes have no such figures."""
    notes: list[str] = []
    if added.throttled_share is None:
        notes.append("not-measured: whether a CPU quota held up the server's container could not be read")
    if added.memory_peak_mib is None:
        notes.append("not-measured: the most memory that the server's container had could not be read")
    return notes
