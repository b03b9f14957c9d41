"""The file form of a summary: what `summary.json` holds, written and read back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from analysis.figures.leads import MESSAGES, lead_metric, leading_figure
from analysis.figures.results import FIGURE_STATUSES, LATENCY_NAMES, CellResult, Judged, LevelResult
from analysis.figures.statistics import Comparison, Estimate
from analysis.reading.tables import Details, Named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.figures.gates import FigureName
    from analysis.figures.results import ClaimResult, FigureStatus, Summary
    from gatebench.results.schema import LevelPlan, RunMeta
    from gatebench.words.precision import Found


SCHEMA = 2
"""Since 2, each figure of a cell has a status of its own; `levels_of` reads both."""
_DIGITS = 9
"""Significant digits in the file: so many that a figure of it, rounded again to be shown, is the same one."""


def as_json(
    summary: Summary, claims: Sequence[ClaimResult] = (), found: Found | None = None
) -> dict[str, Any]:
    """The content of `summary.json`, schema 2.

    Args:
        summary: the run's.
        claims: what was held against it.
        found: of a run that asked for a precision, how precise it is.
    """
    return {
        "schema": SCHEMA,
        "run": summary.run,
        "runner": summary.runner,
        "profile": summary.profile,
        "seed": summary.seed,
        "cells": [_cell_json(cell, level) for level in summary.levels for cell in level.cells],
        "comparisons": [
            _comparison_json(level, pair) for level in summary.levels for pair in level.comparisons
        ],
        "noise": [
            {
                "workload": level.workload,
                "level": level.level,
                "subject": level.noise.subject,
                "band": _rounded(level.noise.band),
                "ratio": _rounded(level.noise.ratio),
                "low": _rounded(level.noise.low),
                "high": _rounded(level.noise.high),
            }
            for level in summary.levels
            if level.noise is not None
        ],
        "limits": [_limit_json(level.limit) for level in summary.levels if level.limit is not None],
        "percentiles": [_percentile_json(ranked) for level in summary.levels for ranked in level.percentiles],
        "claims": [asdict(claim) for claim in claims],
        **({"precision": found.to_json()} if found is not None else {}),
    }


def _cell_json(cell: CellResult, level: LevelResult) -> dict[str, Any]:
    return {
        "subject": cell.subject,
        "server": cell.server,
        "app": cell.app,
        "interface": cell.interface,
        **({"loop": cell.loop} if cell.loop else {}),
        "workload": cell.workload,
        "level": cell.level,
        "metric": level.metric.name,
        "unit": level.metric.unit,
        "rate_per_s": _rounded(level.plan.rate_per_s),
        "status": cell.status,
        "reasons": list(cell.reasons),
        "blocks": cell.blocks,
        "requests": cell.requests,
        "errors": dict(cell.errors) if cell.errors is not None else None,
        "examples": {kind: list(texts) for kind, texts in cell.details.examples.items()},
        "names": {name: asdict(each) for name, each in cell.details.names.items()},
        "uncounted": dict(cell.details.uncounted),
        "lead": {"status": cell.lead_status, **_estimate_json(cell.lead)},
        "figures": _figures_json(cell),
        "mib_per_s": _rounded(cell.mib_per_s),
        "fit": _rounded(cell.fit),
        "requests_per_connection": _rounded(cell.requests_per_connection),
        "memory_peak_mib": _rounded(cell.memory_peak_mib),
    }


def _figures_json(cell: CellResult) -> dict[str, Any]:
    """Each figure with what may be said of it; `not-measured` where nothing refused it and it is missing."""
    clocks = {
        **_rounded_all(cell.latency_us),
        "typical": _rounded_all({name: cell.figure(name) for name in cell.typical}),
        "service": _rounded_all(cell.service_us),
        "last": _rounded_all(cell.last_us),
    }
    memory = None if cell.memory_mib is None else Estimate(cell.memory_mib, None, None, cell.blocks)
    values: dict[FigureName, dict[str, Any]] = {
        "rps": _estimate_json(cell.rps),
        "latency_us": clocks,
        "cpu_us_per_request": _estimate_json(cell.cpu),
        "memory_mib": _estimate_json(memory),
    }
    return {name: {**_judged_json(cell, name, value), **value} for name, value in values.items()}


def _judged_json(cell: CellResult, name: FigureName, value: Mapping[str, Any]) -> dict[str, Any]:
    judged = cell.figures.get(name, Judged())
    measured = any(value[key] is not None for key in ("estimate", *LATENCY_NAMES) if key in value)
    status = "not-measured" if judged.status == "ok" and not measured else judged.status
    return {"status": status, "reasons": list(judged.reasons)}


def _estimate_json(figure: Estimate | None) -> dict[str, float | None]:
    return {
        "estimate": _rounded(figure.estimate if figure else None),
        "low": _rounded(figure.low if figure else None),
        "high": _rounded(figure.high if figure else None),
    }


def _limit_json(limit: CellResult) -> dict[str, Any]:
    """The null responder in one level."""
    return {
        "workload": limit.workload,
        "level": limit.level,
        "responder": limit.server,
        "status": limit.lead_status,
        "reasons": list(limit.reasons),
        "blocks": limit.blocks,
        "requests": limit.requests,
        "rps": _estimate_json(limit.rps),
        "latency_us": _rounded_all({name: limit.figure(name) for name in ("p50", "p90", "p99")}),
    }


def _percentile_json(ranked: LevelResult) -> dict[str, Any]:
    """A level ranked by another percentile than its leading one; a limited figure is in no comparison."""
    return {
        "workload": ranked.workload,
        "level": ranked.level,
        "metric": ranked.metric.name,
        "cells": [
            {"subject": cell.subject, "status": cell.lead_status, **_estimate_json(cell.lead)}
            for cell in ranked.cells
            if cell.lead is not None
        ],
        "comparisons": [_comparison_json(ranked, pair) for pair in ranked.comparisons],
    }


def _comparison_json(level: LevelResult, pair: Comparison) -> dict[str, Any]:
    return {
        "workload": level.workload,
        "level": level.level,
        "metric": level.metric.name,
        "left": pair.left,
        "right": pair.right,
        "blocks": pair.blocks,
        "ratio": _rounded(pair.ratio),
        "low": _rounded(pair.low),
        "high": _rounded(pair.high),
        "p": _rounded(pair.p),
        "verdict": pair.verdict,
        "because": pair.because,
    }


def levels_of(content: Mapping[str, Any], meta: RunMeta) -> tuple[LevelResult, ...]:
    """The levels of a run from the content of its `summary.json`, with the digits that it keeps.

    Rounds, noise, limits and the rankings by other percentiles are not read back.

    Raises:
        KeyError: a figure is not there, which an earlier version did not write.
    """
    cells, pairs = defaultdict(list), defaultdict(list)
    units: dict[tuple[str, str], str] = {}
    for row in content["cells"]:
        key = row["workload"], row["level"]
        cells[key].append(row)
        units[key] = row["unit"]
    for row in content["comparisons"]:
        pairs[row["workload"], row["level"]].append(_comparison_of(row))
    levels = []
    for plan in meta.levels:
        key, workload = (plan.workload, plan.level), meta.workload(plan.workload)
        metric = lead_metric(plan, workload, of_messages=units.get(key) == MESSAGES.unit)
        found = tuple(_cell_of(row, plan) for row in cells[key])
        levels.append(LevelResult(plan, metric, (0, 0), found, tuple(pairs[key])))
    return tuple(levels)


def _cell_of(row: Mapping[str, Any], plan: LevelPlan) -> CellResult:
    row = row if "figures" in row else _of_schema_1(row, plan)
    same = {each.name for each in fields(CellResult)} & row.keys()
    figures, blocks = row["figures"], row["blocks"]
    judged = {
        name: Judged(_JUDGED.get(each["status"], each["status"]), tuple(each["reasons"]))
        for name, each in figures.items()
    }
    times = figures["latency_us"]
    return CellResult(
        **{name: row[name] for name in same - _READ_APART},
        reasons=tuple(row["reasons"]),
        rps=_estimate_of(figures["rps"], blocks),
        lead=_estimate_of(row["lead"], blocks),
        latency_us={name: times[name] for name in LATENCY_NAMES},
        typical={
            name: None if value is None else Estimate(value, None, None, blocks)
            for name, value in times["typical"].items()
        },
        service_us=times["service"],
        last_us=times["last"],
        cpu=_estimate_of(figures["cpu_us_per_request"], blocks),
        memory_mib=figures["memory_mib"]["estimate"],
        details=Details(
            {kind: tuple(texts) for kind, texts in row["examples"].items()},
            {name: Named(**each) for name, each in row["names"].items()},
            row["uncounted"],
        ),
        figures=judged if row["status"] in FIGURE_STATUSES else {},
        leading=leading_figure(plan),
    )


def _of_schema_1(row: Mapping[str, Any], plan: LevelPlan) -> dict[str, Any]:
    """A row in which a gate refused all of a cell (`invalid`), in today's form: all of it is withheld."""
    invalid = row["status"] == "invalid"
    status, reasons = ("withheld", row["reasons"]) if invalid else ("ok", [])
    nothing = {"estimate": None, "low": None, "high": None}

    def kept(value: Any, without: Any) -> dict[str, Any]:
        return {"status": status, "reasons": reasons, **(without if invalid else value)}

    clocks = {"typical": row["typical_us"], "service": row["service_us"], "last": row["last_us"]}
    no_clocks = {"typical": {}, "service": dict.fromkeys(LATENCY_NAMES), "last": dict.fromkeys(LATENCY_NAMES)}
    alone = {name: {**nothing, "estimate": row[name]} for name in ("cpu_us_per_request", "memory_mib")}
    return {
        **row,
        "status": "withheld" if invalid else row["status"],
        "lead": nothing if invalid else row["lead"],
        "figures": {
            "rps": kept(row["rps"], nothing),
            "latency_us": kept(
                {**row["latency_us"], **clocks}, {**dict.fromkeys(LATENCY_NAMES), **no_clocks}
            ),
            **{name: kept(value, nothing) for name, value in alone.items()},
        },
        "leading": leading_figure(plan),
    }


_READ_APART = {
    "reasons",
    "rps",
    "lead",
    "latency_us",
    "service_us",
    "last_us",
    "memory_mib",
    "figures",
    "leading",
}
_JUDGED: Mapping[str, FigureStatus] = {"not-measured": "ok"}


def _estimate_of(figure: Mapping[str, Any], blocks: int) -> Estimate | None:
    if figure["estimate"] is None:
        return None
    return Estimate(figure["estimate"], figure["low"], figure["high"], blocks)


def _comparison_of(row: Mapping[str, Any]) -> Comparison:
    return Comparison(**{each.name: row[each.name] for each in fields(Comparison)})


def _rounded_all(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
