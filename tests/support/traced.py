"""Drives the traced plain application as a server would, and prints what was seen."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from apps.plain import asgi as plain_asgi
from apps.plain import wsgi as plain_wsgi
from apps.plain.events import Event
from gatebench.explain.explanation import Explanation
from gatebench.explain.render import show
from gatebench.explain.trace import Step, Trace, TracedWsgi, traced_asgi


def environ(path: str, **more: Any) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": io.BytesIO(), **more}


def call_wsgi(file: Path, handed: dict[str, Any]) -> tuple[list[Any], bytes]:
    """One request as a server makes it: what it was told, and the body."""
    told: list[Any] = []

    def start_response(*arguments: Any) -> Any:
        told.append(arguments)
        return told.append

    pieces = TracedWsgi(plain_wsgi.app, Trace(file))(handed, start_response)
    body = b"".join(pieces)
    close: Any = pieces.close  # type: ignore[attr-defined]  # the trace's iterable always has it
    close()
    return told, body


def call_asgi(file: Path, scope: dict[str, Any], *events: Event) -> list[Event]:
    """One scope as a server serves it: what the application sent."""
    sent: list[Event] = []
    waiting: Iterator[Event] = iter(events)

    async def receive() -> Event:
        return next(waiting)

    async def send(event: Event) -> None:
        sent.append(event)

    asyncio.run(_run(traced_asgi(plain_asgi.app, Trace(file))(scope, receive, send)))
    return sent


async def _run(awaitable: Any) -> None:
    await awaitable


def names(steps: tuple[Step, ...]) -> list[str]:
    return [step.name for step in steps]


def printed(seen: Explanation) -> str:
    """What a terminal shows of it."""
    text = io.StringIO()
    show(seen, Console(file=text, width=200))
    return text.getvalue()
