"""Locust files as workloads: every answer is counted and judged, and nothing is sent outside a slice."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from gatebench.ports import fresh_port
from gatebench.runner import HOST
from gatebench.selection import ROOT
from tests.contract_server import ContractServer, Faults
from tests.lab import PATIENCE_S
from tests.scenarios import (
    CHECKED,
    HEAD,
    PLAIN,
    USERS,
    WINDOW_S,
    HonestServer,
    drive,
    failed,
    one,
    refusals,
    silent,
    visitor,
    written,
)
from tests.scripted import ANSWER, Behaviour, ScriptedServer, answering, request

pytestmark = pytest.mark.real


@pytest.mark.parametrize("base", ["FastHttpUser", "HttpUser"])
def test_counts_equal_what_the_server_saw_and_nothing_is_sent_between_slices(
    tmp_path: Path, base: str
) -> None:
    file = written(tmp_path, visitor('self.client.get("/wait/50")', base=base))
    with HonestServer() as server:
        outcome = drive(file, server.port, slices=3)
    assert server.answered == sum(each.completed + each.drained for each in outcome.results)
    assert server.opened == sum(each.opened for each in outcome.results) == 3 * USERS
    for result, statistics in zip(outcome.results, outcome.statistics, strict=True):
        assert failed(result) == {}
        assert result.completed > 0
        # Every user waits for an answer when the window ends, gets it, and sends no other request.
        assert result.drained == USERS
        assert result.window_s >= WINDOW_S
        assert result.elapsed_s > result.window_s
        assert (result.counted, result.counted_s) == (result.completed, result.window_s)
        assert statistics == (result.completed + result.drained, 0)
        assert result.closed_by_server == 0
        assert 0 < result.busy_share <= 1.1
        assert "Traceback" not in outcome.stderr


def test_response_times_are_those_that_locust_measured_before_it_rounds_them(tmp_path: Path) -> None:
    file = written(tmp_path, visitor('self.client.get("/wait/7")', 'self.client.get("/wait/50")'))
    with HonestServer() as server:
        outcome = drive(file, server.port)
    (result,) = outcome.results
    assert outcome.reported_ms
    assert result.histogram == Counter(int(round(ms * 1e6) // 1000) for ms in outcome.reported_ms)
    assert any(latency_us % 1000 for latency_us in result.histogram)
    assert min(result.histogram) >= 7_000


def test_scenarios_on_several_servers_take_turns_in_one_process(tmp_path: Path) -> None:
    file = written(tmp_path, PLAIN)
    with HonestServer() as left, HonestServer() as right:
        outcome = drive(file, left.port, right.port, slices=2)
    for server, results in ((left, outcome.results[0::2]), (right, outcome.results[1::2])):
        assert server.answered == sum(each.completed + each.drained for each in results) > 0


def test_bytes_and_connections_are_those_on_the_wire(tmp_path: Path) -> None:
    received = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        data = await request(reader)
        received += len(data)
        writer.write(ANSWER)

    for base in ("FastHttpUser", "HttpUser"):
        received = 0
        text = visitor('self.client.get("/plaintext")', "gevent.sleep(0.01)", base=base)
        result = one(tmp_path, text, ScriptedServer(behave))
        answers = result.completed + result.drained
        assert failed(result) == {}
        assert result.bytes_received == answers * len(ANSWER)
        assert result.bytes_sent == received
        # The server closes after each answer: reuse that is declared but not kept shows.
        assert result.opened == answers
        assert result.closed_by_server == answers - USERS


@pytest.mark.parametrize("base", ["FastHttpUser", "HttpUser"])
def test_every_kind_of_wrong_answer_has_its_own_count(tmp_path: Path, base: str) -> None:
    wrong: list[tuple[str, Behaviour]] = [
        ("body", answering(ANSWER.replace(b"World", b"Wurld"))),
        ("status", answering(ANSWER.replace(b"200 OK", b"500 Oh"))),
        ("status", answering(b"220 welcome\r\n\r\n", then_close=True)),
        ("short", answering(ANSWER[:-5], then_close=True)),
        ("reset", answering(b"", then_close=True)),
    ]
    file = written(tmp_path, CHECKED.replace("FastHttpUser)", f"{base})"))
    with ExitStack() as servers:
        running = [servers.enter_context(ScriptedServer(behaviour)) for _, behaviour in wrong]
        outcome = drive(file, *(server.port for server in running))
    assert [set(failed(result)) for result in outcome.results] == [{kind} for kind, _ in wrong]
    for (kind, _), result in zip(wrong, outcome.results, strict=True):
        assert result.completed == result.drained == 0
        assert result.examples[kind].startswith("GET /plaintext: ")


def test_a_server_that_is_not_there_refuses(tmp_path: Path) -> None:
    outcome = drive(written(tmp_path, CHECKED), fresh_port(HOST, set()))
    (result,) = outcome.results
    assert set(failed(result)) == {"refused"}
    assert result.opened == result.completed == 0


@pytest.mark.parametrize("base", ["FastHttpUser", "HttpUser"])
def test_a_server_that_never_answers_ends_the_slice_in_bounded_time(tmp_path: Path, base: str) -> None:
    text = visitor('self.client.get("/plaintext")', base=base)
    result = one(tmp_path, text, ScriptedServer(silent), patience_s=3)
    assert failed(result) == {"timeout": USERS}
    assert "GET /plaintext" in result.examples["timeout"]
    assert result.completed == result.drained == 0


def test_a_user_that_will_not_give_up_is_ended_and_its_request_counted(tmp_path: Path) -> None:
    text = visitor(
        "while True:",
        "    try:",
        '        self.client.get("/plaintext", max_retries=9)',
        "    except Exception:",
        "        pass",
    )
    assert failed(one(tmp_path, text, ScriptedServer(silent), patience_s=3)) == {"timeout": USERS}


def test_a_user_who_thinks_when_the_window_ends_is_not_waited_for(tmp_path: Path) -> None:
    text = visitor('self.client.get("/plaintext")', f"gevent.sleep({2 * PATIENCE_S})")
    result = one(tmp_path, text, HonestServer())
    assert (result.completed, result.drained, failed(result)) == (USERS, 0, {})


def test_what_a_user_sends_on_taking_leave_is_counted(tmp_path: Path) -> None:
    text = (
        PLAIN
        + '\n    def on_stop(self):\n        self.client.get("/json")\n        self.client.get("/json")\n'
    )
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port, slices=2)
    assert server.answered == sum(each.completed + each.drained for each in outcome.results)
    assert all(each.drained >= 2 * USERS for each in outcome.results)
    assert "Traceback" not in outcome.stderr


def test_a_user_may_expect_a_status_but_not_forgive_a_missing_answer(tmp_path: Path) -> None:
    forgiving = visitor(
        'with self.client.get("/no", catch_response=True) as answer:', "    answer.success()", "self.wait()"
    ).replace("    @task", "    wait_time = constant(0.01)\n    @task")
    assert failed(one(tmp_path, forgiving, HonestServer())) == {}
    outcome = drive(written(tmp_path, forgiving), fresh_port(HOST, set()))
    assert set(failed(outcome.results[0])) == {"refused"}


@pytest.mark.parametrize(
    "lines",
    [
        ('with self.client.get("/json", catch_response=True) as answer:', '    answer.json()["no"]'),
        ('answer = self.client.get("/json")', 'assert answer.json()["no"]'),
    ],
)
def test_a_user_who_fails_over_an_answer_is_a_failure(tmp_path: Path, lines: tuple[str, ...]) -> None:
    result = one(
        tmp_path,
        visitor(*lines).replace("    @task", "    wait_time = constant(0.01)\n    @task"),
        HonestServer(),
    )
    assert set(failed(result)) == {"body"}
    assert "KeyError in visit, line" in result.examples["body"]


def test_an_answer_that_nobody_judges_is_a_failure(tmp_path: Path) -> None:
    text = visitor('with self.client.get("/json", catch_response=True):', "    gevent.sleep(600)")
    result = one(tmp_path, text, HonestServer())
    assert failed(result) == {"body": USERS}
    assert "GET /json: its answer was never judged" in result.examples["body"]


def test_events_of_the_file_are_heard_but_are_no_answers(tmp_path: Path) -> None:
    text = PLAIN.replace(
        "class",
        "@events.test_start.add_listener\n"
        "def started(environment, **_):\n"
        '    environment.events.request.fire(request_type="own", name="sum", response_time=1.0,\n'
        "                                    response_length=0, exception=None, context={})\n\nclass",
        1,
    )
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port, slices=2)
    for result, (requests, _) in zip(outcome.results, outcome.statistics, strict=True):
        assert requests == result.completed + result.drained + 1
    assert server.answered == sum(each.completed + each.drained for each in outcome.results)


WRONG_FILES = (
    ("import nothing_of_that_name", ":1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ("def broken(:\n", ":1: SyntaxError"),
    ("raise SystemExit(3)", ":1: SystemExit: 3"),
    (HEAD, "it defines no user class"),
    (f"{HEAD}class Idle(FastHttpUser):\n    pass\n", "Idle has no task"),
    (visitor("pass", base="User"), "Visitor is neither a FastHttpUser nor an HttpUser"),
    (f"{PLAIN}\nclass Wave(LoadTestShape):\n    def tick(self): return None\n", "remove it"),
    (PLAIN.replace("    @task", "    weight = 0\n    @task"), "no users with weight > 0"),
    ("", "there is no such file"),
)


def test_a_wrong_file_is_refused_with_its_name_and_the_next_step(tmp_path: Path) -> None:
    files = [tmp_path / str(number) / "locustfile.py" for number in range(len(WRONG_FILES))]
    for file, (text, _) in zip(files, WRONG_FILES, strict=True):
        file.parent.mkdir()
        if text:
            file.write_text(text)
    for file, (_, complaint), error in zip(files, WRONG_FILES, refusals(*files), strict=True):
        assert complaint in error
        assert error.startswith(str(file))
        assert "; " in error


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (visitor("gevent.sleep(600)"), "no user sent a request within"),
        (visitor('self.client.get("/json")', "raise StopUser"), "4 of 4 users ended before their slice did"),
        (f"{PLAIN}\n    def __init__(self, environment): raise ValueError('ill')\n", "ValueError('ill')"),
    ],
)
def test_users_that_cannot_carry_a_slice_are_refused_with_the_files_name(
    tmp_path: Path, text: str, complaint: str
) -> None:
    file = written(tmp_path, text)
    with HonestServer() as server:
        outcome = drive(file, server.port, patience_s=3)
    assert complaint in outcome.error
    assert outcome.error.startswith(str(file))


def test_files_with_helpers_of_the_same_name_beside_them_each_get_their_own(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "locustfile.py").write_text(
            f"import helper\n{PLAIN}\nassert helper.NAME == {name!r}"
        )
        (tmp_path / name / "helper.py").write_text(f"NAME = {name!r}")
    files = [tmp_path / name / "locustfile.py" for name in ("left", "right")]
    assert refusals(*files) == ["", ""]


def test_the_visit_that_is_shipped_is_answered_as_the_contract_says() -> None:
    with HonestServer() as server:
        (result,) = drive(ROOT / "loadtests" / "workloads" / "visit" / "locustfile.py", server.port).results
    assert failed(result) == {}
    assert server.answered == result.completed + result.drained > 3 * USERS
    assert result.opened == USERS


def test_the_visit_sees_a_wrong_byte_in_what_it_uploaded() -> None:
    faults = Faults(spoil={"POST /echo": lambda answer: answer[:-1] + b"?"})
    with ContractServer(faults) as server:
        (result,) = drive(ROOT / "loadtests" / "workloads" / "visit" / "locustfile.py", server.port).results
    assert set(failed(result)) == {"body"}
    assert result.examples["body"].startswith("POST /echo: not the contract's 4096 bytes")
