"""Holds claims against a run: supported, contradicted or undecided, each with its evidence in words. Pure.

Every condition is asked of each subject by itself, with three possible answers: it holds, it does not, or the
run cannot tell, as where a cell is invalid or an interval lies across the limit. Only answers make a verdict:
what was not measured supports nothing, and one subject of which the run cannot tell leaves a statement about
every one undecided.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.claims.applications import application_cost, application_ratio
from analysis.claims.evidence import Observation, capabilities, figures, ratio, servers
from analysis.claims.file import (
    ApplicationRatioCondition,
    CapabilityCondition,
    Claim,
    FigureCondition,
    RatioCondition,
    Scope,
    ServesCondition,
)
from analysis.figures.results import ClaimResult, ClaimVerdict
from analysis.words import names
from gatebench.registry.registry import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from analysis.claims.file import (
        CapabilityCondition,
        Condition,
        FigureCondition,
        RatioCondition,
        ServesCondition,
    )
    from analysis.figures.results import Summary
    from gatebench.results.schema import RunMeta


@dataclass(frozen=True, slots=True)
class _Answer:
    """Whether a condition holds (None: the run cannot tell), and why."""

    holds: bool | None
    evidence: str


def check(claims: Iterable[Claim], run_meta: RunMeta, summary: Summary) -> tuple[ClaimResult, ...]:
    """The verdict on each claim, in their order; a twin that shows the run's noise says nothing of it.

    A claim of the project's own about applications of which the run measured none is left out: every run of
    something else would be told that it cannot tell.
    """
    asked = [each for each in claims if not each.shipped or _concerns(each, run_meta)]
    return tuple(_check(claim, run_meta, summary) for claim in asked)


def _concerns(claim: Claim, meta: RunMeta) -> bool:
    """Whether the run measured anything that a condition of the claim names by its application."""
    applications = {subject.app for subject in meta.competitors}
    subjects = tuple(subject.id for subject in meta.competitors)
    for condition in claim.conditions:
        if isinstance(condition, ApplicationRatioCondition):
            concerned = {condition.left, condition.right} <= applications
        elif isinstance(condition, RatioCondition):
            named = {side.partition("+")[2] for side in (condition.left, condition.right)}
            concerned = named - {""} <= applications
        elif isinstance(condition, FigureCondition) and condition.subjects:
            concerned = any(matches(each, subjects, whole_servers=True) for each in condition.subjects)
        else:
            concerned = True
        if concerned:
            return True
    return False


def _check(claim: Claim, meta: RunMeta, summary: Summary) -> ClaimResult:
    answers = [_answer(each, claim.threads, meta, summary) for each in claim.conditions]
    verdict: ClaimVerdict = "undecided"
    if any(answer.holds is False for answer in answers):
        verdict = "contradicted"
    elif all(answer.holds for answer in answers):
        verdict = "supported"
    evidence = " ".join(answer.evidence for answer in answers)
    return ClaimResult(claim.id, claim.text, claim.source, verdict, evidence)


def _answer(condition: Condition, threads: Mapping[str, int], meta: RunMeta, summary: Summary) -> _Answer:
    if isinstance(condition, FigureCondition):
        title, found = figures(condition, threads, meta, summary)
        return _Answer(scoped(condition.scope, found), _listed(title, found))
    if isinstance(condition, CapabilityCondition):
        title, found = capabilities(condition, meta, summary)
        return _Answer(scoped(condition.scope, found), _listed(title, found))
    if isinstance(condition, ServesCondition):
        title, found = servers(condition, meta, summary)
    elif isinstance(condition, RatioCondition):
        title, found = ratio(condition, meta, summary)
    elif isinstance(condition, ApplicationRatioCondition):
        title, found = application_ratio(condition, meta, summary)
    else:
        title, found = application_cost(condition, meta, summary)
    return _Answer(scoped("every", found), _listed(title, found))


def scoped(scope: Scope, found: Sequence[Observation]) -> bool | None:
    """Whether the condition holds of every, some or none of what was seen; None where that cannot be told."""
    answers = [each.holds for each in found if each.counts]
    if scope == "none":
        answers = [None if answer is None else not answer for answer in answers]
    if not answers:
        return None
    if scope == "some":
        return True if True in answers else _unless_unknown(answers, otherwise=False)
    return False if False in answers else _unless_unknown(answers, otherwise=True)


def _unless_unknown(answers: Sequence[bool | None], *, otherwise: bool) -> bool | None:
    return None if None in answers else otherwise


def _listed(title: str, found: Sequence[Observation]) -> str:
    """`title: yes of …; no of …; cannot be told of …; left out: …` in one sentence."""
    parts = {
        "yes of": [each for each in found if each.counts and each.holds],
        "no of": [each for each in found if each.counts and each.holds is False],
        "cannot be told of": [each for each in found if each.counts and each.holds is None],
        "left out:": [each for each in found if not each.counts],
    }
    said = [f"{name} {_joined(each)}" for name, each in parts.items() if each]
    return f"{title}: {'; '.join(said) or 'nothing in this run'}."


def _joined(found: Sequence[Observation]) -> str:
    """Names with what was seen of them; those of which the same was seen, together."""
    by_detail: dict[str, list[str]] = defaultdict(list)
    for each in found:
        by_detail[each.detail].append(each.name)
    return ", ".join(f"{names(alike)} ({detail})" for detail, alike in by_detail.items())
