"""Who takes part in a run of several worker processes; the plan and the report say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.summary import summarize
from analysis.reading.run import load_run
from analysis.words import short_reason
from gatebench.cli.run import choose_workloads, find_references, hold_together
from gatebench.registry.registry import load_registry
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Cell, takes_workers
from gatebench.words.paths import ROOT
from gatebench.words.plan import choose_twin
from tests.support.claiming import BY_ID
from tests.support.comparisons import made

REGISTRY = load_registry(ROOT)
SUBJECTS = {subject.id: subject for subject in REGISTRY.subjects()}
ONE_PROCESS = {"daphne", "daphne-tuned", "waitress"}


def unsupported(subject: str, workload: str, workers: int) -> str:
    chosen = REGISTRY.workloads[workload]
    return Cell(SUBJECTS[subject], chosen, chosen.levels[0]).unsupported(workers)


def test_a_number_of_workers_may_stand_in_the_command_or_in_a_file() -> None:
    assert takes_workers(["serve", "--workers={workers}"])
    assert not takes_workers(["serve", "--threads", "{threads}"])
    assert {name for name, each in SUBJECTS.items() if not each.variant.takes_workers} == ONE_PROCESS


def test_with_one_worker_only_capabilities_decide() -> None:
    assert unsupported("waitress", "keep-alive", 1) == ""
    assert unsupported("uvicorn", "websocket-broadcast", 1) == ""
    assert unsupported("gunicorn-sync", "keep-alive", 1) == "gunicorn-sync does not declare keep-alive"


def test_with_several_workers_a_server_that_takes_no_number_of_them_is_left_out() -> None:
    why = "waitress runs one worker process only: its command takes no {workers}"
    assert unsupported("waitress", "keep-alive", 2) == why
    assert unsupported("uvicorn", "keep-alive", 2) == ""


def test_a_broadcast_makes_no_sense_with_several_workers() -> None:
    why = "uvicorn has 2 worker processes, and a broadcast stays within one"
    assert unsupported("uvicorn", "websocket-broadcast", 2) == why
    assert unsupported("uvicorn", "websocket-echo", 2) == ""


def test_a_twin_is_one_that_takes_part() -> None:
    standard = [each for each in REGISTRY.workloads.values() if "standard" in each.profiles]
    twins = [choose_twin(tuple(SUBJECTS.values()), standard, 5, seed, 2) for seed in range(60)]
    assert not {twin.original_id for twin in twins if twin is not None} & ONE_PROCESS


def test_a_ladder_cannot_refer_to_a_server_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = choose_workloads(REGISTRY, ["keep-alive-ladder"], "full")
    assert find_references(REGISTRY, ladder, 2)["keep-alive-ladder"].id == "uvicorn"
    monkeypatch.setattr("gatebench.words.model.WORKERS_PLACEHOLDER", "{nothing-has-this}")
    with pytest.raises(
        ConfigurationError, match=r"load.of: uvicorn runs one worker process .*\(--workers 2\)"
    ):
        find_references(REGISTRY, ladder, 2)


def held_together(subjects: str, workloads: str, workers: int = 1) -> None:
    chosen = choose_workloads(REGISTRY, workloads.split(), "smoke")
    hold_together(REGISTRY, [SUBJECTS[name] for name in subjects.split()], chosen, workloads.split(), workers)


def test_a_workload_in_which_no_chosen_subject_can_take_part_is_refused_with_those_that_can() -> None:
    with pytest.raises(ConfigurationError) as caught:
        held_together("gunicorn-sync waitress", "close websocket-echo keep-alive websocket-window")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        'workload "websocket-echo"',
        'workload "websocket-window"',
    ]
    assert "gunicorn-sync does not declare websocket; waitress does not declare" in caught.value.problems[0]
    assert "name one that can: daphne, " in caught.value.problems[0]


def test_no_reference_is_needed_for_a_ladder_in_which_nobody_takes_part() -> None:
    ladder, own = choose_workloads(REGISTRY, ["keep-alive-ladder", "keep-alive"], "full")[::-1]
    own = replace(own, name="own", routes=frozenset())
    plain = SUBJECTS["waitress"]
    assert list(hold_together(REGISTRY, [plain], [ladder, own], ["*"])) == ["keep-alive-ladder"]
    mine = replace(plain, application=replace(plain.application, name="mine", routes=frozenset()))
    assert hold_together(REGISTRY, [mine], [ladder, own], ["*"]) == {}


def test_a_glob_of_workloads_is_held_to_one_of_them() -> None:
    held_together("waitress", "keep-alive* *-rate")
    with pytest.raises(ConfigurationError, match='workload "websocket-'):
        held_together("waitress", "keep-alive websocket-*")


def test_a_broadcast_with_several_workers_is_refused_where_it_was_named() -> None:
    with pytest.raises(ConfigurationError, match="uvicorn has 2 worker processes, and a broadcast stays"):
        held_together("uvicorn", "keep-alive websocket-broadcast", 2)


def test_a_profile_may_hold_workloads_that_the_chosen_subjects_cannot_take_part_in_but_not_only_them() -> (
    None
):
    profile = choose_workloads(REGISTRY, (), "smoke")
    assert hold_together(REGISTRY, [SUBJECTS["gunicorn-sync"]], profile, (), 1) == {}
    with pytest.raises(ConfigurationError, match="runs one worker process only"):
        hold_together(REGISTRY, [SUBJECTS["waitress"]], profile, (), 2)


def with_two_workers(content: dict[str, Any]) -> None:
    content["workers"] = 2
    for subject in content["subjects"]:
        subject["takes_workers"] = subject["id"] != "waitress"


def test_the_report_decides_from_what_the_run_recorded(tmp_path: Path) -> None:
    subjects = [BY_ID["uvicorn"], BY_ID["waitress"]]
    folder = made(tmp_path, "run", subjects, edit=with_two_workers)
    (level,) = summarize(load_run(folder)).levels
    found = {cell.subject: cell for cell in level.cells}
    assert found["uvicorn"].lead_status == "ok"
    assert found["waitress"].status == "unsupported"
    assert found["waitress"].rps is None
    why = "runs one worker process only: its command takes no {workers}"
    assert found["waitress"].reasons == (f"unsupported: waitress {why}",)
    assert short_reason(found["waitress"]) == f"unsupported: {why}"


def test_an_application_takes_part_in_the_workloads_whose_routes_it_answers() -> None:
    server = SUBJECTS["uvicorn"]
    mine = replace(server.application, name="mine", routes=frozenset({"/plaintext"}))
    levels = {
        name: Cell(replace(server, application=mine), each, each.levels[0]).unsupported()
        for name, each in REGISTRY.workloads.items()
    }
    asked = {name: each.routes for name, each in REGISTRY.workloads.items()}
    assert {name for name, why in levels.items() if not why} == {
        name for name, routes in asked.items() if routes <= {"/plaintext"}
    }
    assert levels["websocket-broadcast"] == "uvicorn+mine runs an application without /ws/broadcast"


def test_a_locust_file_asks_what_it_says_and_one_that_says_nothing_asks_any_application() -> None:
    server = next(each for each in REGISTRY.subjects() if each.id == "uvicorn")
    mine = replace(server.application, name="mine", routes=frozenset({"/", "/json"}))
    visit = REGISTRY.workloads["visit"]
    cell = Cell(replace(server, application=mine), visit, visit.levels[0])
    assert visit.locustfile is not None
    assert cell.unsupported() == "uvicorn+mine runs an application without /echo"
    assert not replace(cell, workload=replace(visit, routes=frozenset())).unsupported()
