"""What a run says of each subject under one condition of a claim: its figures and its capabilities. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.claims.file import (
    METRICS,
    PER_THREAD,
    PER_WORKER,
    CapabilityCondition,
    FigureCondition,
    Limit,
    RatioCondition,
    ServesCondition,
)
from analysis.figures.footing import loops_in_words
from analysis.figures.leads import figure_of
from analysis.figures.statistics import MIN_BLOCKS, MIN_EFFECT
from gatebench.registry.registry import matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.claims.file import (
        CapabilityCondition,
        Chosen,
        FigureCondition,
        Limit,
        RatioCondition,
        ServesCondition,
    )
    from analysis.figures.gates import FigureName
    from analysis.figures.results import CellResult, LevelResult, Summary
    from analysis.figures.statistics import Comparison
    from gatebench.results.schema import RunMeta, SubjectMeta, WorkloadMeta


_WAITING = {PER_WORKER, PER_THREAD}
_OUT_OF_SCOPE = {"unsupported", "unavailable"}


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one subject, or of whatever a condition asks about.

    Attributes:
        holds: whether the condition holds of it; None where the run cannot tell.
        counts: False where the run has nothing to say of it by its plan: `unsupported`, `unavailable`.
    """

    name: str
    holds: bool | None
    detail: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval, whose ends are None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> Figure:
        """The figure in another unit."""
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return Figure(self.value * factor, *ends)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return shown(self.value)
        return f"{shown(self.value)}, {shown(self.low)} to {shown(self.high)}"


def shown(value: float) -> str:
    """Three digits, or as many as there are before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def keeps(limit: Limit, low: float, high: float) -> bool | None:
    """Whether a figure from `low` to `high` keeps to a limit; within 3 % of it nothing is a difference."""
    if limit.above:
        least, most = low / MIN_EFFECT, high / MIN_EFFECT
        return True if most <= limit.value else False if least > limit.value else None
    least, most = low * MIN_EFFECT, high * MIN_EFFECT
    return True if least >= limit.value else False if most < limit.value else None


def levels_of(summary: Summary, workload: str, level: str) -> list[LevelResult]:
    """The levels of a workload that the run has: all of them, or the one that is named."""
    return [each for each in summary.levels if each.workload == workload and level in {"", each.level}]


def absent(meta: RunMeta, workload: str, level: str) -> Observation:
    """That a run has no such level, and which one would."""
    levels = [plan.level for plan in meta.levels if plan.workload == workload]
    if levels:
        return Observation(level, None, f"this run has {', '.join(levels)} of {workload} and not that level")
    return Observation(
        workload, None, f"this run has no such workload; gatebench run --workloads {workload} would tell"
    )


def figures(
    condition: FigureCondition, threads: Mapping[str, int], meta: RunMeta, summary: Summary
) -> tuple[str, list[Observation]]:
    """What the condition asks, in words, and the figure of each chosen subject in each level."""
    where = f"{condition.workload}/{condition.level}" if condition.level else condition.workload
    levels = levels_of(summary, condition.workload, condition.level)
    title = f"{_counts(condition.metric, levels)} under {where}, {condition.limit}"
    if not levels:
        return title, [absent(meta, condition.workload, condition.level)]
    if condition.metric in _WAITING and not meta.workload(condition.workload).waits:
        return title, [Observation(condition.workload, None, "its requests do not wait by design")]
    subjects, found = chosen(meta, condition)
    several = len(levels) > 1
    for level in levels:
        cells = {cell.subject: cell for cell in level.cells}
        for subject in subjects:
            name = f"{subject.id} at {level.level}" if several else subject.id
            seen = _figure(condition, subject, cells[subject.id], level, _Setting(meta, threads))
            found.append(Observation(name, seen.holds, seen.detail, seen.counts))
    return title, found


def _counts(metric: str, levels: Sequence[LevelResult]) -> str:
    """What a metric counts, in the levels' own unit where it is their throughput."""
    units = {level.metric.unit for level in levels if metric == level.metric.name == "rps"}
    return units.pop() if len(units) == 1 else METRICS[metric]


@dataclass(frozen=True, slots=True)
class _Setting:
    meta: RunMeta
    threads: Mapping[str, int]

    def threads_of(self, subject: SubjectMeta) -> int | None:
        """Threads of one worker process; None where neither its command nor a claims file says."""
        if any("{threads}" in argument for argument in subject.command):
            return self.meta.threads
        return self.threads.get(subject.id.removesuffix(f"+{subject.app}"))


def _figure(
    condition: FigureCondition, subject: SubjectMeta, cell: CellResult, level: LevelResult, setting: _Setting
) -> Observation:
    workload = setting.meta.workload(level.workload)
    figure = figure_of("rps" if condition.metric in _WAITING else condition.metric)
    refused = _without_figure(cell, figure) or not_of_its_transport(workload, cell)
    if refused is not None:
        return refused
    found = _measured(condition.metric, cell, level)
    if found is None:
        return Observation(cell.subject, None, "that figure was not measured")
    among = 1.0
    detail = str(found)
    if condition.metric in _WAITING:
        meta, plan = setting.meta, level.plan
        among = float(meta.workers)
        if condition.metric == PER_THREAD:
            count = setting.threads_of(subject)
            if count is None:
                return Observation(
                    cell.subject, None, "the number of its threads is not known: name it under [threads]"
                )
            among *= count
        at_once = found.times(meta.workload(level.workload).service_s)
        found = at_once.times(1 / among)
        detail = f"{found}{_over(condition.metric, at_once, among)}"
        if condition.limit.above and among * condition.limit.value >= plan.connections * plan.window:
            return Observation(
                cell.subject, None, f"{detail}, which {plan.connections} connections cannot fill"
            )
    if cell.blocks < MIN_BLOCKS:
        return Observation(cell.subject, None, f"{detail}; {MIN_BLOCKS} blocks are needed, not {cell.blocks}")
    low = found.value if found.low is None else found.low
    high = found.value if found.high is None else found.high
    return Observation(cell.subject, keeps(condition.limit, low, high), detail)


def _over(metric: str, at_once: Figure, among: float) -> str:
    """`; 3.8 over 4 threads`: all that waited at once, and among what; empty for one process."""
    if among > 1:
        each = "threads" if metric == PER_THREAD else "worker processes"
        return f"; {shown(at_once.value)} over {among:,.0f} {each}"
    return "; 1 thread" if metric == PER_THREAD else ""


def _without_figure(cell: CellResult, figure: FigureName | None) -> Observation | None:
    """Why that figure of a cell may not be used; None where it may."""
    status, code = cell.status_of(figure), cell.code_of(figure)
    if status == "ok":
        return None
    detail = status if code in {"", status} else f"{status}: {code}"
    return Observation(cell.subject, None, detail, status not in _OUT_OF_SCOPE)


def _measured(metric: str, cell: CellResult, level: LevelResult) -> Figure | None:
    name = "rps" if metric in _WAITING else metric
    value = cell.figure(name)
    if value is None:
        return None
    leading = cell.lead if name == level.metric.name else cell.typical.get(name)
    estimate = cell.rps if name == "rps" else leading
    return Figure(value) if estimate is None else Figure(value, estimate.low, estimate.high)


def capabilities(
    condition: CapabilityCondition, meta: RunMeta, summary: Summary
) -> tuple[str, list[Observation]]:
    """Which of the chosen subjects have a capability: declared, and found by the verification before blocks.

    The verification holds a server to what it declares, and finds `keep-alive` and `websocket` where they are
    not declared. A subject that no block began with was not verified, and of one whose application answers a
    part of the contract only what that part shows.
    """
    subjects, found = chosen(meta, condition)
    for subject in subjects:
        cells = [cell for cell in summary.cells if cell.subject == subject.id]
        refused = _unverified(subject, cells)
        using = [cell for cell in cells if shows(condition.capability, meta.workload(cell.workload), cell)]
        if refused is not None:
            found.append(refused)
        elif not _was_asked(subject, condition.capability) and not any(cell.valid for cell in using):
            detail = "its application answers nothing that would show it"
            found.append(Observation(subject.id, None, detail, counts=False))
        elif condition.capability not in subject.supports:
            found.append(Observation(subject.id, holds=False, detail="verified"))
        else:
            found.append(_with_capability(subject, condition.capability, using))
    interface = f" over {condition.interface.upper()}" if condition.interface else ""
    return f"{condition.capability}{interface}", found


def _was_asked(subject: SubjectMeta, capability: str) -> bool:
    """Whether the verification has asked what shows a capability (`contract.rules.Contract.declared`)."""
    if subject.routes is None:
        return True
    sockets = {route for route in subject.routes if route.startswith("/ws/")}
    if capability == "websocket":
        return bool(sockets)
    if capability == "streaming":
        return "/stream/{n}" in subject.routes
    return capability != "chunked-request" and bool(subject.routes - sockets)


def shows(capability: str, workload: WorkloadMeta, cell: CellResult) -> bool:
    """Whether a cell's answers went by a capability, and not only its workload's name for itself.

    The load engine uses what its workload needs. What a Locust file did, its counted names tell, and nothing
    but the transport of it.
    """
    if capability not in workload.needs:
        return False
    if not workload.locustfile:
        return True
    if capability != workload.transport:
        return False
    details = cell.details
    # Runs that kept no names counted requests over HTTP, whatever their workload said.
    return details.counts_messages if capability == "websocket" else not details.counts_messages


def not_of_its_transport(workload: WorkloadMeta, cell: CellResult) -> Observation | None:
    """Why a Locust file's figure does not speak of the WebSockets that its workload declares."""
    if not workload.locustfile or workload.transport != "websocket" or cell.details.counts_messages:
        return None
    text = "what its Locust file counted are no messages over WebSockets"
    return Observation(cell.subject, None, text)


def _with_capability(subject: SubjectMeta, capability: str, cells: Sequence[CellResult]) -> Observation:
    valid = [cell for cell in cells if cell.valid]
    if not valid and any(reason.startswith("reuse:") for cell in cells for reason in cell.reasons):
        detail = "declared, but it closed connections after few answers (reuse)"
        return Observation(subject.id, None, detail)
    if not valid:
        detail = "verified; no valid figure under load" if cells else "verified"
        return Observation(subject.id, holds=True, detail=detail)
    first = max(valid, key=lambda cell: cell.requests_per_connection or 0.0)
    if capability == "keep-alive" and first.requests_per_connection is not None:
        detail = f"{shown(first.requests_per_connection)} a connection under {first.workload}"
        return Observation(subject.id, holds=True, detail=detail)
    return Observation(subject.id, holds=True, detail=f"measured under {first.workload}")


def _unverified(subject: SubjectMeta, cells: Sequence[CellResult]) -> Observation | None:
    """Why nothing is known of what a subject can do; None where it kept the contract before a block."""
    if not subject.ready:
        return Observation(subject.id, None, "unavailable", counts=False)
    broken = [cell for cell in cells if any(reason.startswith("contract:") for reason in cell.reasons)]
    if broken:
        return Observation(subject.id, None, "failed: contract")
    if not any(cell.blocks for cell in cells):
        return Observation(subject.id, None, "not verified, for no block of it was measured")
    return None


def servers(condition: ServesCondition, meta: RunMeta, summary: Summary) -> tuple[str, list[Observation]]:
    """Which servers ran the application's form for that interface and kept the contract."""
    found = []
    for server in condition.servers:
        own = [
            each
            for each in meta.competitors
            if each.server == server and each.interface == condition.interface
        ]
        found.append(_serving(server, own, summary))
    return f"serves {condition.interface.upper()}", found


def _serving(server: str, subjects: Sequence[SubjectMeta], summary: Summary) -> Observation:
    if not subjects:
        return Observation(server, None, "no such subject in this run")
    refused = {}
    for subject in subjects:
        cells = [cell for cell in summary.cells if cell.subject == subject.id]
        why = _unverified(subject, cells)
        if why is not None:
            refused[subject.id] = why.detail
        elif any(cell.status in {"ok", "limited", "withheld"} for cell in cells):
            return Observation(server, holds=True, detail=f"{subject.id} kept the contract")
        else:
            refused[subject.id] = "failed in every workload"
    broken = all(detail == "failed: contract" for detail in refused.values())
    detail = ", ".join(f"{subject}: {why}" for subject, why in refused.items())
    return Observation(server, False if broken else None, detail)


def chosen(meta: RunMeta, wanted: Chosen) -> tuple[list[SubjectMeta], list[Observation]]:
    """The subjects that a condition is about, and the names in it that fit none of the run's."""
    known = {subject.id: subject for subject in meta.competitors}
    named = {each: matches(each, tuple(known), whole_servers=True) for each in wanted.subjects}
    missing = [Observation(name, None, "not in this run") for name, found in named.items() if not found]
    every = set(known) if not named else set[str]().union(*named.values())
    subjects = [
        subject
        for subject in known.values()
        if wanted.interface in {None, subject.interface} and subject.id in every
    ]
    return subjects, missing


def ratio(condition: RatioCondition, meta: RunMeta, summary: Summary) -> tuple[str, list[Observation]]:
    """The ratio of two subjects in each level that the condition is about."""
    title = f"{condition.left} over {condition.right} under {condition.workload}, {condition.limit}"
    levels = levels_of(summary, condition.workload, condition.level)
    if not levels:
        return title, [absent(meta, condition.workload, condition.level)]
    known = {subject.id for subject in meta.competitors}
    missing = [name for name in (condition.left, condition.right) if name not in known]
    if missing:
        return title, [Observation(name, None, "not in this run") for name in missing]
    pair, workload = (condition.left, condition.right), meta.workload(condition.workload)
    return title, [ratio_of(level, pair, condition.limit, workload, level.level) for level in levels]


def ratio_of(
    level: LevelResult, pair: tuple[str, ...], limit: Limit, workload: WorkloadMeta, name: str
) -> Observation:
    """Whether the ratio of two subjects in one level keeps to a limit.

    Args:
        level: where.
        pair: the subjects, the one that is divided first.
        limit: what the ratio is held against.
        workload: of the level.
        name: what the observation is called.
    """
    for cell in level.cells:
        other = not_of_its_transport(workload, cell) if cell.subject in pair else None
        if other is not None and cell.valid:
            return other
    found = next((each for each in level.comparisons if {each.left, each.right} == set(pair)), None)
    if found is None:
        cells = [cell for cell in level.cells if cell.subject in pair and not cell.valid]
        why = ", ".join(f"{cell.subject} is {cell.lead_status}" for cell in cells) or "they were not compared"
        return Observation(name, None, why)
    seen = oriented(found, pair[0])
    if seen is None:
        return Observation(name, None, f"not enough data: {found.blocks} blocks in common")
    low, high = seen.low or seen.value, seen.high or seen.value
    holds = keeps(limit, low, high)
    loops = loops_in_words(cell for cell in level.cells if cell.subject in pair)
    detail = f"{level.metric.label.lower()}, {seen} times{f'; {loops}' if loops else ''}"
    if holds is False and found.verdict == "tie" and _says_a_difference(limit):
        return Observation(name, None, f"{detail}; a tie in this run")
    return Observation(name, holds, detail)


def _says_a_difference(limit: Limit) -> bool:
    """Whether a ratio beyond the limit is one beyond 1 as well, which the run's own verdict must then say."""
    return limit.value >= 1 if limit.above else limit.value <= 1


def oriented(pair: Comparison, left: str) -> Figure | None:
    """The pair's ratio, read as `left` over the other; None without enough data."""
    if pair.verdict == "not enough data" or pair.ratio is None or pair.low is None or pair.high is None:
        return None
    if pair.left == left:
        return Figure(pair.ratio, pair.low, pair.high)
    return Figure(1 / pair.ratio, 1 / pair.high, 1 / pair.low)
