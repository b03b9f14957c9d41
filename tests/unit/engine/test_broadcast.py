"""Broadcasts against servers that tell everybody, leave somebody out, or say something else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from loadtests.engine.group import Group
from loadtests.engine.tally import SliceResult
from tests.support.groups import WINDOW_S, failures, group_of
from tests.support.rooms import Room, Server, honestly, target
from tests.support.scripted import Behaviour, ScriptedServer

SUBSCRIBERS = 5
SOON_S = 5.0


def drive(behaviour: Behaviour, *, timeout_s: float = 5.0) -> SliceResult:
    with (
        ScriptedServer(behaviour) as server,
        group_of(target(server.port, timeout_s), SUBSCRIBERS) as group,
    ):
        group.prepare()
        return group.run_slice(WINDOW_S)


def run(group: Group) -> SliceResult:
    group.prepare()
    return group.run_slice(WINDOW_S)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


def test_everybody_hears_every_broadcast_once() -> None:
    room = Room()
    result = drive(room.behave)
    assert failures(result) == set()
    broadcasts = result.completed + result.drained
    assert broadcasts == len(room.said) == len(set(room.said)) > 2
    assert sum(result.histograms["response"].values()) == broadcasts * SUBSCRIBERS
    assert sum(result.histograms["last"].values()) == broadcasts
    assert result.drained <= 1


def test_the_first_connection_alone_speaks() -> None:
    room = Room()
    drive(room.behave)
    assert room.speakers == {0}


def test_each_subscriber_has_a_delay_of_its_own_and_the_last_ones_is_kept_apart() -> None:
    pause_s = 0.01
    result = drive(Room(pause_s=pause_s).behave)
    assert failures(result) == set()
    broadcasts = sum(result.histograms["last"].values())
    assert min(result.histograms["last"]) >= 1e6 * SUBSCRIBERS * pause_s
    for place in range(1, SUBSCRIBERS + 1):
        least_us = 1e6 * place * pause_s
        later = sum(
            count for delay_us, count in result.histograms["response"].items() if delay_us >= least_us
        )
        assert later >= broadcasts * (SUBSCRIBERS - place + 1)


def test_the_throughput_is_that_of_broadcasts_not_of_deliveries() -> None:
    result = drive(Room().behave)
    assert result.counted == result.completed > 0


def test_a_subscriber_that_is_left_out_times_out_and_its_broadcast_is_not_completed() -> None:
    def all_but_the_third(number: int, protocol: Server, text: str) -> bytes:
        return b"" if number == 2 else honestly(number, protocol, text)

    result = drive(Room(all_but_the_third).behave, timeout_s=0.1)
    assert result.failures["timeout"] == 1
    assert result.completed == result.drained == 0
    assert "last" not in result.histograms


@pytest.mark.parametrize("together", [True, False])
def test_a_subscriber_that_hears_twice_heard_a_wrong_body(together: bool) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await room.behave(reader, writer)

    def twice(number: int, protocol: Server, text: str) -> bytes:
        once = honestly(number, protocol, text)
        if number != 2 or together:
            return once * (2 if number == 2 else 1)
        writer = room.peers[number][1]
        asyncio.get_running_loop().call_later(0.002, writer.write, honestly(number, protocol, text))
        return once

    room = Room(twice)
    result = drive(behave)
    assert result.failures["body"] == 1
    assert failures(result) <= {"body", "refused"}  # it has lost its connection, which is missed from then on


def test_a_copy_that_comes_after_the_slice_is_a_wrong_body_of_the_next() -> None:
    room = Room()
    with ScriptedServer(room.behave) as server, group_of(target(server.port), SUBSCRIBERS) as group:
        assert failures(run(group)) == set()
        last = room.said[-1]
        room.send_from_outside(lambda protocol: protocol.send(TextMessage(last)))
        result = run(group)
    assert failures(result) == {"body"}
    assert result.failures["body"] == SUBSCRIBERS
    assert result.completed > 0


def test_pings_between_slices_are_answered() -> None:
    room = Room()
    with ScriptedServer(room.behave) as server, group_of(target(server.port), SUBSCRIBERS) as group:
        assert failures(run(group)) == set()
        room.send_from_outside(lambda protocol: protocol.send(Ping(payload=b"there?")))
        result = run(group)
        wait_until(lambda: room.pongs == SUBSCRIBERS)
    assert failures(result) == set()
    assert result.completed > 0
    assert result.opened == 0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda text: TextMessage("x" + text[1:]), id="another text"),
        pytest.param(lambda text: TextMessage(text + "!"), id="a longer one"),
        pytest.param(lambda text: BytesMessage(text.encode()), id="binary"),
    ],
)
def test_a_subscriber_that_hears_something_else_is_a_wrong_body(
    wrong: Callable[[str], TextMessage | BytesMessage],
) -> None:
    def another(number: int, protocol: Server, text: str) -> bytes:
        return protocol.send(wrong(text)) if number == 2 else honestly(number, protocol, text)

    result = drive(Room(another).behave)
    assert result.failures["body"] == 1
    assert result.completed == 0


def test_a_subscriber_that_hears_the_broadcast_before_this_one_is_a_wrong_body() -> None:
    def late(number: int, protocol: Server, text: str) -> bytes:
        return honestly(number, protocol, room.said[-2] if number == 2 and len(room.said) == 10 else text)

    room = Room(late)
    result = drive(room.behave)
    assert result.failures["body"] == 1
    assert result.completed + result.drained == 9


def test_a_subscriber_that_disconnects_is_missed_and_the_others_still_hear() -> None:
    def hangs_up(number: int, protocol: Server, text: str) -> bytes:
        if number == 2 and len(room.said) == 10:
            return protocol.send(CloseConnection(code=1001))
        return honestly(number, protocol, text)

    room = Room(hangs_up)
    result = drive(room.behave)
    assert result.completed + result.drained == 9
    assert result.failures["reset"] == 1
    assert failures(result) <= {"reset", "refused"}
    assert result.closed_by_server == 1
    assert sum(result.histogram.values()) == len(room.said) * (SUBSCRIBERS - 1) + 9


def test_a_speaker_that_is_lost_does_not_make_the_others_time_out() -> None:
    def hangs_up(number: int, protocol: Server, text: str) -> bytes:
        if number == 0 and len(room.said) == 10:
            return protocol.send(CloseConnection(code=1001))
        return honestly(number, protocol, text)

    room = Room(hangs_up)
    result = drive(room.behave, timeout_s=0.3)
    assert result.completed + result.drained == 9
    assert result.failures["reset"] == 1
    assert failures(result) <= {"reset", "refused"}


def test_who_was_lost_is_back_in_the_next_slice() -> None:
    def hangs_up(number: int, protocol: Server, text: str) -> bytes:
        if number == 2 and len(room.said) == 10:
            return protocol.send(CloseConnection(code=1001))
        return honestly(number, protocol, text)

    room = Room(hangs_up)
    with ScriptedServer(room.behave) as server, group_of(target(server.port), SUBSCRIBERS) as group:
        run(group)
        wait_until(lambda: 2 not in room.peers)
        result = run(group)
    assert failures(result) == set()
    assert result.completed > 0


def test_broadcasts_in_pieces_are_heard() -> None:
    def halved(number: int, protocol: Server, text: str) -> bytes:
        frame = honestly(number, protocol, text)
        writer = room.peers[number][1]
        asyncio.get_running_loop().call_later(0.001, writer.write, frame[20:])
        return frame[:20]

    room = Room(halved)
    result = drive(room.behave)
    assert failures(result) == set()
    assert result.completed > 0


def test_nobody_at_all_makes_no_broadcast() -> None:
    with ScriptedServer(Room().behave) as server, group_of(target(server.port), 0) as group:
        result = run(group)
    assert result.completed == 0
    assert failures(result) == set()
