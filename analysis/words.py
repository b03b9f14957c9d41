"""Sentences about what was found in a run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from analysis.figures.footing import loops_in_words
from analysis.figures.gates import BY_CODE, CEILING, GENERATOR_BUSY, RATE_MISSED
from analysis.figures.leads import RPS
from analysis.figures.limits import refuses
from analysis.figures.results import compared, standings, verdict_on
from analysis.figures.statistics import MIN_BLOCKS, PAIRED
from gatebench.results.details import visible
from gatebench.results.schema import responder_in_words
from gatebench.words.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.figures.gates import FigureName
    from analysis.figures.leads import Metric
    from analysis.figures.results import CellResult, LevelResult, Standing
    from analysis.figures.statistics import Comparison, Estimate
    from gatebench.results.schema import WorkloadMeta


CHART_CHARACTERS = 76
_COMMONEST = 3
"""So many kinds of reason are named of a run without any valid figure."""


def short_reason(cell: CellResult, most: int = CHART_CHARACTERS, figure: FigureName | None = None) -> str:
    """Why a figure of a cell is not `ok`, in one line; a failure is told in `most` characters at the most.

    Args:
        cell: whose.
        most: characters.
        figure: which; the leading one where none is named.
    """
    figure = figure or cell.leading
    status = cell.status_of(figure)
    if not cell.reasons:
        return status
    if status in {"limited", "withheld"}:
        return f"{status}: {cause(cell.code_of(figure))}"
    code, _, text = cell.reasons[0].partition(": ")
    text = text.split("\n")[0].removeprefix(f"{cell.subject} ")
    return visible(
        f"{cell.status}: {text}" if code == cell.status else f"{cell.status}: {code}: {text}", most
    )


def cause(code: str) -> str:
    """`its listen queue overflowed (backlog)`: what the code of a gate stands for."""
    return f"{BY_CODE[code].cause} ({code})" if code in BY_CODE else code


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


def instrument_in_words(level: LevelResult) -> str:
    """What the instrument itself does in a level, for a caption; empty where no null responder showed it."""
    limit = level.limit
    if limit is None or limit.lead is None or not refuses(limit):
        return ""
    figure = f"{level.metric.show(limit.lead.estimate)} {level.metric.unit}"
    whom = responder_in_words(limit.server)
    if level.plan.paced:
        return f"this machine's floor: the {level.metric.name} of {whom} at the same rate, {figure}"
    return f"the limit of this instrument here: {figure} against {whom} in the same rounds"


def findings(level: LevelResult, workload: WorkloadMeta) -> list[str]:
    """What one level shows, in sentences; differences only where a verdict supports them."""
    metric, rows = level.metric, standings(level)
    kept = [row for row in rows if row.cell.valid]
    valid = [row for row in kept if row.cell.lead is not None]
    ranked = [row for row in valid if row.best is not None]
    if not valid and kept:
        subjects = names([row.cell.subject for row in kept])
        missing = f"No ranking: too little was measured for the {metric.noun}."
        sentences = [f"{missing} {subjects} served as they should; the notes say what is missing."]
    elif not valid:
        sentences = ["No subject gave a figure that may be compared; the reasons are listed below."]
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
        sentences += _by_percentile(level)
    if any(PAIRED in pair.because for pair in level.comparisons):
        sentences.append(
            "The model of this level could not be fitted: its subjects have too few blocks in common. Each "
            "pair's interval is the plain paired one, from its own blocks alone."
        )
    return [*sentences, *_left_out(level, rows)]


def _by_percentile(level: LevelResult) -> list[str]:
    """Who has the lowest p50, and how many pairs each percentile tells apart."""
    found = []
    for other in level.percentiles[:1]:
        ranked = [row for row in standings(other) if row.best is not None]
        found += [_leader(other, ranked)] if len(ranked) > 1 else []
    if not found:
        return []
    told = {
        each.metric.name: sum(pair.verdict in {"higher", "lower"} for pair in each.comparisons)
        for each in (*level.percentiles, level)
    }
    counts = names([f"{count} by {name}" for name, count in told.items()])
    return [*found, f"Told apart, of {counted(len(level.comparisons), 'pair')}: {counts}."]


def without_figures(cells: Sequence[CellResult]) -> str:
    """What a person is told first of a run without a figure to rank by, with the reasons; else empty."""
    measured = [cell for cell in cells if cell.status != "unsupported"]
    if not measured or any(cell.shown for cell in measured):
        return ""
    codes = Counter(cell.code or cell.status for cell in measured)
    reasons = ", ".join(f"{code} ({count})" for code, count in codes.most_common(_COMMONEST))
    others = ", and others" if len(codes) > _COMMONEST else ""
    return (
        f"This run has no figure to rank by; its {len(measured)} cells are {reasons}{others}. The page says "
        "of each what to do."
    )


def in_closing(cells: Sequence[CellResult]) -> str:
    """How many cells have the figure that they are ranked by, what others lack, and the best next step."""
    measured = [cell for cell in cells if cell.status != "unsupported"]
    if not measured:
        return ""
    # A figure that nothing refuses was not to be had: the first reason of its cell may be about another one.
    by_status = {"failed": "failed", "unavailable": "unavailable", "ok": "not-measured"}
    lacking = Counter(
        by_status.get(cell.lead_status, cell.code or "not-measured") for cell in measured if cell.lead is None
    )
    limited = sum(cell.lead is not None and not cell.valid for cell in measured)
    also = f", {limited} of them limited" if limited else ""
    have = len(measured) - lacking.total()
    text = f"{have} of {len(measured)} cells have the figure that they are ranked by{also}"
    if not lacking:
        return f"{text}."
    listed = ", ".join(f"{code} ({count})" for code, count in lacking.most_common())
    steps = (
        BY_CODE[code] for code, _ in lacking.most_common() if code in BY_CODE and code != RATE_MISSED.code
    )
    gate = next(steps, None)
    step = f" Of {gate.code}: {gate.cause}. {gate.next_step}" if gate else ""
    return f"{text}; the others: {listed}.{step}"


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
            f"be told apart from it{_loops([row.cell for row in ranked if row.leads])}."
        )
    second = ranked[1].cell.subject
    on = _loops([first, ranked[1].cell])
    pair = compared(level, first.subject, second)
    all_valid = all(cell.lead_status in {"ok", "unsupported"} for cell in level.cells)
    among = "" if all_valid else "Of the valid results, "
    leads = f"{among}{first.subject} has the {metric.superlative} {metric.noun}, {figure}"
    if metric.better == "higher":
        return f"{leads}: {times(pair, first.subject)} the {metric.unit} of the next, {second}{on}."
    return f"{leads}; that of the next, {second}, is {times(pair, second)} as high{on}."


def _loops(cells: Sequence[CellResult]) -> str:
    """` (uvicorn on uvloop, granian-asgi on asyncio)` where these were seen on different event loops."""
    return f" ({found})" if (found := loops_in_words(cells)) else ""


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
    on = _loops([ranked[0].cell, ranked[-1].cell])
    return (
        f"With requests that wait {workload.service_s * 1000:.0f} ms, {most} kept {at_once[most]:.0f} "
        f"of them waiting at once on average, {least} {at_once[least]:.1f}{on}."
    )


def _left_out(level: LevelResult, rows: list[Standing]) -> list[str]:
    limited = [row.cell for row in rows if row.cell.lead_status == "limited"]
    cells = [row.cell for row in rows if row.cell.lead_status in {"withheld", "failed"}]
    overloaded = [cell.subject for cell in cells if cell.code == RATE_MISSED.code]
    sentences = []
    if limited:
        listed = [
            f"{cell.subject} with {_amount(cell, level.metric)}: {BY_CODE[cell.code].cause}"
            for cell in limited
        ]
        sentences.append(f"In no place, since something of their own limits them: {'; '.join(listed)}.")
    if overloaded:
        were = "was" if len(overloaded) == 1 else "were"
        sentences.append(f"{names(overloaded)} {were} overloaded at {level.plan.rate_per_s:,.0f} requests/s.")
    out = [
        f"{cell.subject} ({cell.lead_status}: {cell.code})"
        for cell in cells
        if cell.subject not in overloaded
    ]
    if out:
        sentences.append(f"Left out of the comparison: {names(out)}.")
    engines = {
        GENERATOR_BUSY.code: "kept the load engine itself busy",
        CEILING.code: "came too near to what the load engine itself can do",
    }
    for code, what in engines.items():
        fast = [cell.subject for cell in cells if cell.code == code]
        if fast and not level.plan.paced:
            sentences.append(f"{names(fast)} {what}; what place that would be, this run cannot tell.")
    return sentences
