"""Asks both forms of the plain application in process: a WSGI environ or an ASGI scope in, an answer out."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from apps.plain.asgi import app as asgi_app
from apps.plain.wsgi import app as wsgi_app

if TYPE_CHECKING:
    from apps.plain.events import Event


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes


def environ_for(method: str, target: str, body: bytes = b"", *, chunked: bool = False) -> dict[str, Any]:
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "wsgi.input": io.BytesIO(body),
    }
    if chunked:
        environ["wsgi.input_terminated"] = True
    else:
        environ["CONTENT_LENGTH"] = str(len(body))
    setup_testing_defaults(environ)
    return environ


def ask_environ(environ: dict[str, Any], *, check: bool = True, form: Any = wsgi_app) -> Answered:
    """Calls the WSGI form; `check` puts wsgiref's validator around it."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
        started[:] = [status, headers]

    app: Any = validator(form) if check else form
    result = app(environ, start_response)
    try:
        body = b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    status, headers = started
    return Answered(int(status.split()[0]), {name.lower(): value for name, value in headers}, body)


def ask_wsgi(method: str, target: str, body: bytes = b"", *, chunked: bool = False) -> Answered:
    return ask_environ(environ_for(method, target, body, chunked=chunked))


def scope_for(method: str, target: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> Event:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": list(headers),
    }


def ask_asgi(method: str, target: str, body: bytes = b"", *, chunked: bool = False) -> Answered:
    """Calls the ASGI form; the body comes in two events, as servers may split it."""
    headers = [] if chunked else [(b"content-length", str(len(body)).encode())]
    half = len(body) // 2
    events: list[Event] = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    return answered(run_asgi(scope_for(method, target, headers), events))


def run_asgi(
    scope: Event, events: list[Event], fail_after: int | None = None, form: Any = asgi_app
) -> list[Event]:
    """What the ASGI form sends when it receives `events` and then nothing more.

    Args:
        scope: the connection's scope.
        events: what `receive` gives, in this order.
        fail_after: from that many sent events on, `send` raises as for a client that went away.
        form: the application.
    """
    sent: list[Event] = []

    async def run() -> None:
        left = iter(events)

        async def receive() -> Event:
            for event in left:
                return event
            await asyncio.Event().wait()
            raise AssertionError

        async def send(event: Event) -> None:
            if fail_after is not None and len(sent) >= fail_after:
                raise BrokenPipeError
            sent.append(event)

        await asyncio.wait_for(form(scope, receive, send), 10)
        await asyncio.sleep(0)
        left_over = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left_over, f"left running: {left_over}"

    asyncio.run(run())
    return sent


def answered(sent: list[Event]) -> Answered:
    start, *pieces = sent
    assert start["type"] == "http.response.start"
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answered(start["status"], headers, b"".join(piece["body"] for piece in pieces))
