"""From a run's raw data to its result: the status and the figures of every cell, and every comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.cells import level_data, totals
from analysis.gates import refusals
from analysis.results import CellResult, LevelResult, Summary
from analysis.statistics import MIN_EFFECT, Comparison, Estimate, compare_all, log_rate_table, rate

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cells import LevelData, Totals
    from analysis.load import Failure, Run
    from analysis.meta import LevelPlan, SubjectMeta

SCHEMA = 1
_DIGITS = 6
"""Significant digits in the file: more than any figure has, few enough to read."""


def summarize(run: Run, noise_band: float = MIN_EFFECT) -> Summary:
    """The result of `run`; the same data give the same result, whatever order its parts are in.

    Args:
        run: complete or cut off.
        noise_band: the run's own A/A noise as a ratio over 1; effects within it are ties.
    """
    return Summary(
        run=run.meta.run,
        runner=run.meta.runner,
        profile=run.meta.profile,
        seed=run.meta.seed,
        levels=tuple(_level(run, plan, noise_band) for plan in run.meta.levels),
    )


def _level(run: Run, plan: LevelPlan, noise_band: float) -> LevelResult:
    data = level_data(run, plan)
    transport = run.meta.workload(plan.workload).transport
    rates = log_rate_table(data.slices)
    cells = tuple(
        _cell(run, data, subject, totals(data, subject.id, transport), rates) for subject in run.meta.subjects
    )
    valid = [cell.subject for cell in cells if cell.status == "ok"]
    comparisons = tuple(compare_all(rates, valid, noise_band))
    return LevelResult(plan.workload, plan.level, plan.connections, data.rounds, cells, comparisons)


def _cell(
    run: Run, data: LevelData, subject: SubjectMeta, added: Totals | None, rates: pd.DataFrame
) -> CellResult:
    plan = data.plan
    workload = run.meta.workload(plan.workload)
    missing = sorted(workload.needs - subject.supports)
    if missing:
        needs = " and ".join(missing)
        return _empty(plan, subject, "unsupported", f"unsupported: {subject.id} does not declare {needs}")
    if not subject.ready:
        return _empty(plan, subject, "unavailable", f"unavailable: {subject.reason}")
    failures = [failure for failure in run.failures if _concerns(failure, plan, subject.id)]
    if failures:
        return _failed(run, plan, subject, failures, added)
    if added is None:
        return _unmeasured(run, plan, subject)
    found = refusals(added, workload, plan, run.meta.server_cores)
    estimate = rate(rates[subject.id])
    reasons = [refusal.reason for refusal in found]
    reasons += _notes(data, added, estimate)
    return CellResult(
        **_identity(plan, subject),
        status="invalid" if found else "ok",
        reasons=tuple(reasons),
        blocks=added.blocks,
        requests=added.requests,
        errors=added.errors,
        rps=estimate,
        latency_us=added.percentiles.values,
        requests_per_connection=added.requests_per_connection,
        cpu_us_per_request=added.cpu_us_per_request,
        memory_mib=added.memory_mib,
    )


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
    }


def _notes(data: LevelData, added: Totals, estimate: Estimate | None) -> list[str]:
    """Why single figures of a measured cell are None, and what else its reader must know."""
    notes: list[str] = []
    if data.partial:
        notes.append("partial-block: no block was finished; the figures rest on a part of the first")
    if added.blocks < data.blocks:
        notes.append(f"missing-blocks: {added.blocks} of {data.blocks} blocks have slices of this cell")
    if estimate is not None and estimate.low is None:
        notes.append("too-few-blocks: an interval needs 2 blocks, a ranking 3; this is 1 block")
    notes.extend(added.percentiles.reasons)
    if added.cpu_us_per_request is None:
        notes.append("not-measured: the server's CPU time could not be read, nor whether it was idle")
    if added.memory_mib is None:
        notes.append("not-measured: the server's memory could not be read")
    if added.requests_per_connection is None:
        notes.append("not-measured: no connection was opened")
    return notes


def as_json(summary: Summary) -> dict[str, Any]:
    """The content of `summary.json`, schema 1."""
    return {
        "schema": SCHEMA,
        "run": summary.run,
        "runner": summary.runner,
        "profile": summary.profile,
        "seed": summary.seed,
        "cells": [_cell_json(cell) for cell in summary.cells],
        "comparisons": [
            _comparison_json(level, pair) for level in summary.levels for pair in level.comparisons
        ],
        "claims": [],
    }


def _cell_json(cell: CellResult) -> dict[str, Any]:
    rps = cell.rps
    return {
        "subject": cell.subject,
        "server": cell.server,
        "app": cell.app,
        "interface": cell.interface,
        "workload": cell.workload,
        "level": cell.level,
        "status": cell.status,
        "reasons": list(cell.reasons),
        "blocks": cell.blocks,
        "requests": cell.requests,
        "errors": dict(cell.errors) if cell.errors is not None else None,
        "rps": {
            "estimate": _rounded(rps.estimate if rps else None),
            "low": _rounded(rps.low if rps else None),
            "high": _rounded(rps.high if rps else None),
        },
        "latency_us": {name: _rounded(value) for name, value in cell.latency_us.items()},
        "requests_per_connection": _rounded(cell.requests_per_connection),
        "cpu_us_per_request": _rounded(cell.cpu_us_per_request),
        "memory_mib": _rounded(cell.memory_mib),
    }


def _comparison_json(level: LevelResult, pair: Comparison) -> dict[str, Any]:
    return {
        "workload": level.workload,
        "level": level.level,
        "metric": "rps",
        "left": pair.left,
        "right": pair.right,
        "ratio": _rounded(pair.ratio),
        "low": _rounded(pair.low),
        "high": _rounded(pair.high),
        "p": _rounded(pair.p),
        "verdict": pair.verdict,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
