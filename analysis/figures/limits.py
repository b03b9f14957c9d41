"""What this instrument can do at most in a level: the figures of the null responder in the same rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.figures.cells import responder_data, totals
from analysis.figures.leads import lead_table, leading_figure, typical_percentiles
from analysis.figures.results import CellResult
from analysis.figures.statistics import log_rate_table, rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analysis.figures.statistics import Estimate
    from analysis.reading.run import Run
    from gatebench.results.schema import LevelPlan

OUTDONE = "outdone"


def limit_of(run: Run, plan: LevelPlan, rates_per_s: Iterable[float]) -> CellResult | None:
    """The null responder's figures in one level, from every block that has them.

    No gate is asked of it: that it keeps the engine busy, or itself, is what it is for. It is `ok` where it
    shows what the instrument can do, else `failed`; its reasons say what went wrong with it.

    Args:
        run: the run.
        plan: the level.
        rates_per_s: what the level's servers did.

    Returns:
        None where the run measured none in this level.
    """
    responder = run.meta.responder(plan.id)
    if responder is None:
        return None
    identity: dict[str, Any] = {
        "subject": responder.id,
        "server": responder.name,
        "app": "",
        "interface": "",
        "workload": plan.workload,
        "level": plan.level,
        "leading": leading_figure(plan),
    }
    reasons = [
        f"{failure.code}: block {failure.block + 1}: {failure.text}"
        for failure in run.failures
        if failure.subject == responder.id
        and failure.workload in {None, plan.workload}
        and failure.level in {None, plan.level}
    ]
    workload = run.meta.workload(plan.workload)
    data = responder_data(run, plan, responder.id)
    added = totals(data, responder.id, workload.transport)
    rates = log_rate_table(data.rated)
    if added is None or responder.id not in rates:
        why = "not one answer was right" if added else "the run has no slice of it"
        return CellResult(**identity, status="failed", reasons=(*reasons, f"not-measured: {why}"))
    leads = lead_table(data)
    if failed := sum(added.errors.values()):
        reasons.append(f"errors: {failed:,} of {added.attempts:,} of its answers failed or were wrong")
    estimate = rate(rates[responder.id])
    if estimate and plan.model == "closed" and max(rates_per_s, default=0.0) > estimate.estimate:
        reasons.append(
            f"{OUTDONE}: a server of this level did more, so it does not show what the engine can do"
        )
    return CellResult(
        **identity,
        status="ok",
        reasons=tuple(reasons),
        blocks=added.blocks,
        requests=added.requests,
        errors=added.errors,
        rps=estimate,
        lead=rate(leads[responder.id]) if responder.id in leads else None,
        latency_us=added.percentiles.values,
        typical=typical_percentiles(data, responder.id) if plan.paced else {},
        service_us=added.service.values,
    )


def refuses(limit: CellResult | None) -> bool:
    """Whether figures may be held against it: it is known, and the engine's more than the responder's."""
    return limit is not None and limit.status == "ok" and not _is_outdone(limit)


def _is_outdone(limit: CellResult) -> bool:
    return any(reason.startswith(f"{OUTDONE}:") for reason in limit.reasons)


def at_the_floor(limit: CellResult | None, cells: Iterable[CellResult]) -> list[str]:
    """The subjects whose leading percentile is beyond the null responder's by less than the noise of both.

    The noise is that of their quotient: the half-widths of the two intervals in logarithms, added as squares.
    What the same rounds did to both is in it, so it is rather too wide. One without an interval is not named.
    """
    if limit is None or not refuses(limit) or (floor := _log_interval(limit.lead)) is None:
        return []
    found = []
    for cell in cells:
        own = _log_interval(cell.lead) if cell.valid else None
        if own is not None and own[0] - floor[0] <= np.hypot(own[1], floor[1]):
            found.append(cell.subject)
    return found


def _log_interval(figure: Estimate | None) -> tuple[float, float] | None:
    """The logarithm of a figure, and half of its interval's width in logarithms; None without an interval."""
    if figure is None or figure.low is None or figure.high is None:
        return None
    return float(np.log(figure.estimate)), float(np.log(figure.high / figure.low) / 2)
