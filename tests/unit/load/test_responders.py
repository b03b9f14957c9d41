"""Null responders as subjects: where they take part, and that nobody takes them for servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from rich.console import Console

from gatebench.cli.progress import TerminalObserver
from gatebench.contract.file import load_contract
from gatebench.load.responders import OWN_COMMAND, responder_cells, responder_subject
from gatebench.run.observer import starting
from gatebench.words.model import Cell, Level, Subject
from gatebench.words.plan import PROFILES, make_plan, round_order
from loadtests.engine.protocol import Target
from tests.support.plans import CELLS, REGISTRY, SUBJECTS
from tests.support.slices import a_slice

CONTRACT = load_contract()
OWN = responder_subject("null responder", ("python", *OWN_COMMAND))
NGINX = responder_subject("nginx", ("nginx",))
KEEP_ALIVE = REGISTRY.workloads["keep-alive"]


def by_level(workload: str) -> Mapping[str, Subject]:
    """The responder of each level of a workload, where nginx answers `/plaintext` alone."""

    def answering(target: Target) -> Subject:
        return NGINX if target.path == "/plaintext" and target.transport != "websocket" else OWN

    cells = responder_cells([REGISTRY.workloads[workload]], CONTRACT, answering)
    return {cell.level.id: cell.subject for cell in cells}


def test_each_level_gets_the_responder_that_answers_its_request() -> None:
    assert by_level("keep-alive")["c64"] == NGINX
    assert by_level("websocket-echo")["c64"] == OWN
    assert by_level("upload-64k")["c64"] == OWN


@pytest.mark.parametrize("workload", ["wait", "keep-alive-objective", "websocket-idle", "visit"])
def test_where_a_responder_would_do_something_else_than_a_server_there_is_none(workload: str) -> None:
    assert by_level(workload) == {}


def test_a_ladder_has_one_once_its_rates_are_known() -> None:
    ladder = REGISTRY.workloads["keep-alive-ladder"]
    known = replace(ladder, levels=tuple(replace(each, rate_per_s=900.0) for each in ladder.levels))

    assert by_level("keep-alive-ladder") == {}
    assert len(responder_cells([known], CONTRACT, lambda _: OWN)) == len(ladder.levels)


def test_a_responders_id_is_none_that_a_folder_could_give() -> None:
    assert (OWN.id, NGINX.id) == ("null-responder~limit", "nginx~limit")


def test_it_has_a_turn_in_every_round() -> None:
    cells = [cell for cell in CELLS if cell.workload == KEEP_ALIVE]
    plan = make_plan(
        [*cells, *responder_cells([KEEP_ALIVE], CONTRACT, lambda _: OWN)], PROFILES["standard"], 7
    )

    for level in plan.levels:
        for number in range(3):
            turns = [cell.subject.id for cell in round_order(plan, 0, level, number)]
            assert turns.count(OWN.id) == 1


def test_a_person_is_told_how_many_servers_start_without_counting_it() -> None:
    assert starting([SUBJECTS[0], OWN]) == "starting 1 server"
    assert starting([OWN]) == "starting the null responder"


def test_it_is_not_among_the_standings_so_far() -> None:
    console = Console(record=True, width=200)
    observer = TerminalObserver(console, 1.0)
    for subject in (SUBJECTS[0], OWN):
        observer.measured(Cell(subject, KEEP_ALIVE, Level(64)), a_slice({100: 5}))
    observer.block_finished("block 1", 1, 2, 1.0)

    told = console.export_text()
    assert SUBJECTS[0].id in told
    assert OWN.id not in told
