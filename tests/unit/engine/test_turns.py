"""Several requests that take turns over the same connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from loadtests.engine.answers import in_turn
from loadtests.engine.protocol import Arrivals, Target, Transport
from tests.support.groups import WINDOW_S, driven, failures, group_of, target
from tests.support.scripted import Behaviour, ScriptedServer, request

PATHS = {"/a": b"the first", "/b": b"the second", "/c": b"the third, which is longer"}


def turns(port: int, shares: tuple[int, ...] = (3, 2, 1), transport: Transport = "keep-alive") -> Target:
    each = [
        replace(target(port, transport), path=path, answer=body, share=share)
        for (path, body), share in zip(PATHS.items(), shares, strict=True)
    ]
    return replace(each[0], others=tuple(each[1:]))


def answering(asked: Counter[str], swap: tuple[str, str] = ("", "")) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            path = (await request(reader)).split(b" ")[1].decode()
            asked[path] += 1
            body = PATHS[swap[1] if path == swap[0] else path]
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
            writer.write(head + body)

    return behave


def test_each_has_its_share_of_a_round_and_none_comes_in_a_lump() -> None:
    paths = "".join(each.target.path[-1] for each in in_turn(turns(1)))
    assert Counter(paths) == {"a": 3, "b": 2, "c": 1}
    assert "aa" not in paths


@pytest.mark.parametrize("transport", ["keep-alive", "close"])
def test_under_load_every_request_has_its_share_and_its_own_answer(transport: Transport) -> None:
    asked: Counter[str] = Counter()
    with (
        ScriptedServer(answering(asked)) as server,
        group_of(turns(server.port, transport=transport), 2) as group,
    ):
        right, kinds, _ = driven(group, 60)
    assert (kinds, right) == (set(), asked.total())
    whole = asked.total() // 6
    for path, share in (("/a", 3), ("/b", 2), ("/c", 1)):
        assert abs(asked[path] - share * whole) <= share


def test_an_open_loop_takes_turns_too() -> None:
    asked: Counter[str] = Counter()
    with ScriptedServer(answering(asked)) as server, group_of(turns(server.port), 4) as group:
        group.prepare()
        result = group.run_slice(WINDOW_S, Arrivals(1200, "constant", 1))
    assert failures(result) == set()
    assert asked == {"/a": 30, "/b": 20, "/c": 10}


def test_the_right_answer_to_another_request_is_wrong() -> None:
    behaviour = answering(Counter(), swap=("/b", "/a"))
    with ScriptedServer(behaviour) as server, group_of(turns(server.port), 2) as group:
        _, kinds, examples = driven(group, 30)
    assert kinds == {"body"}
    assert examples["body"].startswith("GET /b: ")


def test_a_target_with_turns_travels_whole() -> None:
    goal = replace(turns(1), request_headers=(("X-A", "1"),), varies=("[0-9]+",))
    assert Target.from_json(goal.to_json()) == goal
    assert b"\r\nX-A: 1\r\n" in goal.request_bytes()
