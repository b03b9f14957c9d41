"""The report's page: one self-contained HTML file, findings first, from a run, its result and its charts."""

from __future__ import annotations

import base64
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from analysis.charts import frame
from analysis.conditions import container_facts, machine_facts, memory_note, runner_in_words
from analysis.gates import GATES
from analysis.metrics import (
    CONNECTION_MEMORY,
    CPU,
    DELAYS,
    FIT,
    LAST_P50,
    LAST_P99,
    LATENCIES,
    MEMORY_OF_CONTAINERS,
    MEMORY_OF_PROCESSES,
    MIB_PER_S,
    REQUESTS_PER_CONNECTION,
    RESPONSES,
    RPS,
    SERVICE_P50,
    SERVICE_P99,
    WITHIN_OBJECTIVE,
    Metric,
)
from analysis.standings import Standing, standings
from analysis.wording import findings, interval, names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.containers import ImageMeta
    from analysis.load import Run
    from analysis.meta import RunMeta, WorkloadMeta
    from analysis.results import LevelResult, Summary

_TEMPLATES = Path(__file__).parent / "templates"
_MENTIONED_BYTES = 1024
"""Bodies of a request and its answer from which on MiB/s say something."""

# Every ink of the charts with its name in CSS and its dark counterpart.
_DARK = {
    frame.INK: ("ink", "#e8ecf1"),
    frame.MUTED: ("muted", "#a3adb8"),
    frame.GRID: ("grid", "#46505b"),
    frame.PAPER: ("paper", "#29313a"),
    frame.GREY: ("grey", "#6b7580"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart as it goes into the page: its SVG, and what it shows for those who cannot see it."""

    svg: bytes
    alt: str


@dataclass(frozen=True, slots=True)
class _Section:
    """What the page shows of one level.

    Attributes:
        metrics: the figures beside the leading one.
    """

    level: LevelResult
    workload: WorkloadMeta
    findings: Sequence[str]
    rows: Sequence[Standing]
    metrics: Sequence[Metric]
    pictures: Sequence[tuple[str, str]]


def render(run: Run, summary: Summary, pictures: Mapping[tuple[str, str], Sequence[Picture]]) -> str:
    """The whole page as HTML.

    Args:
        run: where the conditions come from.
        summary: the result of `run`.
        pictures: (workload, level) → its charts, in the order of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [_section(run, level, pictures[level.workload, level.level]) for level in summary.levels]
    return environment.get_template("report.html.j2").render(
        meta=run.meta,
        argv=run.argv,
        blocks=len(run.finished_blocks),
        ending=run.ending,
        sections=sections,
        apart=[cell for cell in summary.cells if cell.status != "ok"],
        noted=[cell for cell in summary.cells if cell.status == "ok" and cell.reasons],
        gates=GATES,
        runner=runner_in_words(run.meta),
        memory_note=memory_note(run.meta),
        container_facts=container_facts(run.meta),
        machine_facts=machine_facts(run.meta),
        images=_images(run.meta),
        interval=interval,
        logs=sorted(file.name for file in (run.folder / "logs").glob("*.log")),
    )


def _section(run: Run, level: LevelResult, pictures: Sequence[Picture]) -> _Section:
    workload = run.meta.workload(level.workload)
    return _Section(
        level=level,
        workload=workload,
        findings=findings(level, workload),
        rows=standings(level),
        metrics=_shown_metrics(level, workload, in_containers=run.meta.in_containers),
        pictures=[(_themed(picture.svg), picture.alt) for picture in pictures],
    )


def _images(meta: RunMeta) -> list[tuple[str, ImageMeta]]:
    """Each image with those who ran in it, the load generator last; empty where nothing did."""
    users: dict[ImageMeta, list[str]] = defaultdict(list)
    for subject in meta.subjects:
        if subject.image is not None:
            users[subject.image].append(subject.id)
    if meta.load_image is not None:
        users[meta.load_image].append("the load generator")
    return [(names(who), image) for image, who in users.items()]


def _shown_metrics(level: LevelResult, workload: WorkloadMeta, *, in_containers: bool) -> list[Metric]:
    """What a level's table shows beside the leading figure, which comes first."""
    lead = level.metric
    memory = MEMORY_OF_CONTAINERS if in_containers else MEMORY_OF_PROCESSES
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


def _themed(svg: bytes) -> str:
    """The picture as a data URI that follows the reader's light or dark color scheme.

    It stays an image of its own, so that the names inside one chart cannot meet those of another.
    """
    text = svg.decode()
    light, dark = "", ""
    for ink, (name, night) in _DARK.items():
        text = text.replace(ink, f"var(--{name})")
        light += f"--{name}:{ink};"
        dark += f"--{name}:{night};"
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    start = text.index(">", text.index("<svg")) + 1
    themed = text[:start] + style + text[start:]
    return "data:image/svg+xml;base64," + base64.b64encode(themed.encode()).decode()
