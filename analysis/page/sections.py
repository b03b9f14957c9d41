"""What the page shows of levels, of workloads and of the whole run, ready for its template."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Literal

from analysis.figures.gates import FIGURES
from analysis.figures.leads import (
    CONNECTION_MEMORY,
    CPU,
    DELAYS,
    FIT,
    LAST_P50,
    LAST_P99,
    LATENCIES,
    MIB_PER_S,
    REQUESTS_PER_CONNECTION,
    RESPONSES,
    RPS,
    SERVICE_P50,
    SERVICE_P99,
    WITHIN_OBJECTIVE,
    Metric,
    memory_metrics,
)
from analysis.figures.results import Standing, standings
from analysis.words import findings, interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from analysis.figures.gates import FigureName
    from analysis.figures.results import CellResult, LevelResult, Summary
    from analysis.figures.statistics import Comparison
    from analysis.page.pictures import Shown
    from analysis.reading.run import Run
    from gatebench.results.schema import RunMeta, WorkloadMeta


MOST_NAMES = 30
"""Names that the page shows of one subject at one level; `summary.json` has all that were kept."""
MOST_PAIRS = 300
"""Comparisons that the page shows of a level: all of 24 subjects. More would only make it slow."""
_MENTIONED_BYTES = 1024
"""Bodies of a request and its answer from which on MiB/s say something."""


@dataclass(frozen=True, slots=True)
class NamedRow:
    """What a Locust file did under one name; of `counts` (answers, failures, not counted) None is neither."""

    subject: str
    name: str
    counts: tuple[int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class LevelSection:
    """What the page shows of one level.

    Attributes:
        anchor: its ID on the page.
        metrics: the figures beside the leading one.
        largest: the largest leading figure, which the bars of the table are drawn against; 0 without one.
        percentiles: at one rate for all, every subject's p50, p90 and p99, each with interval and place.
    """

    level: LevelResult
    anchor: str
    findings: Sequence[str]
    rows: Sequence[Standing]
    metrics: Sequence[Metric]
    pictures: Sequence[Shown]
    largest: float
    percentiles: Matrix | None

    @property
    def named(self) -> Sequence[NamedRow]:
        """What a Locust file did with each subject; of very many names, those that came most often."""
        return [row for cell in self.level.cells for row in _named(cell)]

    def share(self, cell: CellResult) -> float:
        """The cell's leading figure in percent of the largest one."""
        return 100 * cell.lead.estimate / self.largest if cell.lead and self.largest else 0.0

    @property
    def pairs(self) -> Sequence[Comparison]:
        """Every comparison; where they are very many, those with the leader and those of neighbors."""
        if len(self.level.comparisons) <= MOST_PAIRS:
            return self.level.comparisons
        ranked = [row.cell.subject for row in self.rows if row.best is not None]
        near = [{ranked[0], other} for other in ranked[1:]]
        near += [{one, next_one} for one, next_one in pairwise(ranked)]
        return [pair for pair in self.level.comparisons if {pair.left, pair.right} in near]


@dataclass(frozen=True, slots=True)
class WorkloadSection:
    """A workload with its levels; `pictures` and `matrix` show them side by side.

    Attributes:
        matrix: the leading figures of all levels; None where there is only one.
    """

    workload: WorkloadMeta
    anchor: str
    pictures: Sequence[Shown]
    levels: Sequence[LevelSection]
    matrix: Matrix | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a matrix.

    Attributes:
        note: what stands small beside it, such as a place.
        kind: `leads` for the leader and its ties, `apart` for a figure that is in no place.
    """

    text: str
    note: str = ""
    kind: Literal["", "leads", "apart"] = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Subjects against levels.

    Attributes:
        columns: of each, its heading in two lines and which end is the good one.
        rows: subject, interface and a field for each column.
    """

    columns: Sequence[tuple[str, str, Literal["higher", "lower"]]]
    rows: Sequence[tuple[str, str, Sequence[Entry]]]


def workload_sections(
    run: Run, summary: Summary, of_levels: Sequence[Sequence[Shown]], of_workloads: Sequence[Sequence[Shown]]
) -> list[WorkloadSection]:
    """The workloads in the order of the run, each with its levels.

    Args:
        run: where the workloads are described.
        summary: the result of `run`.
        of_levels: pictures of each level, in the order of `summary.levels`.
        of_workloads: pictures of each workload, in the order in which `workload_names` has them.
    """
    sections = [_level(run, level, shown) for level, shown in zip(summary.levels, of_levels, strict=True)]
    by_workload = [list(group) for _, group in groupby(_together(sections), lambda each: each.level.workload)]
    return [
        WorkloadSection(
            workload=run.meta.workload(levels[0].level.workload),
            anchor=f"workload:{levels[0].level.workload}",
            pictures=shown,
            levels=levels,
            matrix=overview(levels) if len(levels) > 1 else None,
        )
        for levels, shown in zip(by_workload, of_workloads, strict=True)
    ]


def workload_names(summary: Summary) -> list[str]:
    """The workloads in the order in which they first appear."""
    return list(dict.fromkeys(level.workload for level in summary.levels))


def _together(sections: Sequence[LevelSection]) -> list[LevelSection]:
    """The levels of a workload side by side, whatever order they were run in."""
    names = list(dict.fromkeys(section.level.workload for section in sections))
    return sorted(sections, key=lambda section: names.index(section.level.workload))


def _level(run: Run, level: LevelResult, pictures: Sequence[Shown]) -> LevelSection:
    workload = run.meta.workload(level.workload)
    return LevelSection(
        level=level,
        anchor=f"{level.workload}-{level.level}",
        findings=findings(level, workload),
        rows=standings(level),
        metrics=_shown_metrics(run.meta, level, workload),
        pictures=pictures,
        largest=max((cell.lead.estimate for cell in level.cells if cell.lead), default=0.0),
        percentiles=_percentiles(level) if level.percentiles else None,
    )


def _percentiles(level: LevelResult) -> Matrix:
    """Each percentile that the level is ranked by, in a column of its own."""

    def entry(row: Standing, metric: Metric) -> Entry:
        found = _leading(row, metric)
        within = interval(row.cell.lead, metric) if row.cell.shown else ""
        return replace(found, note=", ".join(filter(None, (within, found.note and f"place {found.note}"))))

    ranked = [(each.metric, standings(each)) for each in (*level.percentiles, level)]
    columns = [_Column(metric.label, metric.unit, metric, rows) for metric, rows in ranked]
    return _matrix(columns, [row.cell for row in columns[0].rows], entry)


def _named(cell: CellResult) -> list[NamedRow]:
    details, subject = cell.details, cell.subject
    counted = sorted(details.names.items(), key=lambda item: -(item[1].answers + item[1].failures))
    rows = [NamedRow(subject, name, (each.answers, each.failures, None)) for name, each in counted]
    left = sorted(details.uncounted.items(), key=lambda item: -item[1])
    others = [NamedRow(subject, what, (None, None, count)) for what, count in left]
    cut = [
        NamedRow(subject, f"{len(each) - MOST_NAMES} more names, in summary.json", (None, None, None))
        for each in (rows, others)
        if len(each) > MOST_NAMES
    ]
    return [*rows[:MOST_NAMES], *others[:MOST_NAMES], *cut]


def _shown_metrics(meta: RunMeta, level: LevelResult, workload: WorkloadMeta) -> list[Metric]:
    """What a level's table shows beside the leading figure, which comes first."""
    lead = level.metric
    memory = memory_metrics(meta)
    costs = (CPU, *memory, REQUESTS_PER_CONNECTION)
    if lead.name == CONNECTION_MEMORY.name:
        return [FIT, *memory]
    if lead.name == WITHIN_OBJECTIVE.name:
        return [CPU, *memory]
    bodies = [MIB_PER_S] if workload.body_bytes > _MENTIONED_BYTES else []
    if level.plan.paced:
        responses = [each for each in RESPONSES if each.name != lead.name]
        return [*responses, SERVICE_P50, SERVICE_P99, RPS, *bodies, *costs]
    if workload.exchange == "broadcast":
        return [*DELAYS, LAST_P50, LAST_P99, CPU, *memory]
    return [*bodies, *LATENCIES, *costs]


def overview(sections: Sequence[LevelSection]) -> Matrix:
    """The leading figure of every subject at every level, with its place."""
    columns = [_column(section, section.level.metric) for section in sections]
    return _matrix(columns, _cells(sections), _leading)


def costs(meta: RunMeta, sections: Sequence[LevelSection]) -> list[tuple[Metric, Matrix]]:
    """The CPU time and the memory of every subject at the levels where they were measured."""
    shown = []
    for metric in (CPU, memory_metrics(meta)[0]):
        columns = [_column(section, metric) for section in sections if _has(section, metric)]
        if columns:
            shown.append((metric, _matrix(columns, _cells(sections), _figure)))
    return shown


def _has(section: LevelSection, metric: Metric) -> bool:
    return any(cell.figure(metric.name) is not None for cell in section.level.cells)


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column of a matrix is made of."""

    heading: str
    load: str
    metric: Metric
    rows: Sequence[Standing]


def _column(section: LevelSection, metric: Metric) -> _Column:
    level = section.level
    load = f"{level.level}, {metric.unit}" if metric.unit else level.level
    return _Column(level.workload, load, metric, section.rows)


def _cells(sections: Sequence[LevelSection]) -> list[CellResult]:
    return [cell for section in sections for cell in section.level.cells]


def _matrix(
    columns: Sequence[_Column], cells: Sequence[CellResult], entry: Callable[[Standing, Metric], Entry]
) -> Matrix:
    """A row a subject, in the order in which they first come in `cells`."""
    interfaces = {cell.subject: cell.interface for cell in cells}
    entries = [{row.cell.subject: entry(row, column.metric) for row in column.rows} for column in columns]
    rows = [
        (subject, interface, [of_level.get(subject, Entry("—")) for of_level in entries])
        for subject, interface in interfaces.items()
    ]
    return Matrix([(each.heading, each.load, each.metric.better) for each in columns], rows)


def _leading(row: Standing, metric: Metric) -> Entry:
    cell = row.cell
    if not cell.shown:
        return Entry(status(cell), kind="apart")
    if cell.lead is None:
        return Entry("—")
    if not cell.valid:
        return Entry(metric.show(cell.lead.estimate), status(cell), "apart")
    return Entry(metric.show(cell.lead.estimate), row.places, "leads" if row.leads else "")


def _figure(row: Standing, metric: Metric) -> Entry:
    cell, said = row.cell, status(row.cell, metric.figure)
    value = cell.figure(metric.name)
    if value is None:
        return Entry("—" if said == "ok" else said, kind="" if said == "ok" else "apart")
    return Entry(metric.show(value), "" if said == "ok" else said)


def status(cell: CellResult, figure: FigureName | None = None) -> str:
    """`ok`, `unsupported`, or `withheld: ceiling`: of one figure, the leading one where none is named."""
    figure = figure or cell.leading
    found = cell.status_of(figure)
    return f"{found}: {cell.code_of(figure)}" if found in {"limited", "withheld", "failed"} else found


def refused(cell: CellResult) -> list[tuple[str, str]]:
    """What the gates say of a cell's figures: (`limited` or `withheld`, which ones in words)."""
    found = []
    for said in ("withheld", "limited"):
        which = [FIGURES[name] for name, judged in cell.figures.items() if judged.status == said]
        if which:
            found.append((said, ", ".join(which)))
    return found
