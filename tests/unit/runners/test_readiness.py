"""When a server is up: a right answer at once, a wrong one that stays, and what is said of the others."""

from __future__ import annotations

import asyncio

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.site import (
    ATTEMPT_S,
    Heard,
    Listening,
    Outcome,
    ask_until_right,
    wait_until_accepting,
)
from gatebench.contract.verify import Difference
from gatebench.runners.readiness import describe
from gatebench.words.errors import ServerFailure
from gatebench.words.paths import HOST
from tests.support.contract_server import ContractServer
from tests.support.scripted import ScriptedServer, answering, listening_without_answer

CONTRACT = load_contract()
WRONG = Heard("wrong", "GET /: status: expected 200, got 404")
STARTING = Heard("starting", "GET /: status: expected 200, got 502")
SILENT = Heard("silent", "GET /: nothing more within 2 s")


def listening(*heard: tuple[float, Heard]) -> Listening:
    found = Listening()
    for moment_s, each in heard:
        found.hear(each, moment_s)
    return found


def test_a_wrong_answer_that_stays_for_two_seconds_is_taken_to_stay() -> None:
    found = listening((10.0, WRONG), (10.5, WRONG), (11.5, WRONG))
    assert not found.is_settled(11.9)
    assert found.is_settled(12.0)


def test_two_looks_alone_settle_nothing_however_far_apart_they_are() -> None:
    assert not listening((10.0, WRONG), (20.0, WRONG)).is_settled(20.0)


def test_a_server_that_says_it_is_starting_is_given_longer() -> None:
    found = listening((10.0, STARTING), (12.0, STARTING), (15.0, STARTING))
    assert not found.is_settled(19.9)
    assert found.is_settled(20.0)


@pytest.mark.parametrize("between", [SILENT, STARTING])
def test_anything_in_between_begins_the_wait_anew(between: Heard) -> None:
    found = listening((10.0, WRONG), (11.0, between), (12.0, WRONG), (12.5, WRONG), (13.0, WRONG))
    assert not found.is_settled(13.9)
    assert found.is_settled(14.0)


def test_silence_never_settles_and_the_last_answer_is_told_with_it() -> None:
    found = listening((10.0, WRONG), (11.0, SILENT), (60.0, SILENT), (600.0, SILENT))
    assert not found.is_settled(600.0)
    assert found.reason == f"{SILENT.text}; before that, {WRONG.text}"
    assert listening((1.0, SILENT)).reason == SILENT.text
    assert listening((1.0, SILENT), (2.0, WRONG)).reason == WRONG.text


def reply(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        (reply(b"404 Not Found"), "wrong", "status: expected 200, got 404"),
        (reply(b"500 Oops"), "wrong", "status: expected 200, got 500"),
        (reply(b"502 Bad Gateway"), "starting", "status: expected 200, got 502"),
        (reply(b"503 Busy"), "starting", "status: expected 200, got 503"),
        (b"SSH-2.0-server\r\n\r\n", "wrong", "no whole HTTP answer"),
        (b"", "silent", "closed the connection without an answer"),
    ],
)
def test_what_a_server_says_is_told_from_silence(answer: bytes, outcome: Outcome, said: str) -> None:
    with ScriptedServer(answering(answer, then_close=True)) as server:
        heard = ask_until_right(HOST, server.port, CONTRACT, 0.1)
    assert heard.outcome == outcome
    assert said in heard.text


def test_an_attempt_is_never_cut_short_so_that_no_remainder_is_a_reason() -> None:
    with listening_without_answer() as port:
        heard = ask_until_right(HOST, port, CONTRACT, 0.05)
    assert heard == Heard("silent", f"GET /: nothing more within {ATTEMPT_S:g} s")


def test_a_first_answer_that_takes_longer_than_a_step_is_waited_for() -> None:
    right = b"<!DOCTYPE html>"

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        writer.write(b"HTTP/1.1 404 Late\r\nContent-Length: 15\r\n\r\n" + right)
        await writer.drain()

    with ScriptedServer(slow) as server:
        assert ask_until_right(HOST, server.port, CONTRACT, 0.1).outcome == "wrong"


def test_ready_means_the_contracts_answer() -> None:
    with ContractServer() as server:
        wait_until_accepting(HOST, server.port, deadline_s=5, alive=lambda: True)


def test_a_server_that_answers_with_errors_is_not_ready() -> None:
    wrong = answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", then_close=True)
    with (
        ScriptedServer(wrong) as server,
        pytest.raises(ServerFailure, match="status: expected 200, got 500") as raised,
    ):
        wait_until_accepting(HOST, server.port, deadline_s=0.2, alive=lambda: True)
    assert raised.value.code == "start"


def test_a_server_that_never_answers_is_not_ready_when_the_time_is_up() -> None:
    with listening_without_answer() as port, pytest.raises(ServerFailure, match=r"not ready within 0\.2 s"):
        wait_until_accepting(HOST, port, deadline_s=0.2, alive=lambda: True)


def test_a_server_that_ended_is_not_waited_for() -> None:
    with listening_without_answer() as port:
        pass
    with pytest.raises(ServerFailure, match=r"ended before it was ready; last: GET /: no connection"):
        wait_until_accepting(HOST, port, deadline_s=600, alive=lambda: False)


def test_a_server_that_answers_wrongly_and_goes_on_to_differs_from_the_contract() -> None:
    with (
        ScriptedServer(answering(reply(b"404 Not Found"), then_close=True)) as server,
        pytest.raises(ServerFailure, match="status: expected 200, got 404") as raised,
    ):
        wait_until_accepting(HOST, server.port, deadline_s=600, alive=lambda: True)
    assert raised.value.code == "contract"


def test_a_server_that_says_for_a_moment_that_it_is_starting_gets_ready() -> None:
    answers = iter([reply(b"503 Soon")] * 3)
    with ContractServer() as behind:

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = await reader.readuntil(b"\r\n\r\n")
            if (early := next(answers, None)) is not None:
                writer.write(early)
                await writer.drain()
                return
            back, forth = await asyncio.open_connection(HOST, behind.port)
            forth.write(asked)
            writer.write(await back.read())
            await writer.drain()
            forth.close()

        with ScriptedServer(proxy) as server:
            wait_until_accepting(HOST, server.port, deadline_s=600, alive=lambda: True)
    assert next(answers, None) is None


def test_what_came_of_several_requests_alike_is_told_once_with_their_names() -> None:
    found = [
        Difference(f"GET /{path}", "header content-length", f"'{number}'", "none")
        for number, path in enumerate("abcdefghi")
    ]
    found.append(Difference("POST /echo (text:a\r\n)", "status", "200", "500"))
    assert describe(found).splitlines() == [
        (
            "GET /a: header content-length: expected '0', got none "
            "(likewise GET /b, GET /c, GET /d, GET /e, GET /f, GET /g, and 2 more)"
        ),
        "POST /echo (text:a  ): status: expected 200, got 500",
    ]
