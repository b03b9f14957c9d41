"""What a run says of the applications behind its servers: what one costs, and what another costs more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.claims.evidence import Observation, absent, keeps, levels_of, oriented, ratio_of, shown
from analysis.claims.file import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.claims.file import ApplicationCostCondition, ApplicationRatioCondition
    from analysis.figures.results import LevelResult, Summary
    from gatebench.results.schema import RunMeta


def application_ratio(
    condition: ApplicationRatioCondition, meta: RunMeta, summary: Summary
) -> tuple[str, list[Observation]]:
    """The ratio of two applications, behind each server that ran both."""
    title = f"{condition.left} over {condition.right} under {condition.workload}, {condition.limit}"
    levels = levels_of(summary, condition.workload, condition.level)
    if not levels:
        return title, [absent(meta, condition.workload, condition.level)]
    found = [
        ratio_of(level, pair, condition.limit, meta.workload(level.workload), name=pair[0])
        for level in levels
        for pair in _behind_one_server(meta, condition.left, condition.right)
    ]
    without = Observation(condition.left, None, f"no server of this run ran both it and {condition.right}")
    return title, found or [without]


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
    found = []
    for own, bare in _behind_one_server(meta, condition.application, condition.bare):
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


def _behind_one_server(meta: RunMeta, *applications: str) -> Iterator[tuple[str, ...]]:
    """The subjects of one server's variant that run these applications, of each that runs all of them."""
    variants: dict[tuple[str, str], dict[str, str]] = {}
    for subject in meta.competitors:
        variants.setdefault((subject.server, subject.variant), {})[subject.app] = subject.id
    for subjects in variants.values():
        if subjects.keys() >= set(applications):
            yield tuple(subjects[each] for each in applications)


def _bounds(condition: ApplicationCostCondition, meta: RunMeta, level: LevelResult) -> str:
    """By interface, since the forms differ: the leanest server's whole request, as a share of the others'."""
    subjects = {each.id: each for each in meta.competitors if each.app == condition.application}
    said = []
    for interface in ("wsgi", "asgi"):
        costs = {
            cell.subject: cell.cpu_us_per_request
            for cell in level.cells
            if cell.status_of("cpu_us_per_request") == "ok"
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
