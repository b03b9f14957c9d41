"""What is asked from beside the servers, here and through the agent."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from typing import Any, cast

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.site import MOST_FETCHED_BYTES, Fetched, LocalSite, Site
from gatebench.load.process import LoadProcess
from gatebench.runners.docker.agent import Agent
from gatebench.runners.docker.site import ContainerSite
from gatebench.words.paths import HOST
from tests.support.scripted import ANSWER, BODY, Behaviour, ScriptedServer


class DirectAgent:
    """Hands each command to the agent as it would come through the container's input."""

    def __init__(self, undo: ExitStack) -> None:
        self._agent = Agent(undo)

    def ask(self, message: dict[str, Any], timeout_s: float = 0.0) -> dict[str, Any]:  # noqa: ARG002 - as asked
        answered = self._agent.answer(json.loads(json.dumps(message)))
        return dict(json.loads(json.dumps(answered)))


@pytest.fixture(params=["here", "through the agent"])
def site(request: pytest.FixtureRequest) -> Site:
    if request.param == "here":
        return LocalSite(load_contract())
    return ContainerSite(cast("LoadProcess", DirectAgent(ExitStack())))


def answering(answer: bytes) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return behave


def fetch(site: Site, *ports: int) -> list[Fetched]:
    return site.fetch([(HOST, port) for port in ports], "/", timeout_s=5)


def test_each_server_gives_its_own_answer_in_the_order_asked(site: Site) -> None:
    other = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n\xff\x00\n"
    with ScriptedServer(answering(ANSWER)) as first, ScriptedServer(answering(other)) as second:
        answers = fetch(site, second.port, first.port)
    assert answers == [Fetched(404, b"\xff\x00\n"), Fetched(200, BODY)]


def test_a_server_without_an_answer_is_told_beside_one_that_has_it(site: Site) -> None:
    with ScriptedServer(answering(b"")) as silent, ScriptedServer(answering(ANSWER)) as good:
        without, with_answer = fetch(site, silent.port, good.port)
    assert (without.status, without.body) == (0, b"")
    assert "closed the connection" in without.error
    assert with_answer.body == BODY


def test_an_answer_that_is_too_long_is_not_taken(site: Site) -> None:
    length = MOST_FETCHED_BYTES + 1
    long = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + bytes(length)
    with ScriptedServer(answering(long)) as server:
        (fetched,) = fetch(site, server.port)
    assert fetched == Fetched(0, b"", "/ was answered with 262,145 bytes")


def test_no_servers_give_no_answers(site: Site) -> None:
    assert fetch(site) == []
