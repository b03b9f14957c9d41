"""What of a Locust file counts: what reached the server, by the workload's transport, under its own name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gatebench.words.paths import HOST
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S
from tests.support.scenarios import HEAD, PLAIN, USERS, HonestServer, drive, failed, one, visitor, written
from tests.support.scripted import ANSWER, Behaviour, ScriptedServer, answering, request

BASES = ("FastHttpUser", "HttpUser")
PACED = "    wait_time = constant(0.01)\n    @task"
CHATTER = f"""{HEAD}
import time
import websocket

class Chatter(HttpUser):
    wait_time = constant(0.005)

    def on_start(self):
        self.socket = websocket.create_connection(self.host.replace("http", "ws") + "/ws/echo")

    def on_stop(self):
        self.socket.close()

    def fire(self, name, began, error=None):
        self.environment.events.request.fire(
            request_type="WS", name=name, response_time=(time.perf_counter() - began) * 1000,
            response_length=5, exception=error, context={{}})

    @task
    def visit(self):
        whole = time.perf_counter()
        self.client.get("/json")
        began, error = time.perf_counter(), None
        self.socket.send("hello")
        if self.socket.recv() != "EXPECTED":
            error = AssertionError("another word came back")
        self.fire("echo", began, error)
        self.fire("whole visit", whole)
"""


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("ours", [True, False])
def test_requests_to_another_address_are_refused_with_how_many_and_where(
    tmp_path: Path, base: str, ours: bool
) -> None:
    with HonestServer() as subject, HonestServer() as other:
        text = visitor(
            *(['self.client.get("/json")'] if ours else []),
            f'self.client.get("http://{HOST}:{other.port}/json")',
            base=base,
        ).replace("    @task", PACED)
        outcome = drive(written(tmp_path, text), subject.port)
    assert (
        f"requests went to {HOST}:{other.port}, not to the server at {HOST}:{subject.port}" in outcome.error
    )
    assert f"the first was GET http://{HOST}:{other.port}/json" in outcome.error


def test_a_redirect_and_a_proxy_to_another_address_are_refused(tmp_path: Path) -> None:
    with HonestServer() as other:
        away = f"HTTP/1.1 302 Found\r\nLocation: http://{HOST}:{other.port}/json\r\nContent-Length: 0\r\n\r\n"
        for text, server in (
            (PLAIN, ScriptedServer(answering(away.encode()))),
            (
                visitor(
                    f'self.client.get("/json", proxies={{"http": "http://{HOST}:{other.port}"}})',
                    base="HttpUser",
                ),
                HonestServer(),
            ),
        ):
            with server:
                outcome = drive(written(tmp_path, text.replace("    @task", PACED)), server.port)
            assert f"went to {HOST}:{other.port}, not to the server" in outcome.error


def test_a_session_of_the_files_own_is_followed_like_the_users(tmp_path: Path) -> None:
    with HonestServer() as subject, HonestServer() as other:
        text = visitor(
            "from locust.clients import HttpSession",
            f'own = HttpSession("http://{HOST}:{other.port}", self.environment.events.request, self)',
            'own.get("/json")',
        ).replace("    @task", PACED)
        outcome = drive(written(tmp_path, text), subject.port)
    assert f"went to {HOST}:{other.port}, not to the server" in outcome.error


def test_an_answer_that_came_over_no_socket_is_refused(tmp_path: Path) -> None:
    text = visitor('self.client.get("/json")', base="HttpUser").replace("    @task", PACED) + (
        "\n    def on_start(self):\n"
        "        import requests\n"
        "        answer = requests.Response()\n"
        '        answer.status_code, answer._content = 200, b"cached"\n'
        '        answer.request = requests.Request("GET", self.host + "/json").prepare()\n'
        "        self.client._send_request_safe_mode = lambda *_, **__: answer\n"
    )
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port)
    assert "requests reached no socket" in outcome.error


def test_localhost_is_the_servers_address_and_other_traffic_of_a_user_is_its_own_affair(
    tmp_path: Path,
) -> None:
    with HonestServer() as subject, HonestServer() as metrics:
        text = visitor(
            f'self.client.get("http://localhost:{subject.port}/json")',
            "import requests",
            f'requests.get("http://{HOST}:{metrics.port}/plaintext")',
        ).replace("    @task", PACED)
        outcome = drive(written(tmp_path, text), subject.port)
    assert outcome.error == ""
    assert outcome.results[0].completed > 0
    assert metrics.answered > 0


def test_what_a_file_fires_over_a_websocket_counts_and_pages_beside_it_do_not(tmp_path: Path) -> None:
    file = written(tmp_path, CHATTER.replace("EXPECTED", "hello"))
    with ContractServer() as server:
        (result,) = drive(file, server.port, transport="websocket").results
    assert failed(result) == {}
    assert result.names["WS echo"] == [result.completed + result.drained, 0]
    assert [*result.names] == ["WS echo"]
    said = {key.partition(": ")[0]: count for key, count in result.uncounted.items()}
    assert result.completed > 0
    # At either end of the slice a user may have its page and not its message in it, or the other way round.
    assert abs(said["GET /json"] - result.completed - result.drained) <= USERS
    assert abs(said["WS whole visit"] - result.completed) <= USERS
    # Locust's own time of a message, not of the page before it.
    assert sum(result.histogram.values()) >= result.completed


def late(message: str | bytes) -> str | bytes:
    """The message, after a while."""
    time.sleep(0.005)
    return message


@pytest.mark.parametrize(
    ("given", "believed"),
    [
        ("(time.perf_counter() - began) * 1000", True),
        ("0", False),
        ("time.perf_counter() - began", False),  # seconds
        ("(time.perf_counter() - began) * 1e6", False),
    ],
)
def test_a_response_time_that_a_socket_contradicts_is_the_sockets(
    tmp_path: Path, given: str, believed: bool
) -> None:
    text = CHATTER.replace("EXPECTED", "hello").replace("(time.perf_counter() - began) * 1000", given)
    with ContractServer(Faults(reply=late)) as server:
        (result,) = drive(written(tmp_path, text), server.port, transport="websocket").results
    assert result.completed > 0
    assert 5_000 <= min(result.histogram) <= max(result.histogram) < 5_000_000
    told = {key: n for key, n in result.uncounted.items() if "the response time that the file gave" in key}
    assert all(key.startswith("WS echo: ") for key in told)
    if believed:
        # A machine that pauses between the file's look at its clock and the lab's contradicts one in a while.
        assert sum(told.values()) <= result.completed / 5
    else:
        assert len(told) == 1
        assert sum(told.values()) >= result.completed


def test_a_response_time_that_a_with_block_overwrites_is_the_clients(tmp_path: Path) -> None:
    for base in BASES:
        text = visitor(
            'with self.client.get("/wait/50", catch_response=True) as answer:',
            '    answer.request_meta["response_time"] = 0.001',
            base=base,
        )
        with HonestServer() as server:
            (result,) = drive(written(tmp_path, text), server.port).results
        assert result.completed > 0
        assert all(latency_us >= 50_000 for latency_us in result.histogram)
        assert "GET /wait/50: only the response time that the file gave" in "".join(result.uncounted)


def test_what_a_child_process_sends_is_told_as_such(tmp_path: Path) -> None:
    text = visitor(
        "import subprocess, sys",
        "call = [sys.executable, '-c', 'import urllib.request as r, sys; r.urlopen(sys.argv[1]).read()']",
        'subprocess.run([*call, self.host + "/json"], check=True)',
        'self.environment.events.request.fire(request_type="GET", name="curl", response_time=1.0,',
        "    response_length=1, exception=None, context={})",
    )
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port)
    assert "nothing that the users did counts for the server" in outcome.error
    assert "or of a child process" in outcome.error


def test_a_message_that_a_file_calls_wrong_is_a_failure_in_its_words(tmp_path: Path) -> None:
    file = written(tmp_path, CHATTER.replace("EXPECTED", "other"))
    with ContractServer() as server:
        (result,) = drive(file, server.port, transport="websocket").results
    assert set(failed(result)) == {"body"}
    assert result.completed == result.drained == 0
    assert result.names["WS echo"][0] == 0 < result.names["WS echo"][1]
    assert result.examples["body"] == "WS echo: another word came back"


def test_messages_in_a_workload_of_http_are_not_its_requests(tmp_path: Path) -> None:
    file = written(tmp_path, CHATTER.replace("EXPECTED", "hello"))
    with ContractServer() as server:
        (result,) = drive(file, server.port).results
    assert result.names["GET /json"] == [result.completed + result.drained, 0]
    assert any(key.startswith("WS echo: went over a WebSocket") for key in result.uncounted)


def test_a_reader_in_a_greenlet_of_its_own_counts_for_its_user(tmp_path: Path) -> None:
    text = CHATTER.replace("EXPECTED", "hello").replace('self.socket.recv() != "EXPECTED"', "False")
    text = text.replace(
        "    def on_stop(self):",
        "        from gevent.queue import Queue\n"
        "        self.words = Queue()\n"
        "        def read():\n"
        "            while True:\n"
        "                self.words.put(self.socket.recv())\n"
        "        gevent.spawn(read)\n\n"
        "    def on_stop(self):",
    ).replace("self.socket.recv() !=", "self.words.get() !=")
    with ContractServer() as server:
        (result,) = drive(written(tmp_path, text), server.port, transport="websocket").results
    assert failed(result) == {}
    assert result.completed > 0
    assert result.names["WS echo"][0] == result.completed + result.drained


@pytest.mark.parametrize("base", BASES)
def test_under_close_each_request_of_locusts_clients_has_a_connection_of_its_own(
    tmp_path: Path, base: str
) -> None:
    text = visitor('self.client.get("/plaintext")', base=base).replace("    @task", PACED)
    heads: list[bytes] = []

    async def deaf_to_the_wish(reader: object, writer: object) -> None:
        heads.append(await request(reader))  # type: ignore[arg-type] # as a Behaviour's
        writer.write(ANSWER)  # type: ignore[attr-defined]
        await reader.read()  # type: ignore[attr-defined] # it keeps the connection

    behave: Behaviour = deaf_to_the_wish
    with ScriptedServer(behave) as server:
        (result,) = drive(written(tmp_path, text), server.port, transport="close").results
    answers = result.completed + result.drained
    assert failed(result) == {}
    assert answers > USERS
    assert abs(result.opened - answers) <= USERS
    assert result.closed_by_server == 0
    assert all(b"connection: close" in head.lower() for head in heads)


def test_a_client_of_the_files_own_that_keeps_its_connection_is_refused_under_close(tmp_path: Path) -> None:
    text = visitor(
        "import requests, time",
        "self.own = getattr(self, 'own', None) or requests.Session()",
        'self.own.get(self.host + "/json")',
        'self.environment.events.request.fire(request_type="GET", name="own", response_time=1.0,',
        "    response_length=1, exception=None, context={})",
    ).replace("    @task", PACED)
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port, transport="close")
    assert "went over a connection that had carried another" in outcome.error
    assert 'transport = "close"' in outcome.error


def test_a_file_that_opens_a_connection_for_each_request_is_not_keep_alive(tmp_path: Path) -> None:
    forgetful = visitor(
        "from locust.clients import HttpSession",
        "own = HttpSession(self.host, self.environment.events.request, self)",
        'own.get("/json")',
        "own.close()",
    ).replace("    @task", PACED)
    with ScriptedServer(keeping) as server:
        outcome = drive(written(tmp_path, forgetful), server.port)
    assert "requests opened a connection of their own" in outcome.error
    assert 'transport = "keep-alive"' in outcome.error


@pytest.mark.parametrize("base", BASES)
def test_a_close_that_the_file_asks_for_is_not_charged_to_the_server(tmp_path: Path, base: str) -> None:
    asking = 'self.client.get("/json", headers={"Connection": "close"})'
    every = visitor(asking, base=base).replace("    @task", PACED)
    one_of_four = visitor(*['self.client.get("/json")'] * 3, asking, base=base).replace("    @task", PACED)
    with HonestServer() as server:
        outcome = drive(written(tmp_path, every), server.port)
        (result,) = drive(written(tmp_path, one_of_four), server.port).results
    assert 'requests said "Connection: close"' in outcome.error
    assert "remove the header" in outcome.error
    assert (result.closed_by_server, failed(result)) == (0, {})
    assert result.opened > USERS


async def keeping(reader: object, writer: object) -> None:
    """Answers on and on, and closes nothing."""
    while await request(reader):  # type: ignore[arg-type] # as a Behaviour's
        writer.write(ANSWER)  # type: ignore[attr-defined]


def test_a_user_with_several_connections_makes_no_server_close_any(tmp_path: Path) -> None:
    text = visitor(
        "from gevent.pool import Group",
        "parts = Group()",
        "for _ in range(4):",
        '    parts.spawn(self.client.get, "/wait/7")',
        "parts.join()",
    ).replace("    @task", PACED)
    with HonestServer() as server:
        (result,) = drive(written(tmp_path, text), server.port).results
    assert server.opened == 4 * USERS
    assert (result.closed_by_server, failed(result)) == (0, {})


def test_a_close_that_the_server_announces_or_makes_is_counted_once(tmp_path: Path) -> None:
    announced = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    for answer in (announced, ANSWER):
        for base in BASES:
            text = visitor('self.client.get("/plaintext")', base=base).replace("    @task", PACED)
            result = one(tmp_path, text, ScriptedServer(answering(answer, then_close=True)))
            answers = result.completed + result.drained
            assert failed(result) == {}
            assert abs(result.closed_by_server - answers) <= USERS < answers


def test_options_of_the_file_have_their_defaults_and_are_set_by_name(tmp_path: Path) -> None:
    text = (
        visitor("self.client.get(self.environment.parsed_options.page)")
        .replace("    @task", PACED)
        .replace(
            "class Visitor",
            "@events.init_command_line_parser.add_listener\n"
            "def _(parser):\n"
            '    parser.add_argument("--page", default="/json")\n'
            '    parser.add_argument("--twice", action="store_true")\n\n'
            "class Visitor",
        )
    )
    file = written(tmp_path, text)
    with HonestServer() as server:
        assert list(drive(file, server.port).results[0].names) == ["GET /json"]
        given = drive(file, server.port, options={"page": "/plaintext", "twice": "true"})
        assert list(given.results[0].names) == ["GET /plaintext"]
        wrong = drive(file, server.port, options={"pge": "/plaintext", "twice": "maybe"})
    assert "there is no option 'pge' (did you mean \"page\"?)" in wrong.error
    assert '"maybe" is neither true nor false' in wrong.error


def test_tags_choose_among_the_tasks_of_a_file(tmp_path: Path) -> None:
    text = (
        visitor('self.client.get("/plaintext")')
        .replace("constant,", "constant, tag,")
        .replace("    @task", f'{PACED.removesuffix("    @task")}    @tag("read")\n    @task')
    )
    text += '\n    @tag("write", "slow")\n    @task\n    def write(self):\n        self.client.get("/json")\n'
    file = written(tmp_path, text)
    with HonestServer() as server:
        both = drive(file, server.port).results[0].names
        reading = drive(file, server.port, options={"tags": "read"}).results[0].names
        without = drive(file, server.port, options={"exclude_tags": "slow, other"}).results[0].names
    assert set(both) == {"GET /plaintext", "GET /json"}
    assert set(reading) == set(without) == {"GET /plaintext"}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            'if self.client.post("/no", json={}).status_code != 200: self.environment.runner.quit()',
            "POST /no: 404 Not Found; then the file ended the test (runner.quit)",
        ),
        (
            'self.client.get("/json"); self.environment.runner.quit()',
            "the file ended the test by itself (runner.quit) after ",
        ),
        (
            'self.client.get("/json"); raise SystemExit(3)',
            "1 of 4 users ended before their slice did: SystemExit: 3",
        ),
        ("raise KeyError('token')", "users ended before their slice did after Visitor: KeyError in on_start"),
    ],
)
def test_the_real_cause_is_told_when_a_file_ends_its_users(tmp_path: Path, body: str, complaint: str) -> None:
    text = PLAIN.replace("    @task", PACED) + f"\n    def on_start(self):\n        {body}\n"
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port, patience_s=PATIENCE_S)
    assert complaint in outcome.error


def test_users_who_would_never_begin_are_told_before_the_load(tmp_path: Path) -> None:
    text = PLAIN.replace("    @task", "    fixed_count = 3\n    @task")
    with HonestServer() as server:
        outcome = drive(written(tmp_path, text), server.port)
    assert (
        "4 users are asked for, but fixed_count allows 3 (Visitor 3), so 1 would never begin" in outcome.error
    )
    assert "set users = [3]" in outcome.error
    assert server.answered == 0


def test_a_failure_before_the_first_slice_is_told_by_it(tmp_path: Path) -> None:
    text = PLAIN.replace("    @task", PACED) + '\n    def on_start(self):\n        self.client.post("/no")\n'
    with HonestServer() as server:
        first, second = drive(written(tmp_path, text), server.port, slices=2).results
    assert failed(first) == {"status": USERS}
    assert first.examples == {"status": "POST /no: 404 Not Found"}
    assert first.names["POST /no"] == [0, USERS]
    assert failed(second) == {}
