"""The plain application's WebSocket routes: echo, broadcast, refusal, and clients that stall or vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from apps.plain import sockets
from apps.plain.asgi import app

if TYPE_CHECKING:
    from apps.plain.events import Event


class Client:
    """One WebSocket of the application, without a server in between."""

    def __init__(self, path: str) -> None:
        self.to_app: asyncio.Queue[Event] = asyncio.Queue()
        self.from_app: asyncio.Queue[Event] = asyncio.Queue()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.gone = False
        self.to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(app({"type": "websocket", "path": path}, self.to_app.get, self._send))

    async def _send(self, event: Event) -> None:
        await self.may_send.wait()
        if self.gone:
            raise BrokenPipeError
        self.from_app.put_nowait(event)

    async def get(self) -> Event:
        return await asyncio.wait_for(self.from_app.get(), 5)

    def say(self, **message: str | bytes | None) -> None:
        self.to_app.put_nowait({"type": "websocket.receive", **message})

    async def leave(self) -> None:
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.task, 5)


async def opened(path: str) -> Client:
    client = Client(path)
    assert await client.get() == {"type": "websocket.accept"}
    return client


def in_loop(scenario: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something is left running"
        assert not sockets._backlogs, "a socket is still subscribed"

    asyncio.run(run())


@pytest.mark.parametrize("message", [{"text": "grüße"}, {"bytes": b"\x00\xff"}, {"text": ""}, {"bytes": b""}])
def test_echo_gives_back_each_message_in_its_kind(message: dict[str, str | bytes]) -> None:
    async def scenario() -> None:
        client = await opened("/ws/echo")
        client.say(**message)
        assert await client.get() == {"type": "websocket.send", **message}
        await client.leave()

    in_loop(scenario)


def test_echo_understands_servers_that_send_the_other_kind_as_none() -> None:
    async def scenario() -> None:
        client = await opened("/ws/echo")
        client.say(text=None, bytes=b"x")
        assert await client.get() == {"type": "websocket.send", "bytes": b"x"}
        await client.leave()

    in_loop(scenario)


def test_broadcast_reaches_every_socket_in_one_order() -> None:
    async def scenario() -> None:
        clients = [await opened("/ws/broadcast") for _ in range(3)]
        for number, client in enumerate(clients):
            client.say(text=f"from {number}")
        heard = [[(await client.get())["text"] for _ in clients] for client in clients]
        assert heard[0] == heard[1] == heard[2]
        assert sorted(heard[0]) == ["from 0", "from 1", "from 2"]
        for client in clients:
            await client.leave()

    in_loop(scenario)


def test_broadcast_goes_on_when_a_client_vanishes() -> None:
    async def scenario() -> None:
        vanished, staying = await opened("/ws/broadcast"), await opened("/ws/broadcast")
        vanished.gone = True
        for text in ("one", "two"):
            staying.say(text=text)
            assert (await staying.get())["text"] == text
        await vanished.leave()
        await staying.leave()

    in_loop(scenario)


def test_broadcast_closes_a_socket_that_reads_too_slowly_and_stalls_no_other() -> None:
    async def scenario() -> None:
        slow, quick = await opened("/ws/broadcast"), await opened("/ws/broadcast")
        slow.may_send.clear()
        for number in range(sockets.BACKLOG_MESSAGES + 2):
            quick.say(text=str(number))
            assert (await quick.get())["text"] == str(number)
        slow.may_send.set()
        assert (await slow.get())["text"] == "0"
        assert await slow.get() == {"type": "websocket.close", "code": 1013}
        quick.say(text="later")
        assert (await quick.get())["text"] == "later"
        assert slow.from_app.empty()
        await slow.leave()
        await quick.leave()

    in_loop(scenario)


def test_an_upgrade_on_another_path_is_refused_before_it_is_accepted() -> None:
    async def scenario() -> None:
        client = Client("/ws/missing")
        assert await client.get() == {"type": "websocket.close"}
        await asyncio.wait_for(client.task, 5)

    in_loop(scenario)


def test_a_cancelled_socket_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        client = await opened("/ws/broadcast")
        client.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.task

    in_loop(scenario)
