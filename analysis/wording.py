"""The sentences of charts and report: they say what the data show and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.gates import CEILING, GENERATOR_BUSY, RATE_MISSED
from analysis.metrics import RPS
from analysis.standings import compared, standings, verdict_on
from analysis.statistics import MIN_BLOCKS
from gatebench.results.details import visible

if TYPE_CHECKING:
    from analysis.meta import WorkloadMeta
    from analysis.metrics import Metric
    from analysis.results import CellResult, LevelResult
    from analysis.standings import Standing
    from analysis.statistics import Comparison, Estimate


CHART_CHARACTERS = 76


def short_reason(cell: CellResult, most: int = CHART_CHARACTERS) -> str:
    """Why a cell is not `ok`, in one line; a failure is told in `most` characters at the most."""
    if not cell.reasons:
        return cell.status
    code, _, text = cell.reasons[0].partition(": ")
    text = text.split("\n")[0].removeprefix(f"{cell.subject} ")
    if cell.code == RATE_MISSED.code:
        return f"overloaded at this rate (invalid: {code})"
    if cell.status == "invalid":
        return f"invalid: {code}"
    return visible(
        f"{cell.status}: {text}" if code == cell.status else f"{cell.status}: {code}: {text}", most
    )


def interval(estimate: Estimate | None, metric: Metric) -> str:
    """`14,100 to 14,700`, in the metric's shown unit; empty where too few blocks give no interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{metric.show(estimate.low)} to {metric.show(estimate.high)}"


def times(pair: Comparison, left: str) -> str:
    """`1.75 times (1.69 to 1.81)`, read as `left` over the other."""
    ratio, low, high = pair.ratio or 1.0, pair.low or 1.0, pair.high or 1.0
    if pair.left != left:
        ratio, low, high = 1 / ratio, 1 / high, 1 / low
    return f"{ratio:.2f} times ({low:.2f} to {high:.2f})"


def names(subjects: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return subjects[0] if len(subjects) == 1 else f"{', '.join(subjects[:-1])} and {subjects[-1]}"


def findings(level: LevelResult, workload: WorkloadMeta) -> list[str]:
    """What one level shows, in sentences; differences only where a verdict supports them."""
    metric, rows = level.metric, standings(level)
    kept = [row for row in rows if row.cell.status == "ok"]
    valid = [row for row in kept if row.cell.lead is not None]
    ranked = [row for row in valid if row.best is not None]
    if not valid and kept:
        subjects = names([row.cell.subject for row in kept])
        missing = f"No ranking: too little was measured for the {metric.noun}."
        sentences = [f"{missing} {subjects} served as they should; the notes say what is missing."]
    elif not valid:
        sentences = ["No subject gave a valid figure; the reasons are listed below."]
    elif len(valid) == 1:
        sentences = [f"{_only(valid[0].cell, metric)}; nothing valid to compare it with."]
    elif not ranked:
        text = (
            f"No ranking: that needs {MIN_BLOCKS} blocks in common. The {metric.superlative} estimate so far "
            f"is {valid[0].cell.subject}'s with {_amount(valid[0].cell, metric)}."
        )
        sentences = [text]
    else:
        sentences = [_leader(level, ranked), *_interfaces(level, ranked)]
        if workload.waits and metric.name == RPS.name:
            sentences.append(_waiting(ranked, workload))
    return [*sentences, *_left_out(level, rows)]


def _amount(cell: CellResult, metric: Metric) -> str:
    amount = f"{metric.show(cell.lead.estimate if cell.lead else None)} {metric.unit}"
    span = interval(cell.lead, metric)
    return f"{amount} ({span})" if span else amount


def _only(cell: CellResult, metric: Metric) -> str:
    if metric.name == RPS.name:
        return f"{cell.subject} served {_amount(cell, metric)}"
    return f"The {metric.noun} of {cell.subject} is {_amount(cell, metric)}"


def _leader(level: LevelResult, ranked: list[Standing]) -> str:
    metric, first = level.metric, ranked[0].cell
    tied = [row.cell.subject for row in ranked[1:] if row.leads]
    figure = _amount(first, metric)
    if tied:
        noun = "estimate" if metric.name == RPS.name else metric.noun
        return (
            f"{first.subject} has the {metric.superlative} {noun}, {figure}; {names(tied)} cannot "
            "be told apart from it."
        )
    second = ranked[1].cell.subject
    pair = compared(level, first.subject, second)
    all_valid = all(cell.status in {"ok", "unsupported"} for cell in level.cells)
    among = "" if all_valid else "Of the valid results, "
    leads = f"{among}{first.subject} has the {metric.superlative} {metric.noun}, {figure}"
    if metric.better == "higher":
        return f"{leads}: {times(pair, first.subject)} the {metric.unit} of the next, {second}."
    return f"{leads}; that of the next, {second}, is {times(pair, second)} as high."


def _interfaces(level: LevelResult, ranked: list[Standing]) -> list[str]:
    """The best WSGI subject against the best ASGI subject: two servers, not two interfaces."""
    metric = level.metric
    best = {row.cell.interface: row.cell.subject for row in reversed(ranked)}
    if set(best) != {"wsgi", "asgi"}:
        return []
    wsgi, asgi = best["wsgi"], best["asgi"]
    if {wsgi, asgi} == {row.cell.subject for row in ranked[:2]}:
        return []  # the sentence about the leader has said it
    verdict = verdict_on(level, asgi, wsgi)
    word = "fastest" if metric.name == RPS.name else "best"
    if verdict == "tie":
        return [f"The {word} valid subjects, {asgi} for ASGI and {wsgi} for WSGI, cannot be told apart."]
    if verdict == "not enough data":
        return []
    pair = compared(level, wsgi, asgi)
    subjects = {"ASGI": asgi, "WSGI": wsgi}
    ahead, behind = ("ASGI", "WSGI") if verdict == metric.better else ("WSGI", "ASGI")
    winner = f"the {word} valid {ahead} subject, {subjects[ahead]}"
    other = f"the {word} valid {behind} subject, {subjects[behind]}"
    if metric.better == "lower":
        return [f"The {metric.noun} of {other}, is {times(pair, subjects[behind])} that of {winner}."]
    verb = "served" if metric.name == RPS.name else "reached"
    return [f"T{winner[1:]}, {verb} {times(pair, subjects[ahead])} the {metric.unit} of {other}."]


def _waiting(ranked: list[Standing], workload: WorkloadMeta) -> str:
    at_once = {row.cell.subject: (row.cell.figure("rps") or 0.0) * workload.service_s for row in ranked}
    most, least = ranked[0].cell.subject, ranked[-1].cell.subject
    return (
        f"With requests that wait {workload.service_s * 1000:.0f} ms, {most} kept {at_once[most]:.0f} "
        f"of them waiting at once on average, {least} {at_once[least]:.1f}."
    )


def _left_out(level: LevelResult, rows: list[Standing]) -> list[str]:
    cells = [row.cell for row in rows if row.cell.status in {"invalid", "failed"}]
    overloaded = [cell.subject for cell in cells if cell.code == RATE_MISSED.code]
    sentences = []
    if overloaded:
        were = "was" if len(overloaded) == 1 else "were"
        sentences.append(f"{names(overloaded)} {were} overloaded at {level.plan.rate_per_s:,.0f} requests/s.")
    out = [f"{cell.subject} ({cell.status}: {cell.code})" for cell in cells if cell.subject not in overloaded]
    if out:
        sentences.append(f"Left out of the comparison: {names(out)}.")
    limits = {
        GENERATOR_BUSY.code: "kept the load engine itself busy",
        CEILING.code: "came too near to what the load engine itself can do",
    }
    for code, what in limits.items():
        limited = [cell.subject for cell in cells if cell.code == code]
        if limited and not level.plan.paced:
            sentences.append(
                f"{names(limited)} {what} and may be faster than the figure shown; "
                "what place that would be, this run cannot tell."
            )
    return sentences
