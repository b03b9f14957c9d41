"""The full parser of HTTP/1.1 answers: h11, held against the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import h11

from loadtests.engine.target import Target


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the full parser says of one answer.

    Attributes:
        failure: a kind of `loadtests.engine.tally.FAILURES`, or None for a correct answer.
        detail: what was wrong, for a person.
        reusable: whether the server keeps the connection open for another request.
        until_eof: whether only the end of the connection marked the end of the body.
    """

    failure: str | None = None
    detail: str = ""
    reusable: bool = True
    until_eof: bool = False


def _abbreviated(data: bytes, limit: int = 120) -> str:
    return repr(data[:limit]) + (f"... ({len(data)} bytes)" if len(data) > limit else "")


class AnswerReader:
    """Parses one answer that arrives in any number of pieces.

    Call `feed` with each piece (`b""` for the end of the connection) until it returns a verdict.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._expected_headers: Mapping[str, str] = target.headers or {}
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 17)
        self._connection.send(
            h11.Request(
                method=target.method,
                target=target.path,
                headers=[("Host", "x"), *([("Connection", "close")] if target.transport == "close" else [])],
            )
        )
        self._connection.send(h11.EndOfMessage())
        self._response: h11.Response | None = None
        self._body = bytearray()

    def feed(self, data: bytes) -> Verdict | None:
        """Takes one piece; returns the verdict on the whole answer, or None while more is needed."""
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.ConnectionClosed):
                    return Verdict("short", "the connection ended before the answer did", reusable=False)
                if isinstance(event, h11.Response):
                    self._response = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return self._judge(ended_by_eof=not data)
        except h11.RemoteProtocolError as error:
            if not data:
                return Verdict(
                    "short", f"the connection ended before the answer did: {error}", reusable=False
                )
            return Verdict("status", f"not an HTTP/1.1 answer: {error}", reusable=False)

    def _judge(self, *, ended_by_eof: bool) -> Verdict:
        target, response, body = self._target, self._response, bytes(self._body)
        if response is None:
            return Verdict("status", "an answer without a status line", reusable=False)
        reusable = self._connection.their_state is h11.DONE
        if response.status_code != target.status:
            detail = f"status {response.status_code} instead of {target.status}: {_abbreviated(body)}"
            return Verdict("status", detail, reusable=False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        for name, value in self._expected_headers.items():
            got = headers.get(name)
            if got != value and not (name == "content-length" and "transfer-encoding" in headers):
                return Verdict("status", f"header {name}: {got!r} instead of {value!r}", reusable=False)
        if body != target.answer:
            detail = f"body {_abbreviated(body)} instead of {_abbreviated(target.answer)}"
            return Verdict("body", detail, reusable=False)
        surplus = self._connection.trailing_data[0]
        if surplus:
            return Verdict("body", f"surplus bytes after the answer: {_abbreviated(surplus)}", reusable=False)
        return Verdict(reusable=reusable, until_eof=ended_by_eof)
