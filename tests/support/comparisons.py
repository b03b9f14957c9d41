"""Pairs of synthetic runs, and ways to compare them, for the tests of what is said of two runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.compare.compare import Side, compare_runs
from analysis.compare.result import CellComparison, RunComparison
from analysis.compare.show import compare_command
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from tests.support.summaries import BY_ID, KEEP_ALIVE, QUIET
from tests.support.synthetic import make_run
from tests.support.synthetic_model import Load, Plan, Truth

UVICORN, HYPERCORN, WAITRESS = BY_ID["uvicorn"], BY_ID["hypercorn"], BY_ID["waitress"]
THREE = (UVICORN, HYPERCORN, WAITRESS)
OTHER_SEED = replace(QUIET, seed=8)
Edit = Callable[[dict[str, Any]], object]


def made(
    folder: Path,
    run_id: str,
    subjects: Sequence[Truth] = THREE,
    plan: Plan = QUIET,
    loads: Sequence[Load] = (KEEP_ALIVE,),
    edit: Edit = lambda _: None,
) -> Path:
    """A synthetic run under its own ID that records what its workloads were; `edit` changes run.json."""
    make_run(folder / run_id, plan, subjects, loads)
    file = folder / run_id / "run.json"
    content = json.loads(file.read_text())
    content["run"] = run_id
    content["hashes"] |= {f"workloads/{load.name}": "5a" * 32 for load in loads}
    edit(content)
    file.write_text(json.dumps(content))
    return folder / run_id


def compared(a: Path, b: Path) -> RunComparison:
    runs = [load_run(folder) for folder in (a, b)]
    return compare_runs(*(Side(run, summarize(run)) for run in runs))


def against(tmp_path: Path, edit: Edit, **more: Any) -> RunComparison:
    """A run, and one of the same servers of which run.json is changed."""
    return compared(made(tmp_path, "a", **more), made(tmp_path, "b", plan=OTHER_SEED, edit=edit, **more))


def slower(truth: Truth, by: float) -> Truth:
    return replace(truth, rates={name: rate * by for name, rate in truth.rates.items()})


def cell(result: RunComparison, subject: str, workload: str = "keep-alive") -> CellComparison:
    return next(each for each in result.cells if (each.subject.id, each.plan.workload) == (subject, workload))


def said(a: Path, b: Path, **more: Any) -> tuple[int, str]:
    output = io.StringIO()
    status = compare_command(a, b, Console(file=output, width=200), **more)
    return status, output.getvalue()
