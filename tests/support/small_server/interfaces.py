"""Calls an application's WSGI or ASGI form with a whole request and collects its whole answer."""

from __future__ import annotations

import asyncio
import importlib
import io
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

Event = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query, still encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class Given:
    """One answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Ask = Callable[[Asked], Awaitable[Given]]


def load(application: str) -> Any:
    """`apps.plain.wsgi:app` → that object."""
    module, _, name = application.partition(":")
    return getattr(importlib.import_module(module), name)


def wsgi(app: Any, port: int) -> Ask:
    """Calls the WSGI form, in a thread each time since it may block."""

    def call(asked: Asked) -> Given:
        started: list[Any] = []
        environ = {
            "REQUEST_METHOD": asked.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(asked.path).decode("latin-1"),
            "QUERY_STRING": asked.query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(asked.body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(asked.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        body = b"".join(app(environ, lambda *start: started.extend(start)))
        return Given(int(started[0].split()[0]), started[1], body)

    async def ask(asked: Asked) -> Given:
        return await asyncio.to_thread(call, asked)

    return ask


def scope_of(kind: str, asked: Asked) -> Event:
    """The ASGI scope of a request or of a WebSocket."""
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": asked.method,
        "path": unquote(asked.path),
        "raw_path": asked.path.encode(),
        "query_string": asked.query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in asked.headers.items()],
    }


def asgi(app: Any) -> Ask:
    """Calls the ASGI form."""

    async def ask(asked: Asked) -> Given:
        sent: list[Event] = []
        events = [{"type": "http.request", "body": asked.body, "more_body": False}]

        async def receive() -> Event:
            if events:
                return events.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(event: Event) -> None:
            sent.append(event)

        await app(scope_of("http", asked), receive, send)
        start, *pieces = sent
        headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
        return Given(start["status"], headers, b"".join(piece.get("body", b"") for piece in pieces))

    return ask
