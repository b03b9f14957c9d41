"""The trace of an application's calls: written in the server's processes, read by the command.

One JSON object a line, appended in one write each, so that processes and threads can share the file. Runs in
a server's environment, which has the standard library and nothing else of the lab.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from apps.plain.events import Event, Receive, Scope, Send
from apps.plain.interface import describe

if TYPE_CHECKING:
    from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import OptExcInfo


TRACE_VARIABLE = "GATEBENCH_TRACE"
"""Names the file of the trace in the server's environment."""
SHOWN_BYTES = 256
"""Of each value; a trace of 64 MiB would tell no more."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one call of the application.

    Attributes:
        at_s: on the machine's monotonic clock, which all its processes share.
        call: which call it belongs to.
        name: what was done, such as `called` or `start_response`.
    """

    at_s: float
    call: str
    name: str
    details: Mapping[str, Any]


class Trace:
    """Appends to a trace.

    Args:
        path: an existing file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    @classmethod
    def from_environment(cls) -> Self:
        """The trace that the lab named for this server.

        Raises:
            KeyError: it named none.
        """
        return cls(Path(os.environ[TRACE_VARIABLE]))

    def call(self) -> Call:
        """A new call of the application; after a fork too, no other has its name."""
        return Call(self, f"{os.getpid()}-{next(_numbers)}")

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Call:
    """One call of the application while it is being traced."""

    def __init__(self, trace: Trace, name: str) -> None:
        self._trace = trace
        self._name = name

    def note(self, step: str, **details: Any) -> None:
        """Notes a step, with details as JSON holds them."""
        self._trace.write({"at_s": time.monotonic(), "call": self._name, "step": step, **details})


def read_trace(path: Path) -> tuple[Step, ...]:
    """Every whole line of a trace, in order."""
    return tuple(_step(json.loads(line)) for line in path.read_bytes().splitlines(True) if line[-1:] == b"\n")


def _step(line: dict[str, Any]) -> Step:
    return Step(line.pop("at_s"), line.pop("call"), line.pop("step"), line)


def shown(value: object) -> Any:
    """A value as JSON: bytes as `{"bytes": length, "latin1": beginning}`, others as their type's name."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value[:SHOWN_BYTES]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": len(value), "latin1": bytes(value[:SHOWN_BYTES]).decode("latin-1")}
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [shown(item) for item in value]
    return type(value).__qualname__


def handed(interface: str, environ_or_scope: Mapping[str, object]) -> Any:
    """Every key of an environ or a scope with its type and value, as `GET /interface` tells them."""
    return json.loads(b"".join(describe(interface, environ_or_scope).pieces))["keys"]


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


class TracedWsgi:
    """A WSGI application that notes what it is handed, what it answers, and what the server does with that.

    It changes nothing else, but that the iterable always has a `close()`: else one could not see the server
    call it.
    """

    def __init__(self, application: WSGIApplication, trace: Trace) -> None:
        self._application = application
        self._trace = trace

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serves one request."""
        call = self._trace.call()
        call.note(
            "called", pid=os.getpid(), thread=threading.current_thread().name, handed=handed("wsgi", environ)
        )

        def traced_start_response(
            status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
        ) -> Callable[[bytes], object]:
            call.note("start_response", status=status, headers=shown(headers), exc_info=exc_info is not None)
            write = start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

            def traced_write(data: bytes, /) -> object:
                call.note("write", data=shown(data))
                return write(data)

            return traced_write

        traced_environ = {**environ, "wsgi.input": _Input(environ["wsgi.input"], call)}
        pieces = self._application(traced_environ, traced_start_response)
        call.note("returned", kind=type(pieces).__name__, length=_length(pieces))
        return _Pieces(pieces, call) if _length(pieces) is None else _CountedPieces(pieces, call)


class _Input:
    """`wsgi.input`, each read of which is noted."""

    def __init__(self, source: InputStream, call: Call) -> None:
        self._source = source
        self._call = call

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._call.note("read", asked=size, data=shown(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class _Pieces:
    """The application's iterable."""

    def __init__(self, pieces: Iterable[bytes], call: Call) -> None:
        self._pieces = pieces
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._call.note("piece", data=shown(piece))
            yield piece
        self._call.note("exhausted")

    def close(self) -> None:
        own = getattr(self._pieces, "close", None)
        if own is not None:
            own()
        self._call.note("closed", own=own is not None)


class _CountedPieces(_Pieces):
    """One whose length the server may ask for, as it could without the trace."""

    def __len__(self) -> int:
        return _length(self._pieces) or 0


def _length(pieces: Iterable[bytes]) -> int | None:
    return len(pieces) if isinstance(pieces, Sized) else None
