"""Locust files as workloads: users live as Locust lets them, and every answer is counted and judged."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from gatebench.machine.kernel import fresh_port
from gatebench.words.paths import HOST, ROOT
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S
from tests.support.scenarios import (
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
from tests.support.scripted import ANSWER, Behaviour, ScriptedServer, answering, request


@pytest.mark.parametrize("base", ["FastHttpUser", "HttpUser"])
def test_a_slice_counts_what_locust_counted_meanwhile_and_users_keep_their_connections(
    tmp_path: Path, base: str
) -> None:
    file = written(tmp_path, visitor('self.client.get("/wait/50")', base=base))
    with HonestServer() as server:
        outcome = drive(file, server.port, slices=3)
    assert server.opened == USERS
    # Whoever waits for an answer when the window ends gets it; between two requests, nobody does.
    assert any(result.drained for result in outcome.results)
    for result, statistics in zip(outcome.results, outcome.statistics, strict=True):
        assert failed(result) == {}
        assert result.completed > 0
        assert result.window_s >= WINDOW_S
        assert result.elapsed_s > result.window_s
        assert (result.counted, result.counted_s) == (result.completed, result.window_s)
        assert statistics == (result.completed + result.drained, 0)
        assert result.names == {"GET /wait/50": [result.completed + result.drained, 0]}
        assert (result.opened, result.closed_by_server, result.uncounted) == (0, 0, {})
        assert 0 < result.busy_share <= 1.1
        assert "Traceback" not in outcome.stderr


def test_response_times_are_those_that_locust_measured_before_it_rounds_them(tmp_path: Path) -> None:
    file = written(tmp_path, visitor('self.client.get("/wait/7")', 'self.client.get("/wait/50")'))
    with HonestServer() as server:
        outcome = drive(file, server.port)
    (result,) = outcome.results
    assert outcome.reported_ms
    assert Counter(result.histogram) <= Counter(int(round(ms * 1e6) // 1000) for ms in outcome.reported_ms)
    # What was in flight at the window's end is timed, too; what others got while it was waited for is not.
    assert result.completed + USERS >= sum(result.histogram.values()) > result.completed
    assert any(latency_us % 1000 for latency_us in result.histogram)
    assert min(result.histogram) >= 7_000


def test_scenarios_on_several_servers_take_turns_in_one_process(tmp_path: Path) -> None:
    file = written(tmp_path, PLAIN)
    with HonestServer() as left, HonestServer() as right:
        outcome = drive(file, left.port, right.port, slices=2)
    for result, statistics in zip(outcome.results, outcome.statistics, strict=True):
        assert statistics == (result.completed + result.drained, 0)
        assert result.completed > 0
    assert left.opened == right.opened == USERS


def test_bytes_and_connections_are_those_on_the_wire(tmp_path: Path) -> None:
    size = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal size
        size = len(await request(reader))
        writer.write(ANSWER)

    for base in ("FastHttpUser", "HttpUser"):
        text = visitor('self.client.get("/plaintext")', "gevent.sleep(0.01)", base=base)
        result = one(tmp_path, text, ScriptedServer(behave))
        answers = result.completed + result.drained
        assert failed(result) == {}
        assert result.bytes_received == answers * len(ANSWER)
        # Some are sent before the window, and some before its end and answered after it.
        assert abs(result.bytes_sent - answers * size) <= USERS * size
        # The server closes after each answer: reuse that is declared but not kept shows.
        assert abs(result.opened - answers) <= USERS
        assert abs(result.closed_by_server - answers) <= USERS


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


def test_users_who_do_not_come_round_while_it_is_warmed_up_are_refused(tmp_path: Path) -> None:
    text = visitor('self.client.get("/plaintext")', f"gevent.sleep({2 * PATIENCE_S})")
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port, patience_s=2)
    assert "after 4 s 1 of 4 users had not gone from their first task to their second" in outcome.error


def test_users_start_once_and_take_leave_once_however_many_slices_there_are(tmp_path: Path) -> None:
    text = PLAIN + (
        '\n    def on_start(self):\n        self.client.get("/json")\n'
        '\n    def on_stop(self):\n        self.client.get("/json")\n'
    )
    asked = Counter[str]()

    class Noting(HonestServer):
        def __init__(self) -> None:
            super().__init__()
            self._faults = Faults(spoil={"GET /json": lambda answer: asked.update(["/json"]) or answer})

    with Noting() as server:
        outcome = drive(written(tmp_path, text), server.port, slices=3)
    assert asked["/json"] == 2 * USERS
    assert all("GET /json" not in each.names for each in outcome.results)
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
    result = one(tmp_path, text, HonestServer(), patience_s=2)
    assert failed(result) == {"body": USERS}
    assert "GET /json: its answer was never judged" in result.examples["body"]


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
        (
            visitor('self.client.get("/json")', "raise StopUser"),
            "1 of 4 users ended before their slice did: StopUser",
        ),
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
    assert set(result.names) == {"GET /", "GET /json", "POST /echo"}
    assert result.completed > 3 * USERS
    assert server.opened == USERS


def test_the_visit_sees_a_wrong_byte_in_what_it_uploaded() -> None:
    faults = Faults(spoil={"POST /echo": lambda answer: answer[:-1] + b"?"})
    with ContractServer(faults) as server:
        (result,) = drive(ROOT / "loadtests" / "workloads" / "visit" / "locustfile.py", server.port).results
    assert set(failed(result)) == {"body"}
    assert result.examples["body"].startswith("POST /echo: not the contract's 4096 bytes")


def test_pauses_that_are_long_against_the_slice_leave_the_rate_locusts_own(tmp_path: Path) -> None:
    text = PLAIN.replace("    @task", "    wait_time = constant_pacing(0.5)\n    @task")
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port, users=12, window_s=0.3, slices=6)
    rate_per_s = sum(each.counted for each in outcome.results) / sum(
        each.counted_s for each in outcome.results
    )
    assert rate_per_s == pytest.approx(12 / 0.5, rel=0.1)
    # A strict rhythm leaves little open but the two ends: a sixth of a turn of each user.
    assert sum(each.pause_variance for each in outcome.results) == pytest.approx(12 / 6, rel=0.5)


def test_users_of_two_classes_live_side_by_side_and_each_at_its_own_pace(tmp_path: Path) -> None:
    text = f"""{HEAD}
class Quick(FastHttpUser):
    weight = 3
    wait_time = constant_pacing(0.1)

    @task
    def page(self):
        self.client.get("/json")


class Slow(HttpUser):
    wait_time = constant_pacing(0.4)

    @task
    def page(self):
        self.client.get("/plaintext")
"""
    with HonestServer() as server:
        results = drive(written(tmp_path, text), server.port, users=8, window_s=0.5, slices=4).results
    answers = {name: sum(each.names[name][0] for each in results) for name in ("GET /json", "GET /plaintext")}
    assert answers["GET /json"] == pytest.approx(6 / 0.1 * 2.0, rel=0.1)
    assert answers["GET /plaintext"] == pytest.approx(2 / 0.4 * 2.0, rel=0.25)
