"""A trace around an ASGI application. Runs in a server's environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from apps.plain.events import Event, Receive, Scope, Send
from gatebench.explaining.trace import Trace, handed, shown

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def traced_asgi(application: Application, trace: Trace) -> Application:
    """An ASGI application that notes its scope, and each event that it receives and sends.

    It changes nothing, and is a function, because some servers tell ASGI 3 from ASGI 2 by that.
    """

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        call = trace.call()
        loop = type(asyncio.get_running_loop())
        call.note(
            "called",
            pid=os.getpid(),
            loop=f"{loop.__module__}.{loop.__qualname__}",
            handed=handed("asgi", scope),
        )

        async def traced_receive() -> Event:
            event = await receive()
            call.note("received", event=shown(event))
            return event

        async def traced_send(event: Event) -> None:
            call.note("sent", event=shown(event))
            await send(event)

        ended = "raised"
        try:
            await application(scope, traced_receive, traced_send)
            ended = "returned"
        finally:
            call.note(ended)

    return traced
