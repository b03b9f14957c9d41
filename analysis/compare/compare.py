"""Compares two runs: cells by Welch's interval on block means, and the order of subjects. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analysis.figures.leads import Metric
from analysis.figures.statistics import MIN_EFFECT, Comparison, Estimate
from analysis.load.meta import LevelPlan, SubjectMeta

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.figures.results import CellResult
    from analysis.load.meta import LevelPlan, RunMeta, SubjectMeta

from collections import defaultdict
from typing import TYPE_CHECKING

from analysis.words import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from analysis.load.meta import RunMeta, SubjectMeta

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from analysis.figures.cells import level_data
from analysis.figures.leads import lead_table
from analysis.figures.statistics import CONFIDENCE, MIN_BLOCKS, SIGNIFICANCE, block_means, holm, noise_band
from gatebench.words.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from analysis.figures.results import LevelResult, Summary
    from analysis.figures.statistics import Array, Comparison
    from analysis.load.meta import LevelPlan, RunMeta
    from analysis.load.run import Run


CellVerdict = Literal["regression", "improvement", "no difference shown", "not comparable"]
Outcome = Literal["held", "flipped", "cannot be told"]


@dataclass(frozen=True, slots=True)
class Change:
    """A condition that differs; `a` and `b` are empty where a run has no such thing."""

    what: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """B over A of one cell's leading figure, from independent runs.

    Attributes:
        low, high: the unadjusted 95 % interval of `ratio` (Welch); None with under two blocks in either run.
        p: Holm-adjusted over all cells that have a verdict; None for the others.
    """

    ratio: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True, slots=True)
class CellComparison:
    """One cell that both runs planned.

    Attributes:
        a, b: its leading figure in each run, in the metric's stored unit; None where it has none.
        ratio: None where the cell is not comparable at all.
        noise: ratio over 1 up to which nothing is a difference: 3 %, or a run's wider A/A band.
        reasons: why there is no verdict; each begins with a code and a colon. Empty where there is one.
    """

    subject: SubjectMeta
    plan: LevelPlan
    metric: Metric
    a: Estimate | None
    b: Estimate | None
    ratio: Ratio | None
    noise: float
    verdict: CellVerdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairComparison:
    """Two subjects against each other within A, and the same two within B.

    Attributes:
        a, b: left over right.
    """

    plan: LevelPlan
    metric: Metric
    a: Comparison
    b: Comparison
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Shift:
    """What all cells of a level did together.

    Attributes:
        ratio: geometric mean of B over A.
        lowest, highest: of the single cells.
    """

    plan: LevelPlan
    cells: int
    ratio: float
    lowest: float
    highest: float

    @property
    def alike(self) -> bool:
        """Whether three cells or more all moved the same way, and by more than is never a difference."""
        beyond = max(self.ratio, 1 / self.ratio) > MIN_EFFECT
        return beyond and self.cells >= 3 and (self.highest < 1 or self.lowest > 1)


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Everything that two runs say of each other.

    Attributes:
        a, b: IDs of the runs.
        changes: what differs in their conditions.
        cells: every cell that both runs planned, in the order of A.
        pairs: every pair of subjects that both runs compared.
    """

    a: str
    b: str
    changes: tuple[Change, ...]
    cells: tuple[CellComparison, ...]
    pairs: tuple[PairComparison, ...]
    shifts: tuple[Shift, ...]

    def with_verdict(self, verdict: CellVerdict) -> tuple[CellComparison, ...]:
        """The cells with that verdict."""
        return tuple(cell for cell in self.cells if cell.verdict == verdict)

    def with_outcome(self, outcome: Outcome) -> tuple[PairComparison, ...]:
        """The pairs with that outcome."""
        return tuple(pair for pair in self.pairs if pair.outcome == outcome)

    @property
    def says_something(self) -> bool:
        """Whether anything at all could be compared."""
        return bool(self.pairs) or any(cell.ratio is not None for cell in self.cells)


IDENTIFIES_A_MACHINE = ("system", "architecture", "cpu", "cores")
_HOW_IT_DIFFERS = "is not the same in both runs, or a run does not record what it was (hashes in run.json)"
_SAME_RATE = 0.01
"""A ladder's rates follow from what a run measured; within one hundredth they are the same load."""


def run_refusals(a: RunMeta, b: RunMeta) -> tuple[str, ...]:
    """Why no cell of the two runs can be compared; empty where some may."""
    found = []
    if a.server_cores != b.server_cores:
        found.append(f"cores: a server had {a.server_cores} in A and {b.server_cores} in B")
    if a.workers != b.workers:
        found.append(f"workers: worker processes of a server: {a.workers} in A and {b.workers} in B")
    if a.threads != b.threads:
        found.append(f"threads: servers that take a number of threads had {a.threads} in A, {b.threads} in B")
    return tuple(found)


def run_doubts(a: RunMeta, b: RunMeta) -> tuple[str, ...]:
    """Why no cell of the two runs has a verdict although ratios are shown; empty where they may."""
    found = []
    if _instrument_differs(a, b):
        found.append(
            "instrument: B was measured with other code than A (or a run does not record with which), so a "
            "difference may be the instrument's; measure both with one version of Gatebench"
        )
    engines = len(a.cores["engine"]), len(b.cores["engine"])
    if engines[0] != engines[1]:
        found.append(f"engine: processes of the load engine: {engines[0]} in A and {engines[1]} in B")
    machine = [
        f"{name} {a.machine.get(name)} and {b.machine.get(name)}"
        for name in IDENTIFIES_A_MACHINE
        if a.machine.get(name) != b.machine.get(name)
    ]
    if machine:
        found.append(f"machine: the runs are of two machines ({'; '.join(machine)})")
    return tuple(found)


def cell_refusals(
    a: RunMeta, b: RunMeta, plans: tuple[LevelPlan, LevelPlan], subjects: tuple[SubjectMeta, SubjectMeta]
) -> tuple[str, ...]:
    """Why one cell cannot be compared, whatever was measured of it.

    Args:
        a: the one run.
        b: the other.
        plans: of the cell's level in each.
        subjects: the cell's in each.
    """
    found = []
    application, workload = subjects[0].app, plans[0].workload
    if _hash_differs(a, b, f"apps/{application}"):
        found.append(f"application: {application} {_HOW_IT_DIFFERS}")
    if subjects[0].interface != subjects[1].interface:
        found.append(f"application: {subjects[0].interface} in A and {subjects[1].interface} in B")
    if _hash_differs(a, b, f"workloads/{workload}"):
        found.append(f"workload: {workload} {_HOW_IT_DIFFERS}")
    if (set_a := a.workload(workload).options) != (set_b := b.workload(workload).options):
        found.append(f"options of the Locust file: {_set(set_a)} in A and {_set(set_b)} in B")
    if plans[0].model == "idle" and a.counts_anonymous != b.counts_anonymous:
        found.append("memory: PSS in the one run, anonymous memory in the other")
    if _load(plans[0]) != _load(plans[1]) or _rates_differ(*plans):
        found.append(f"load: {plans[0].load} in A and {plans[1].load} in B")
    return tuple(found)


def status_refusals(a: CellResult, b: CellResult) -> tuple[str, ...]:
    """Why a cell has no figure to compare: it must be valid in both runs."""
    cells = [("A", a), ("B", b)]
    return tuple(
        f"{cell.status}: in {run}{f' ({cell.code})' if cell.code not in {'', cell.status} else ''}"
        for run, cell in cells
        if cell.status != "ok"
    )


def _instrument_differs(a: RunMeta, b: RunMeta) -> bool:
    """Whether other code measured B. Early runs know their load engine's hash alone."""
    recorded = "instrument" in a.hashes or "instrument" in b.hashes
    return _hash_differs(a, b, "instrument" if recorded else "engine")


def _hash_differs(a: RunMeta, b: RunMeta, name: str) -> bool:
    """Whether contents differ, or whether a run does not say what it measured."""
    return name not in a.hashes or a.hashes[name] != b.hashes.get(name)


def _load(plan: LevelPlan) -> tuple[object, ...]:
    return plan.model, plan.connections, plan.window, plan.objective, plan.capacity_share


def _rates_differ(a: LevelPlan, b: LevelPlan) -> bool:
    if a.rate_per_s is None or b.rate_per_s is None:
        return a.rate_per_s != b.rate_per_s
    return abs(a.rate_per_s / b.rate_per_s - 1) > _SAME_RATE


def _set(options: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "none"


_OF_THE_MOMENT = frozenset({"load_average_1m"})
"""Facts of the machine that differ between any two runs."""
_HASH_DIGITS = 12


def changes(a: RunMeta, b: RunMeta) -> tuple[Change, ...]:
    """Every condition that differs, those of the whole run first.

    Of the servers' commands, those with placeholders are compared: exact argument vectors differ in ports and
    folders from run to run.
    """
    found = _differing(_facts(a), _facts(b))
    # Contents that only one run has show in its levels and subjects.
    found += [each for each in _differing(_contents(a), _contents(b)) if each.a and each.b]
    found += _differing(_plan(a), _plan(b))
    return (*found, *_subjects(a, b))


def _differing(a: Mapping[str, str], b: Mapping[str, str]) -> list[Change]:
    keys = dict.fromkeys([*a, *b])
    return [Change(key, a.get(key, ""), b.get(key, "")) for key in keys if a.get(key, "") != b.get(key, "")]


def _facts(meta: RunMeta) -> dict[str, str]:
    engine = meta.container_engine
    image = meta.load_image
    return {
        **{
            f"machine, {name}": "" if value is None else str(value)
            for name, value in meta.machine.items()
            if name not in _OF_THE_MOMENT
        },
        "Gatebench": meta.gatebench,
        **{f"lab's {name}": version for name, version in meta.versions.items()},
        "runner": meta.runner,
        "network": meta.network,
        "container engine": engine.short if engine else "",
        "load generator's image": image.short_id if image else "",
        "profile": meta.profile,
        "budget": f"{meta.budget_s:g} s",
        "seed": str(meta.seed),
        "servers up": "one at a time" if meta.exclusive else "all at once",
        "blocks": str(meta.blocks),
        **{f"{role} cores": ", ".join(map(str, numbers)) for role, numbers in meta.cores.items()},
        "worker processes": str(meta.workers),
        "threads": str(meta.threads),
    }


def _contents(meta: RunMeta) -> dict[str, str]:
    """Of the engine, the applications and the workloads."""
    return {_hashed(name): digest[:_HASH_DIGITS] for name, digest in sorted(meta.hashes.items())}


def _hashed(name: str) -> str:
    kind, _, rest = name.partition("/")
    words = {"apps": f"application {rest}", "workloads": f"workload {rest}", "engine": "load engine"}
    return f"{words.get(kind, name)}, content"


def _plan(meta: RunMeta) -> dict[str, str]:
    return {f"level {plan.id}": plan.load for plan in meta.levels}


_OF_SUBJECTS: Mapping[str, Callable[[SubjectMeta], str]] = {
    "version": lambda subject: subject.version or "",
    "command": lambda subject: " ".join(subject.command),
    "capabilities": lambda subject: ", ".join(sorted(subject.supports)),
    "class": lambda subject: "tuned" if subject.tuned else "default",
    "interface": lambda subject: subject.interface,
    "Python": lambda subject: subject.image.python if subject.image else "",
    "image": lambda subject: subject.image.short_id if subject.image else "",
    "state": lambda subject: "ready" if subject.ready else f"unavailable: {subject.reason}",
}


def _subjects(a: RunMeta, b: RunMeta) -> list[Change]:
    """Of the subjects; those of which the same changed share a line."""
    of_a, of_b = ({subject.id: subject for subject in meta.competitors} for meta in (a, b))
    both = [subject for subject in of_a if subject in of_b]
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for subject in both:
        for what, value in _OF_SUBJECTS.items():
            found[what, value(of_a[subject]), value(of_b[subject])].append(subject)
        found["packages", *_packages(of_a[subject], of_b[subject])].append(subject)
    changed = [
        Change(f"{what} of {names(subjects)}", before, after)
        for (what, before, after), subjects in found.items()
        if before != after
    ]
    only_a = ", ".join(subject for subject in of_a if subject not in of_b)
    only_b = ", ".join(subject for subject in of_b if subject not in of_a)
    return [*changed, *([Change("subjects in one run only", only_a, only_b)] if only_a or only_b else [])]


def _packages(a: SubjectMeta, b: SubjectMeta) -> tuple[str, str]:
    """The packages of which the versions differ, the server's own aside, which has its own line."""
    versions = {subject.version for subject in (a, b)}
    differing = sorted(
        name
        for name in {*a.packages, *b.packages}
        if a.packages.get(name) != b.packages.get(name)
        and {a.packages.get(name), b.packages.get(name)} != versions
    )
    before, after = (
        ", ".join(f"{name} {subject.packages[name]}" for name in differing if name in subject.packages)
        for subject in (a, b)
    )
    return before, after


_OPPOSITE = {"higher": "lower", "lower": "higher"}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    run: Run
    summary: Summary

    @property
    def meta(self) -> RunMeta:
        """What `run.json` says."""
        return self.run.meta

    def level(self, plan: LevelPlan) -> LevelResult | None:
        """The level of that workload and name; None where this run has none."""
        wanted = plan.workload, plan.level
        return next((each for each in self.summary.levels if (each.workload, each.level) == wanted), None)


def compare_runs(a: Side, b: Side) -> RunComparison:
    """What B says against A.

    The interval of a cell's ratio holds what differs from block to block within each run. The two runs were
    made at different times, so the machine's drift from one to the other is in the ratio and not in the
    interval. In the ratios of two subjects within a run it cancels.

    Raises:
        ConfigurationError: both are the same run, or they have no cell in common.
    """
    if a.meta.run == b.meta.run:
        raise ConfigurationError(f"both folders hold the run {a.meta.run}; name two runs")
    cells: list[CellComparison] = []
    pairs: list[PairComparison] = []
    for level in a.summary.levels:
        other = b.level(level.plan)
        if other is None:
            continue
        compared = _cells(a, b, level, other)
        cells += compared
        pairs += _pairs(level, other, _in_order(compared))
    if not cells:
        raise ConfigurationError(_nothing_in_common(a.meta, b.meta))
    judged = _judge(cells)
    return RunComparison(
        a=a.meta.run,
        b=b.meta.run,
        changes=changes(a.meta, b.meta),
        cells=tuple(judged),
        pairs=tuple(pairs),
        shifts=_shifts(judged),
    )


def welch(a: Array, b: Array) -> Ratio:
    """B over A from the logarithms of two independent runs' blocks, with the p of "no difference".

    Welch's interval (Welch, 1947): the runs may be noisy to different degrees and differ in blocks.
    """
    mean = float(b.mean() - a.mean())
    if min(len(a), len(b)) < MIN_BLOCKS:
        return Ratio(float(np.exp(mean)), None, None, None)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    variance = float(sum(parts))
    if variance == 0:
        return Ratio(float(np.exp(mean)), float(np.exp(mean)), float(np.exp(mean)), float(mean == 0))
    freedom = variance**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    error = variance**0.5
    half = error * float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
    p = 2 * float(special.stdtr(freedom, -abs(mean) / error))
    return Ratio(float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)), p)


def _cells(a: Side, b: Side, level: LevelResult, other: LevelResult) -> list[CellComparison]:
    """Every competitor that both runs have; their p-values are not adjusted and verdicts open."""
    tables = lead_table(level_data(a.run, level.plan)), lead_table(level_data(b.run, other.plan))
    of_a, of_b = ({cell.subject: cell for cell in each.cells} for each in (level, other))
    doubts = run_doubts(a.meta, b.meta)
    noise = max(MIN_EFFECT, *(_noise(table, side.meta) for table, side in zip(tables, (a, b), strict=True)))
    found = []
    for subject in a.meta.competitors:
        if subject.id not in {each.id for each in b.meta.competitors}:
            continue
        cell_a, cell_b = of_a[subject.id], of_b[subject.id]
        if cell_a.status == cell_b.status == "unsupported":
            continue
        in_both = subject, b.meta.subject(subject.id)
        refused = (
            *run_refusals(a.meta, b.meta),
            *cell_refusals(a.meta, b.meta, (level.plan, other.plan), in_both),
            *status_refusals(cell_a, cell_b),
        )
        means = [_means(table, subject.id) for table in tables]
        if not refused and not all(len(each) for each in means):
            refused = (f"not-measured: {level.metric.label} has no figure in one of the runs",)
        ratio = None if refused else welch(*means)
        few = () if refused else _too_few(*map(len, means))
        found.append(
            CellComparison(
                subject=subject,
                plan=level.plan,
                metric=level.metric,
                a=cell_a.lead,
                b=cell_b.lead,
                ratio=ratio,
                noise=noise,
                verdict="not comparable",
                reasons=refused or (*doubts, *few),
            )
        )
    return found


def _too_few(a: int, b: int) -> tuple[str, ...]:
    if min(a, b) >= MIN_BLOCKS:
        return ()
    return (f"too-few-blocks: a verdict needs {MIN_BLOCKS} in each run, and there are {a} and {b}",)


def _noise(table: pd.DataFrame, meta: RunMeta) -> float:
    """A run's own A/A band in one level; 1 where no subject was measured twice in it."""
    twin = meta.twin
    return (noise_band(table, twin.twin_of, twin.id) if twin is not None else None) or 1.0


def _means(table: pd.DataFrame, subject: str) -> Array:
    return block_means(table[subject]) if subject in table else np.array([], dtype=np.float64)


def _judge(cells: Sequence[CellComparison]) -> list[CellComparison]:
    """The cells with their verdicts, p adjusted over all that may have one (Holm)."""
    judged = list(cells)
    open_cells = [index for index, cell in enumerate(cells) if not cell.reasons]
    raw = [ratio.p or 0.0 for index in open_cells if (ratio := cells[index].ratio) is not None]
    adjusted = dict(zip(open_cells, holm(raw), strict=True))
    for index, cell in enumerate(cells):
        if cell.ratio is None:
            continue
        ratio = replace(cell.ratio, p=adjusted.get(index))
        verdict = cell.verdict if cell.reasons else cell_verdict(ratio, cell.metric.better, cell.noise)
        judged[index] = replace(cell, ratio=ratio, verdict=verdict)
    return judged


def cell_verdict(ratio: Ratio, better: str, noise: float) -> CellVerdict:
    """As within a run: the interval, the adjusted p and the size of the effect must agree.

    Args:
        ratio: B over A, its p adjusted.
        better: `higher` or `lower`, of the figure.
        noise: ratio over 1 up to which nothing is a difference.
    """
    if ratio.low is None or ratio.high is None or ratio.p is None:
        return "no difference shown"
    excludes_one = ratio.low > 1 or ratio.high < 1
    effect = max(ratio.ratio, 1 / ratio.ratio)
    if not excludes_one or ratio.p >= SIGNIFICANCE or effect <= noise:
        return "no difference shown"
    return "improvement" if (ratio.ratio > 1) == (better == "higher") else "regression"


def _in_order(cells: Sequence[CellComparison]) -> frozenset[str]:
    """The subjects whose place in the order may be compared: those that are not refused."""
    return frozenset(cell.subject.id for cell in cells if cell.ratio is not None)


def _pairs(level: LevelResult, other: LevelResult, subjects: frozenset[str]) -> list[PairComparison]:
    in_b = {(pair.left, pair.right): pair for pair in other.comparisons}
    return [
        PairComparison(level.plan, level.metric, pair, in_b[key], outcome(pair, in_b[key]))
        for pair in level.comparisons
        if (key := (pair.left, pair.right)) in in_b and {*key} <= subjects
    ]


def outcome(a: Comparison, b: Comparison) -> Outcome:
    """Whether a difference that A shows is one in B as well; a tie in either says nothing."""
    if a.verdict not in _OPPOSITE or b.verdict not in _OPPOSITE:
        return "cannot be told"
    return "held" if a.verdict == b.verdict else "flipped"


def _shifts(cells: Sequence[CellComparison]) -> tuple[Shift, ...]:
    by_level: dict[LevelPlan, list[float]] = {}
    for cell in cells:
        if cell.ratio is not None:
            by_level.setdefault(cell.plan, []).append(cell.ratio.ratio)
    return tuple(
        Shift(plan, len(ratios), float(np.exp(np.log(ratios).mean())), min(ratios), max(ratios))
        for plan, ratios in by_level.items()
    )


def _nothing_in_common(a: RunMeta, b: RunMeta) -> list[str]:
    """What each run has, so that a reader sees why they do not meet."""
    levels = [", ".join(plan.id for plan in meta.levels) or "none" for meta in (a, b)]
    subjects = [", ".join(each.id for each in meta.competitors) or "none" for meta in (a, b)]
    return [
        f"the runs {a.run} and {b.run} have no cell in common, so there is nothing to compare",
        f"levels of A: {levels[0]}; of B: {levels[1]}",
        f"subjects of A: {subjects[0]}; of B: {subjects[1]}",
    ]
