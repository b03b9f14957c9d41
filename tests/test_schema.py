"""`run.json`, written and read by one schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gatebench.results.schema import CeilingMeta, LevelPlan, RunMeta
from gatebench.words.errors import GatebenchError
from gatebench.words.paths import ROOT

PUBLISHED = sorted((ROOT / "docs").rglob("run.json"))


def read(**changes: Any) -> RunMeta:
    """A published run with other keys."""
    data = json.loads((ROOT / "docs" / "headline" / "run.json").read_text())
    return RunMeta.from_json(json.dumps(data | changes), Path("run.json"))


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: str(file.parent.relative_to(ROOT / "docs")))
def test_a_published_run_is_the_same_when_it_is_read_and_written_again(file: Path) -> None:
    text = file.read_text()

    written = json.dumps(RunMeta.from_json(text, file).to_json(), indent=1, ensure_ascii=False)

    assert written == text.removesuffix("\n")


def test_what_was_published_covers_every_schema_that_is_read() -> None:
    assert {json.loads(file.read_text())["schema"] for file in PUBLISHED} == {1, 2}


def test_a_run_of_schema_1_has_closed_loops_and_no_ceilings() -> None:
    file = ROOT / "docs" / "exclusive" / "alone" / "run.json"
    meta = RunMeta.from_json(file.read_text(), file)

    assert {(plan.model, plan.window, plan.ceiling) for plan in meta.levels} == {("closed", 1, None)}
    assert (meta.load, meta.counts_anonymous, meta.twin) == (None, False, None)


def test_every_fault_is_reported_at_once_with_its_key() -> None:
    with pytest.raises(GatebenchError) as refused:
        read(seed="seven", cores={"server": [1.5], "engine": [2]}, workloads=["x"], limits={"pids": "many"})

    assert str(refused.value).splitlines() == [
        "run.json: `seed` has the wrong type str",
        "run.json: `cores.server[0]` has the wrong type float",
        "run.json: `cores.lab` is missing; the file is not what a run writes",
        "run.json: `workloads[0]` is not an object, but has the type str",
        "run.json: `limits.pids` has the wrong type str",
    ]


def test_a_level_has_the_ceiling_that_calibration_found_for_it() -> None:
    plan = {"workload": "close", "level": "c64", "connections": 64, "rounds": 3, "slice_s": 0.1}
    found = {"workload": "close", "level": "c64", "rates_per_s": [9.0, 11.0, 10.0]}

    meta = read(plan={"blocks": 1, "levels": [plan, plan | {"level": "c8"}]}, ceilings=[found])

    known = CeilingMeta(workload="close", level="c64", rates_per_s=(9.0, 11.0, 10.0))
    assert [level.ceiling for level in meta.levels] == [known, None]
    assert known.rate_per_s == 11.0


def test_a_command_tells_whether_it_takes_workers_where_an_older_run_does_not_say() -> None:
    meta = read()
    said = [subject.to_json() for subject in meta.subjects]
    for each in said:
        del each["takes_workers"]

    assert read(subjects=said).subjects == meta.subjects


def test_a_level_is_written_without_its_ceiling_which_is_elsewhere_in_the_file() -> None:
    ceiling = CeilingMeta(workload="close", level="c64", rates_per_s=(1.0,))
    plan = LevelPlan(workload="close", level="c64", connections=64, rounds=3, slice_s=0.1, ceiling=ceiling)

    assert list(plan.to_json()) == ["workload", "level", "connections", "rounds", "slice_s"]
