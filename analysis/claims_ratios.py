"""What a run says of the ratio of two subjects, and of what its application costs. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.claims_evidence import (
    Figure,
    Observation,
    absent,
    keeps,
    levels_of,
    not_of_its_transport,
    shown,
)
from analysis.claims_file import Limit

if TYPE_CHECKING:
    from analysis.claims_file import ApplicationCostCondition, RatioCondition
    from analysis.meta import RunMeta, WorkloadMeta
    from analysis.results import LevelResult, Summary
    from analysis.statistics import Comparison


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
    workload = meta.workload(condition.workload)
    return title, [_ratio(level, condition, workload) for level in levels]


def _ratio(level: LevelResult, condition: RatioCondition, workload: WorkloadMeta) -> Observation:
    wanted = (condition.left, condition.right)
    for cell in level.cells:
        other = not_of_its_transport(workload, cell) if cell.subject in wanted else None
        if other is not None and cell.status == "ok":
            return other
    pair = next((each for each in level.comparisons if {each.left, each.right} == set(wanted)), None)
    if pair is None:
        cells = [cell for cell in level.cells if cell.subject in wanted and cell.status != "ok"]
        why = ", ".join(f"{cell.subject} is {cell.status}" for cell in cells) or "they were not compared"
        return Observation(level.level, None, why)
    found = oriented(pair, condition.left)
    if found is None:
        return Observation(level.level, None, f"not enough data: {pair.blocks} blocks in common")
    low, high = found.low or found.value, found.high or found.value
    holds = keeps(condition.limit, low, high)
    detail = f"{level.metric.label.lower()}, {found} times"
    if holds is False and pair.verdict == "tie" and _says_a_difference(condition.limit):
        return Observation(level.level, None, f"{detail}; a tie in this run")
    return Observation(level.level, holds, detail)


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


def application_cost(
    condition: ApplicationCostCondition, meta: RunMeta, summary: Summary
) -> tuple[str, list[Observation]]:
    """What share of a request's time the application takes, behind each server that also ran a bare one.

    Behind the same server, the throughput with the application over that with the bare one is one minus the
    share of the time that the application adds. Without a bare one a run can only give a bound: whatever the
    application costs, it costs no more than a whole request does behind the leanest server.
    """
    title = (
        f"share of a request's time that {condition.application} takes under {condition.workload}, "
        f"{condition.limit.value:.0%} at most"
    )
    levels = levels_of(summary, condition.workload, "")
    if not levels:
        return title, [absent(meta, condition.workload, "")]
    found = [each for level in levels for each in _beside_bare(condition, meta, level)]
    if found:
        return title, found
    without = (
        f"this run has no application {condition.bare} to hold it against; "
        f"gatebench run --apps '{condition.application} {condition.bare}' would tell"
    )
    bounds = "; ".join(filter(None, (_bounds(condition, meta, level) for level in levels)))
    detail = f"{without}; what is known: {bounds}" if bounds else without
    return title, [Observation(condition.application, None, detail)]


def _beside_bare(condition: ApplicationCostCondition, meta: RunMeta, level: LevelResult) -> list[Observation]:
    variants: dict[tuple[str, str], dict[str, str]] = {}
    for subject in meta.competitors:
        variants.setdefault((subject.server, subject.variant), {})[subject.app] = subject.id
    found = []
    for applications in variants.values():
        if not {condition.application, condition.bare} <= set(applications):
            continue
        own, bare = applications[condition.application], applications[condition.bare]
        pair = next((each for each in level.comparisons if {each.left, each.right} == {own, bare}), None)
        seen = oriented(pair, own) if pair is not None else None
        if seen is None or seen.low is None or seen.high is None or level.metric.name != "rps":
            found.append(Observation(own, None, "not compared with the bare one"))
            continue
        least = Limit(1 - condition.limit.value, above=False)
        shares = [f"{max(0.0, 1 - each):.0%}" for each in (seen.value, seen.high, seen.low)]
        detail = f"{shares[0]}, {shares[1]} to {shares[2]}"
        found.append(Observation(own, keeps(least, seen.low, seen.high), detail))
    return found


def _bounds(condition: ApplicationCostCondition, meta: RunMeta, level: LevelResult) -> str:
    """By interface, since the forms differ: the leanest server's whole request, as a share of the others'."""
    subjects = {each.id: each for each in meta.competitors if each.app == condition.application}
    said = []
    for interface in ("wsgi", "asgi"):
        costs = {
            cell.subject: cell.cpu_us_per_request
            for cell in level.cells
            if cell.status == "ok"
            and cell.cpu_us_per_request is not None
            and cell.subject in subjects
            and cell.interface == interface
        }
        if not costs:
            continue
        leanest = min(costs, key=lambda subject: (costs[subject], subject))
        least_us = costs[leanest]
        under = [
            f"{least_us / cost_us:.0%} of {subject}'s"
            for subject, cost_us in sorted(costs.items(), key=lambda item: -item[1])
            if least_us <= condition.limit.value * cost_us
        ]
        text = (
            f"over {interface.upper()} it takes under {shown(least_us)} µs of CPU time, all that {leanest} "
            "spends on a request"
        )
        said.append(f"{text}: at most {', '.join(under)}" if under else text)
    return "; ".join(said)
