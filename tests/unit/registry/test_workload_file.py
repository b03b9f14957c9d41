"""The kinds of load a `workload.toml` may ask for, and what is said of those it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.tables import COUNTERS, counter_of
from gatebench.load.targets import target_of
from gatebench.registry.workloads import parse_workload
from gatebench.words.errors import ConfigurationError
from gatebench.words.model import Workload
from gatebench.words.paths import ROOT

HEAD = """
description = "For tests"
transport = "{transport}"
slice = "100ms"
warmup = "100ms"
profiles = ["full"]
"""


def workload(
    tmp_path: Path,
    load: str,
    request: str = 'path = "/plaintext"',
    transport: str = "keep-alive",
    more: str = "",
) -> Workload:
    """The workload of a folder with these two tables, and with more lines before them."""
    folder = tmp_path / "asked"
    folder.mkdir(exist_ok=True)
    request = f"[request]\n{request}\n" if request else ""
    (folder / "workload.toml").write_text(
        f"{HEAD.format(transport=transport)}{more}\n{request}[load]\n{load}\n"
    )
    return parse_workload(folder)


def problems(
    tmp_path: Path, load: str, request: str = 'path = "/plaintext"', transport: str = "keep-alive"
) -> str:
    """What is said of such a folder."""
    with pytest.raises(ConfigurationError) as caught:
        workload(tmp_path, load, request, transport)
    return "\n".join(caught.value.problems)


def test_an_open_loop_has_a_level_for_each_rate(tmp_path: Path) -> None:
    asked = workload(tmp_path, 'model = "open"\nrates = [200, 1500.5]\narrivals = "constant"')
    assert [level.id for level in asked.levels] == ["r200", "r1500.5"]
    assert {level.connections for level in asked.levels} == {64}
    assert asked.arrivals == "constant"
    assert not asked.saturates


def test_a_ladder_has_no_rates_before_its_reference_is_known(tmp_path: Path) -> None:
    asked = workload(tmp_path, 'model = "ladder"\nof = "uvicorn"\nshares = [0.25, 0.9]')
    assert [level.id for level in asked.levels] == ["cap25", "cap90"]
    assert asked.reference == "uvicorn"
    assert not any(level.has_rate for level in asked.levels)


def test_an_objective_is_a_percentile_within_a_limit(tmp_path: Path) -> None:
    (level,) = workload(tmp_path, 'model = "objective"\npercentile = "p99.9"\nlimit = "25ms"').levels
    assert level.id == "p99.9-25ms"
    assert level.objective is not None
    assert level.objective.tail == pytest.approx(0.001)


def test_windows_multiply_the_levels_of_websocket_echoes(tmp_path: Path) -> None:
    asked = workload(
        tmp_path,
        'model = "closed"\nconnections = [8, 64]\nwindow = [1, 16]',
        'path = "/ws/echo"',
        "websocket",
    )
    assert [level.id for level in asked.levels] == ["c8", "c8w16", "c64", "c64w16"]


def test_idle_connections_rise_in_steps_within_one_level(tmp_path: Path) -> None:
    asked = workload(
        tmp_path,
        'model = "idle"\nconnections = [0, 100, 200]',
        'path = "/ws/echo"\nexchange = "idle"',
        "websocket",
    )
    assert [level.id for level in asked.levels] == ["idle200"]
    assert asked.steps == (0, 100, 200)


def test_a_body_can_be_asked_for_by_its_size(tmp_path: Path) -> None:
    asked = workload(
        tmp_path,
        'model = "closed"\nconnections = [1]',
        'method = "POST"\npath = "/echo"\nbody_bytes = 65536',
    )
    assert len(asked.request.body) == 65536


def test_a_locust_file_is_the_load_and_has_no_request(tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    folder.mkdir()
    (folder / "locustfile.py").write_text("")
    asked = workload(tmp_path, 'model = "locust"\nusers = [4]', request="")
    assert asked.locustfile == folder / "locustfile.py"
    assert [level.id for level in asked.levels] == ["users4"]


def test_a_locust_file_may_say_which_routes_it_asks_and_nobody_else_may(tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    folder.mkdir()
    (folder / "locustfile.py").write_text("")
    asked = workload(
        tmp_path, 'model = "locust"\nusers = [4]', request="", more='routes = ["/json", "/echo"]'
    )
    assert asked.routes == {"/json", "/echo"}
    with pytest.raises(
        ConfigurationError, match=r'"/jsn" is no route of the contract \(did you mean "/json"'
    ):
        workload(tmp_path, 'model = "locust"\nusers = [4]', request="", more='routes = ["/jsn"]')
    (folder / "locustfile.py").unlink()
    with pytest.raises(ConfigurationError, match="routes: is for a Locust file"):
        workload(tmp_path, 'model = "closed"\nconnections = [4]', more='routes = ["/json"]')


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ('model = "open"\nrates = []', "load.rates: must name at least one number"),
        ('model = "open"\nrates = [0]', "load.rates: 0 is under 1"),
        ('model = "open"\nrates = [5, 5]', "load.rates: names a number twice"),
        (
            'model = "open"\nrates = [5]\narrivals = "poison"',
            'arrivals: "poison" is not allowed (did you mean "poisson"?)',
        ),
        ('model = "open"\nrate = [5]', 'load.rate: unknown key (did you mean "rates"?)'),
        ('model = "ladder"\nof = "uvicorn"\nshares = [1.5]', "load.shares: 1.5 is over 1"),
        ('model = "ladder"\nshares = [0.5]', "load.of: is missing"),
        ('model = "objective"\npercentile = "p98"\nlimit = "1ms"', 'load.percentile: "p98" is not allowed'),
        ('model = "objective"\npercentile = "p99"\nlimit = "0ms"', "load.limit: must be longer than 0"),
        (
            'model = "closed"\nconnections = [1]\nwindow = [2]',
            'load.window: over 1 needs transport = "websocket"',
        ),
        ('model = "idle"\nconnections = [0, 5, 9]', '"idle" and load.model = "idle" belong together'),
        ('model = "locust"\nusers = [1]', 'load.model: "locust" needs a locustfile.py beside'),
    ],
)
def test_a_load_that_cannot_be_is_told_with_its_key(tmp_path: Path, load: str, expected: str) -> None:
    assert expected in problems(tmp_path, load)


def test_a_forgotten_locust_file_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "asked"
    folder.mkdir()
    (folder / "locustfile.py").write_text("")
    said = problems(tmp_path, 'model = "closed"\nconnections = [1]')
    assert 'load.model: must be "locust", because there is a locustfile.py' in said


def test_two_bodies_are_one_too_many(tmp_path: Path) -> None:
    request = 'method = "POST"\npath = "/echo"\nbody = "x"\nbody_bytes = 3'
    assert "request.body_bytes: is another body" in problems(
        tmp_path, 'model = "closed"\nconnections = [1]', request
    )


def test_idle_steps_must_rise_and_be_enough_for_a_line(tmp_path: Path) -> None:
    said = problems(
        tmp_path, 'model = "idle"\nconnections = [5, 0]', 'path = "/ws/echo"\nexchange = "idle"', "websocket"
    )
    assert "must be three numbers or more, rising" in said


@pytest.mark.parametrize(
    ("request_table", "said"),
    [
        (
            'path = "/api/v1/items?limit=20"',
            'request.path: "/api/v1/items?limit=20" is no route of the contract',
        ),
        (
            'path = "/plaintex"',
            'no route of the contract (did you mean "/plaintext"?); routes: /, /plaintext',
        ),
        (
            'path = "/bytes/99999999999"',
            'request.path: "99999999999" is no n of /bytes/{n}, a plain number from 0',
        ),
        (
            'path = "/wait/soon"',
            'request.path: "soon" is no ms of /wait/{ms}, a plain number from 0 to 10,000',
        ),
        ('path = "/echo"', "request.method: GET /echo is answered with 405; the route takes POST"),
        ('path = "/json"\nmethod = "POST"', "request.method: POST /json is answered with 405"),
        ('path = "/interface"', "request.path: the answer of /interface differs between servers"),
        (
            'path = "/echo"\nmethod = "POST"\nbody_bytes = 20000000',
            "request.body_bytes: 20,000,000 bytes are over the 16,777,216 that /echo takes",
        ),
    ],
)
def test_a_request_that_the_contract_does_not_answer_is_refused_with_its_key(
    tmp_path: Path, request_table: str, said: str
) -> None:
    told = problems(tmp_path, 'model = "closed"\nconnections = [8]', request_table)
    assert said in told
    assert "workload.toml: request." in told


@pytest.mark.parametrize(
    ("request_table", "said"),
    [
        ('path = "/ws/ehco"', 'no WebSocket of the contract (did you mean "/ws/echo"?); there are: /ws/echo'),
        ('path = "/plaintext"', 'request.path: "/plaintext" is no WebSocket of the contract'),
        (
            'path = "/ws/echo"\nexchange = "broadcast"',
            'request.path: "/ws/echo" is for exchange = "echo"; for "broadcast" there is /ws/broadcast',
        ),
    ],
)
def test_a_websocket_that_the_contract_does_not_have_is_refused_with_its_key(
    tmp_path: Path, request_table: str, said: str
) -> None:
    told = problems(tmp_path, 'model = "closed"\nconnections = [8]', request_table, transport="websocket")
    assert said in told


def test_a_query_string_and_an_escaped_path_are_the_routes_own(tmp_path: Path) -> None:
    for path in ("/plaintext?page=2", "/pl%61intext"):
        assert (
            workload(tmp_path, 'model = "closed"\nconnections = [8]', f'path = "{path}"').request.path == path
        )


CLOSED = 'model = "closed"\nconnections = [8]'


def test_the_arguments_of_a_path_take_turns_and_each_has_its_own_answer(tmp_path: Path) -> None:
    asked = workload(tmp_path, CLOSED, 'path = "/db/row/{id}"\narguments = 100')
    assert asked.routes == {"/db/row/{id}"}
    assert asked.requires == {"database"}
    target = target_of(asked, asked.levels[0], load_contract(), "127.0.0.1", 1)
    every = (target, *target.others)
    assert len({each.path for each in every}) == 100
    assert every[1].path == "/db/row/7920"
    assert every[1].answer == b'{"id":7920,"value":4611}'


def test_updates_that_are_in_work_together_are_of_different_rows_and_each_changes_its_row() -> None:
    shipped = parse_workload(ROOT / "loadtests" / "workloads" / "db-update")
    numbers = shipped.request.arguments
    rows = [counter_of(number) for number in numbers]
    assert all(len(set(rows[first : first + COUNTERS])) == COUNTERS for first in (0, COUNTERS))
    values: dict[int, set[int]] = {}
    for key, number in zip(rows, numbers, strict=True):
        values.setdefault(key, set()).add(number)
    assert {len(each) for each in values.values()} == {2}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ('path = "/db/row/1"\narguments = 5', "need a path with its argument in braces"),
        ('path = "/db/row/{id}"\narguments = 1', "request.arguments: 1 is under 2"),
        ('path = "/db/update/{n}"\narguments = 5', "GET /db/update/{n} is answered with 405"),
    ],
)
def test_arguments_that_cannot_take_turns_are_refused(tmp_path: Path, request_: str, said: str) -> None:
    assert said in problems(tmp_path, CLOSED, request_)
