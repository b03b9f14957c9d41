"""The sentences and captions of charts and report: they say what the data show and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.gates import GENERATOR_BUSY
from analysis.metrics import throughput
from analysis.standings import compared, standings, verdict_on
from analysis.statistics import MIN_BLOCKS

if TYPE_CHECKING:
    from analysis.meta import RunMeta, WorkloadMeta
    from analysis.results import CellResult, LevelResult
    from analysis.standings import Standing
    from analysis.statistics import Comparison, Estimate


def short_reason(cell: CellResult) -> str:
    """Why a cell is not `ok`, short enough for one line of a chart."""
    if not cell.reasons:
        return cell.status
    code, _, text = cell.reasons[0].partition(": ")
    text = text.split("\n")[0].removeprefix(f"{cell.subject} ")
    if cell.status == "invalid":
        return f"invalid: {code}"
    return _cut(f"{cell.status}: {text}" if code == cell.status else f"{cell.status}: {code}: {text}", 76)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def conditions(meta: RunMeta, level: LevelResult) -> str:
    """On what, how and when: the caption under every chart."""
    plan = next(plan for plan in meta.levels if (plan.workload, plan.level) == (level.workload, level.level))
    machine = meta.machine
    cores = ", ".join(f"{role} {len(numbers)}" for role, numbers in meta.cores.items())
    known = [str(machine[key]) for key in ("cpu", "virtualization", "system") if machine.get(key)]
    workers = "1 worker process" if meta.workers == 1 else f"{meta.workers} worker processes"
    where = ", ".join([*known, f"cores: {cores}", f"{meta.runner} runner", f"{workers} a server"])
    blocks = max((cell.blocks for cell in level.cells), default=0)
    fewest, most = level.rounds
    rounds = str(most) if fewest == most else f"{fewest} to {most}"
    how = (
        f"{level.connections} connections, closed loop; {blocks} of {meta.blocks} blocks of {rounds} "
        f"rounds of {plan.slice_s * 1000:.0f} ms slices; seed {meta.seed}"
    )
    what = f"Run {meta.run}, {meta.started[:10]}, Gatebench {meta.gatebench}."
    return f"This machine's figures: {where}.\n{how}. {what}"


def interval(estimate: Estimate | None, digits: int = 0) -> str:
    """`14,100 to 14,700`; empty where one block gives no interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:,.{digits}f} to {estimate.high:,.{digits}f}"


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
    rows = standings(level)
    valid = [row for row in rows if row.cell.status == "ok"]
    if not valid:
        return ["No subject gave a valid figure; the reasons are listed below.", *_left_out(rows)]
    ranked = [row for row in valid if row.best is not None]
    unit = throughput(workload.transport).unit
    if len(valid) == 1:
        only = valid[0].cell
        return [
            f"{only.subject} served {_amount(only, unit)}; nothing valid to compare it with.",
            *_left_out(rows),
        ]
    if not ranked:
        text = (
            f"No ranking: that needs {MIN_BLOCKS} blocks in common. The highest estimate so far is "
            f"{valid[0].cell.subject}'s with {_amount(valid[0].cell, unit)}."
        )
        return [text, *_left_out(rows)]
    sentences = [_leader(level, ranked, unit), *_interfaces(level, ranked, unit)]
    if workload.waits:
        sentences.append(_waiting(ranked, workload))
    return [*sentences, *_left_out(rows)]


def _amount(cell: CellResult, unit: str) -> str:
    span = interval(cell.rps)
    amount = f"{cell.figure('rps') or 0:,.0f} {unit}"
    return f"{amount} ({span})" if span else amount


def _leader(level: LevelResult, ranked: list[Standing], unit: str) -> str:
    first = ranked[0].cell
    tied = [row.cell.subject for row in ranked[1:] if row.leads]
    if tied:
        return (
            f"{first.subject} has the highest estimate, {_amount(first, unit)}; {names(tied)} cannot "
            "be told apart from it."
        )
    second = ranked[1].cell.subject
    factor = times(compared(level, first.subject, second), first.subject)
    all_valid = all(cell.status in {"ok", "unsupported"} for cell in level.cells)
    among = "" if all_valid else "Of the valid results, "
    return (
        f"{among}{first.subject} has the highest figure, {_amount(first, unit)}: {factor} the {unit} of "
        f"the next, {second}."
    )


def _interfaces(level: LevelResult, ranked: list[Standing], unit: str) -> list[str]:
    """The best WSGI subject against the best ASGI subject: two servers, not two interfaces."""
    best = {row.cell.interface: row.cell.subject for row in reversed(ranked)}
    if set(best) != {"wsgi", "asgi"}:
        return []
    wsgi, asgi = best["wsgi"], best["asgi"]
    if {wsgi, asgi} == {row.cell.subject for row in ranked[:2]}:
        return []  # the sentence about the leader has said it
    pair = compared(level, wsgi, asgi)
    verdict = verdict_on(level, asgi, wsgi)
    if verdict == "tie":
        return [f"The fastest valid subjects, {asgi} for ASGI and {wsgi} for WSGI, cannot be told apart."]
    if verdict == "not enough data":
        return []
    fastest = {"ASGI": asgi, "WSGI": wsgi}
    ahead, behind = ("ASGI", "WSGI") if verdict == "higher" else ("WSGI", "ASGI")
    factor = times(pair, fastest[ahead])
    slower = f"the fastest valid {behind} subject, {fastest[behind]}"
    return [f"The fastest valid {ahead} subject, {fastest[ahead]}, served {factor} the {unit} of {slower}."]


def _waiting(ranked: list[Standing], workload: WorkloadMeta) -> str:
    at_once = {row.cell.subject: (row.cell.figure("rps") or 0.0) * workload.service_s for row in ranked}
    most, least = ranked[0].cell.subject, ranked[-1].cell.subject
    return (
        f"With requests that wait {workload.service_s * 1000:.0f} ms, {most} kept {at_once[most]:.0f} "
        f"of them waiting at once on average, {least} {at_once[least]:.1f}."
    )


def _left_out(rows: list[Standing]) -> list[str]:
    cells = [row.cell for row in rows if row.cell.status in {"invalid", "failed"}]
    out = [f"{cell.subject} ({cell.status}: {cell.code})" for cell in cells]
    sentences = [f"Left out of the comparison: {names(out)}."] if out else []
    limited = [cell.subject for cell in cells if cell.code == GENERATOR_BUSY.code]
    if limited:
        sentences.append(
            f"{names(limited)} kept the load engine itself busy and may be faster than the figure shown; "
            "what place that would be, this run cannot tell."
        )
    return sentences
