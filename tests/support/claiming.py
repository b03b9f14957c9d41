"""Synthetic runs to hold claims against, for the tests of the project's claims and of files of claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.claims.check import check
from analysis.claims.file import load_claims
from analysis.figures.results import ClaimResult
from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from tests.support.summaries import QUIET
from tests.support.synthetic import LOADS, SUBJECTS, make_run
from tests.support.synthetic_model import Load, Plan, Truth

# Waiting takes as long whatever the machine's speed, which synthetic runs let drift by some 5 %.
WAITING = tuple(
    replace(truth, rates={**truth.rates, "wait": truth.rates["wait"] * 0.9}) for truth in SUBJECTS
)
BY_ID = {truth.id: truth for truth in WAITING}
GRANIAN = (BY_ID["granian-wsgi"], BY_ID["granian-asgi"])
Edit = Callable[[dict[str, Any]], object]


def verdicts(
    folder: Path,
    subjects: Sequence[Truth] = WAITING,
    loads: Sequence[Load] = LOADS,
    *,
    plan: Plan = QUIET,
    files: Sequence[Path] = (),
    edit: Edit = lambda _: None,
    **more: Any,
) -> dict[str, ClaimResult]:
    """Claim → what a synthetic run says of it; `edit` changes run.json."""
    make_run(folder / "run", plan, subjects, loads, **more)
    file = folder / "run" / "run.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    run = load_run(folder / "run")
    return {each.id: each for each in check(load_claims(files), run.meta, summarize(run))}
