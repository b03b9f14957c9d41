"""`run.json`, written and read by one schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from analysis.reading.run import parse_meta
from gatebench.contract.file import load_contract
from gatebench.load.backend import Backend
from gatebench.load.responders import OWN_COMMAND, responder_cells, responder_subject
from gatebench.machine.cores import Cores
from gatebench.results.schema import (
    NULL_RESPONDER,
    CeilingMeta,
    LevelPlan,
    RequestMeta,
    ResponderMeta,
    RunMeta,
    SubjectMeta,
    WorkloadMeta,
)
from gatebench.results.surroundings import EngineMeta, ImageMeta, LimitsMeta
from gatebench.run.describe import describe_run
from gatebench.runners.base import Readiness
from gatebench.words.errors import GatebenchError
from gatebench.words.options import Budget, RunRequest
from gatebench.words.paths import ROOT
from gatebench.words.plan import PROFILES, make_plan
from tests.support.plans import CELLS, REGISTRY, SUBJECTS
from tests.support.synthetic_containers import ENGINE, image

IMAGE = ImageMeta.model_validate(image("uvicorn"))
PUBLISHED = sorted((ROOT / "docs").rglob("run.json"))


def read(**changes: Any) -> RunMeta:
    """A published run with other keys."""
    data = json.loads((ROOT / "docs" / "headline" / "run.json").read_text())
    return parse_meta(json.dumps(data | changes), Path("run.json"))


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: str(file.parent.relative_to(ROOT / "docs")))
def test_a_published_run_is_the_same_when_it_is_read_and_written_again(file: Path) -> None:
    text = file.read_text()

    written = json.dumps(parse_meta(text, file).to_json(), indent=1, ensure_ascii=False)

    assert written == text.removesuffix("\n")


def test_what_was_published_covers_every_schema_that_is_read() -> None:
    assert {json.loads(file.read_text())["schema"] for file in PUBLISHED} == {1, 2}


def test_a_run_of_schema_1_has_closed_loops_and_no_ceilings() -> None:
    file = ROOT / "docs" / "exclusive" / "alone" / "run.json"
    meta = parse_meta(file.read_text(), file)

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


class Containers:
    """What a backend tells of itself, without any container."""

    name = "docker"
    cores = Cores(server=(3,), engine=(1, 2), lab=(0,))
    budget = Budget((3,))

    def describe(self) -> Mapping[str, Any]:
        return {
            "network": "host",
            "server_host": "127.0.0.1",
            "engine": EngineMeta.model_validate(ENGINE),
            "limits": LimitsMeta(memory_mib=1024, pids=1024),
            "load_image": IMAGE,
        }


def described(*, again: bool = False) -> RunMeta:
    """Every shipped subject under every workload, the first subject without a container's image."""
    subjects = tuple(replace(subject, again=again) for subject in SUBJECTS)
    request = RunRequest(
        subjects=subjects,
        workloads=tuple(REGISTRY.workloads.values()),
        profile=PROFILES["standard"],
        seed=7,
        out=Path("results/one"),
        exclusive=False,
        command="gatebench run",
        runner_reason="asked for",
    )
    readiness = {subject.id: Readiness("", {subject.server.name: "1.0"}, IMAGE) for subject in subjects}
    readiness[subjects[0].id] = Readiness("no compiler", {})
    backend = cast("Backend", Containers())
    null = responder_subject(NULL_RESPONDER, ("python", *OWN_COMMAND))
    limits = responder_cells(request.workloads, load_contract(), lambda _: null)
    plan = make_plan([*CELLS, *limits], PROFILES["standard"], 7)
    return describe_run(
        request,
        plan,
        run="one",
        backend=backend,
        readiness=readiness,
        budget=backend.budget,
        notices=["noticed"],
    )


def test_what_a_run_says_is_read_as_it_was_written() -> None:
    meta = described()
    text = json.dumps(meta.to_json())

    again = parse_meta(text, Path("run.json"))

    assert again.to_json() == meta.to_json()
    assert [level.id for level in again.levels] == [level.id for level in meta.levels]
    assert again.subjects == meta.subjects
    assert again.workloads == meta.workloads
    assert [subject.ready for subject in again.subjects[:2]] == [False, True]


def test_a_null_responder_is_described_apart_from_the_subjects_with_the_levels_that_it_answers() -> None:
    meta = described()

    (responder,) = meta.responders
    assert (responder.id, responder.name) == ("null-responder~limit", NULL_RESPONDER)
    assert responder.id not in {subject.id for subject in meta.subjects}
    models = {plan.model for plan in meta.levels if plan.id in responder.levels}
    assert models == {"closed", "open"}  # a ladder's rates are not known here
    waiting = {workload.name for workload in meta.workloads if workload.waits}
    assert waiting
    assert not {level.partition("/")[0] for level in responder.levels} & waiting
    assert meta.responder("keep-alive/c64") == responder
    assert meta.responder("websocket-idle/idle5000") is None


def test_a_run_says_all_that_the_schema_has() -> None:
    written = described(again=True).to_json()

    of_other_runs = {"ceilings", "database"}  # older ones, and those whose applications need one
    assert set(written) == {name.removesuffix("_") for name in RunMeta.model_fields} - of_other_runs
    assert set(written["plan"]["levels"][0]) == set(LevelPlan.model_fields) - {"ceiling"}
    assert set(written["responders"][0]) == set(ResponderMeta.model_fields)
    of_subjects = {name.removesuffix("_") for name in SubjectMeta.model_fields}
    assert set(written["subjects"][1]) == of_subjects - {"observed"}  # events hold that
    assert set(written["workloads"][0]) == set(WorkloadMeta.model_fields)
    assert set(written["workloads"][0]["request"]) == set(RequestMeta.model_fields)
