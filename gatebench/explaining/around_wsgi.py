"""A trace around a WSGI application. Runs in a server's environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

from gatebench.explaining.trace import Call, Trace, handed, shown

if TYPE_CHECKING:
    from wsgiref.types import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import OptExcInfo


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
