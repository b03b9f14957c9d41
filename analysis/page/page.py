"""The report's page: one self-contained HTML file, findings first, from a run, its result and its charts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from analysis.charts.style import color
from analysis.figures.gates import GATES
from analysis.figures.precision import find, in_words
from analysis.page.interfaces import matrices
from analysis.page.pictures import Picture, placed
from analysis.page.sections import costs, overview, refused, status, workload_names, workload_sections
from analysis.surroundings import container_facts, machine_facts, memory_note, runner_in_words
from analysis.words import instrument_in_words, interval, names, without_figures
from gatebench.words.footing import NOT_OBSERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.figures.results import CellResult, ClaimResult, Summary
    from analysis.reading.run import Run
    from gatebench.results.schema import RunMeta
    from gatebench.results.surroundings import ImageMeta


PAGE_BYTES = 4_800_000
"""How large the page may become; charts beyond that are linked to."""
_HERE = Path(__file__).parent
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_NO_COLOR = "#808080"
_APART = ("failed", "withheld", "limited", "unavailable", "unsupported")
_RAW = (
    ("run.json", "plan, machine, versions, subjects and workloads as they were when the run began"),
    ("events.jsonl", "what happened: blocks, failures with their first examples, exact argument vectors"),
    ("slices.parquet", "one row a slice: the raw data"),
    ("histograms.parquet", "every latency, as counts per whole microsecond"),
    ("summary.json", "derived: every figure of this page, with its interval and its reasons"),
    ("charts", "derived: every chart as SVG and PNG"),
)


def render(
    run: Run,
    summary: Summary,
    pictures: Mapping[tuple[str, str], Sequence[Picture]],
    workload_pictures: Mapping[str, Sequence[Picture]] | None = None,
    run_pictures: Sequence[Picture] = (),
    claims: Sequence[ClaimResult] = (),
    left_out: Mapping[str, int] | None = None,
) -> str:
    """The whole page as HTML.

    Args:
        run: where the conditions come from, and the folder whose files are linked to.
        summary: the result of `run`.
        pictures: (workload, level) → its charts, in the order of the page.
        workload_pictures: workload → charts of all its levels together.
        run_pictures: charts of the whole run.
        claims: what was held against the run.
        left_out: kind of chart → how many were not drawn.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _static("report.js")
    context = {
        "meta": run.meta,
        "argv": run.argv,
        "blocks": max((cell.blocks for cell in summary.cells), default=0),
        "ending": run.ending,
        "progress": run.progress,
        "precision": _precision(run, summary),
        "resumptions": run.resumptions,
        "notices": (*filter(None, [without_figures(summary.cells)]), *run.meta.notices, *run.notices),
        "apart": _apart(summary),
        "noted": [cell for cell in summary.cells if cell.valid and (cell.reasons or cell.details.examples)],
        "cells": len(summary.cells),
        "limits": {level.plan.id: instrument_in_words(level) for level in summary.levels},
        "gates": GATES,
        "runner": runner_in_words(run.meta),
        "memory_note": memory_note(run.meta),
        "container_facts": [*container_facts(run.meta), *_database_facts(run.meta)],
        "machine_facts": machine_facts(run.meta),
        "images": _images(run.meta),
        "interval": interval,
        "status": status,
        "refused": refused,
        "claims": claims,
        "left_out": left_out or {},
        "matrices": matrices(run),
        "runs_on": {
            each.id: each.observed.in_words if each.observed else NOT_OBSERVED for each in run.meta.subjects
        },
        "raw": [(name, what) for name, what in _RAW if (run.folder / name).exists()],
        "logs": sorted(file.name for file in (run.folder / "logs").glob("*.log")),
        "style": _static("report.css"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "subject_class": {subject.id: f"s{number}" for number, subject in enumerate(run.meta.subjects)},
        "subject_style": _subject_style(run.meta),
    }
    of_workloads = [(workload_pictures or {}).get(name, ()) for name in workload_names(summary)]
    of_levels = [pictures[level.workload, level.level] for level in summary.levels]
    groups = [run_pictures, *of_workloads, *of_levels]
    template = environment.get_template("report.html.j2")

    def page(room: int) -> str:
        of_run, *others = placed(groups, run.folder, room)
        workloads = workload_sections(run, summary, others[len(of_workloads) :], others[: len(of_workloads)])
        sections = [section for workload in workloads for section in workload.levels]
        return template.render(
            context,
            workloads=workloads,
            sections=sections,
            overview=overview(sections),
            costs=costs(run.meta, sections),
            run_pictures=of_run,
        )

    return page(PAGE_BYTES - len(page(0).encode(errors="replace")))


def _precision(run: Run, summary: Summary) -> str:
    """Which precision was asked for, and what became of it; empty where none was."""
    if run.precision is None:
        return ""
    return in_words(find(summary, run.precision), run.ending, run.looks, run.meta.blocks)


def _static(name: str) -> Markup:
    return Markup((_HERE / "static" / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


def _apart(summary: Summary) -> list[CellResult]:
    """What is in no ranking; what went wrong before what was never to be measured."""
    return sorted(
        (cell for cell in summary.cells if not cell.valid), key=lambda cell: _APART.index(cell.lead_status)
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


def _subject_style(meta: RunMeta) -> Markup:
    """The mark before a subject's name: the color of the charts, a square for WSGI and a circle for ASGI."""
    rules = []
    for number, subject in enumerate(meta.subjects):
        ink = color(subject)
        ink = ink if _COLOR.fullmatch(ink) else _NO_COLOR  # a run's file may be anybody's
        rules.append(f".s{number}{{--c:{ink};--r:{'50%' if subject.interface == 'asgi' else '0'}}}")
    return Markup("\n".join(rules))  # noqa: S704 - numbers and colors


def _database_facts(meta: RunMeta) -> list[tuple[str, str]]:
    """What is known of the database of a run; empty where it had none."""
    if (found := meta.database) is None:
        return []
    cores = f"core {found.cores[0]}" if len(found.cores) == 1 else f"cores {', '.join(map(str, found.cores))}"
    settings = ", ".join(f"{name} = {value}" for name, value in found.settings.items())
    return [
        ("Database", f"PostgreSQL {found.version} on {cores}, {found.max_connections} connections at most"),
        ("Pool of a shipped application", f"{found.pool} connections in each worker process"),
        ("Settings of the database", settings),
    ]
