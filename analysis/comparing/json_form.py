"""The comparison of two runs as JSON, schema 1, which scripts may rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.comparing.result import CellComparison, PairComparison, RunComparison
    from analysis.statistics import Comparison, Estimate

SCHEMA = 1
_DIGITS = 6
"""Significant digits, as in `summary.json`."""


def as_json(result: RunComparison) -> dict[str, Any]:
    """Ratios are B over A in `cells`, left over right within a run in `pairs`, and null without one."""
    return {
        "schema": SCHEMA,
        "a": result.a,
        "b": result.b,
        "changes": [{"what": change.what, "a": change.a, "b": change.b} for change in result.changes],
        "cells": [_cell(cell) for cell in result.cells],
        "shifts": [
            {
                "workload": shift.plan.workload,
                "level": shift.plan.level,
                "cells": shift.cells,
                "ratio": _rounded(shift.ratio),
                "lowest": _rounded(shift.lowest),
                "highest": _rounded(shift.highest),
            }
            for shift in result.shifts
        ],
        "pairs": [_pair(pair) for pair in result.pairs],
    }


def _cell(cell: CellComparison) -> dict[str, Any]:
    ratio = cell.ratio
    return {
        "subject": cell.subject.id,
        "workload": cell.plan.workload,
        "level": cell.plan.level,
        "metric": cell.metric.name,
        "better": cell.metric.better,
        "a": _estimate(cell.a),
        "b": _estimate(cell.b),
        "ratio": _rounded(ratio.ratio if ratio else None),
        "low": _rounded(ratio.low if ratio else None),
        "high": _rounded(ratio.high if ratio else None),
        "p": _rounded(ratio.p if ratio else None),
        "noise": _rounded(cell.noise),
        "verdict": cell.verdict,
        "reasons": list(cell.reasons),
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "estimate": _rounded(estimate.estimate),
        "low": _rounded(estimate.low),
        "high": _rounded(estimate.high),
        "blocks": estimate.blocks,
    }


def _pair(pair: PairComparison) -> dict[str, Any]:
    return {
        "workload": pair.plan.workload,
        "level": pair.plan.level,
        "metric": pair.metric.name,
        "left": pair.a.left,
        "right": pair.a.right,
        "a": _comparison(pair.a),
        "b": _comparison(pair.b),
        "outcome": pair.outcome,
    }


def _comparison(pair: Comparison) -> dict[str, Any]:
    return {
        "ratio": _rounded(pair.ratio),
        "low": _rounded(pair.low),
        "high": _rounded(pair.high),
        "p": _rounded(pair.p),
        "verdict": pair.verdict,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
