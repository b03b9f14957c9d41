"""The full parser of HTTP/1.1 answers: h11, held against the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h11

from loadtests.engine.masked import Masked
from loadtests.engine.protocol import Target

if TYPE_CHECKING:
    pass


HEAD_LIMIT_BYTES = 128 * 1024
"""What may come before the body, informational answers (`100 Continue`) included."""

QUOTED_BYTES = 120
"""How much of a wrong answer a failure quotes."""

VARYING_TIMES, VARYING_BYTES = 2, 64 * 1024
"""A body of which parts vary has at most so many times the expected bytes, and so many more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the full parser says of one answer.

    Attributes:
        failure: a kind of `loadtests.engine.tally.FAILURES`, or None for a correct answer.
        detail: what was wrong, for a person.
        reusable: whether the server keeps the connection open for another request.
        until_eof: whether only the end of the connection marked the end of the body.
        chunked: whether the body came in chunks.
        head: the bytes before the body of a correct answer, the blank line included; with the request they
            fix how the body is framed.
    """

    failure: str | None = None
    detail: str = ""
    reusable: bool = True
    until_eof: bool = False
    chunked: bool = False
    head: bytes = b""


def _failed(kind: str, detail: str) -> Verdict:
    return Verdict(kind, detail, reusable=False)


def _abbreviated(data: bytes, limit: int = QUOTED_BYTES) -> str:
    return repr(data[:limit]) + (f"... ({len(data)} bytes)" if len(data) > limit else "")


def _varying_difference(mask: Masked, body: bytes) -> Verdict | None:
    """The failure of a whole body that differs in more than what varies; None where it does not."""
    found = mask.difference(body)
    if found is None:
        return None
    ours, theirs = (max(0, at - QUOTED_BYTES // 2) for at in found)
    expected, got = mask.template[ours : ours + QUOTED_BYTES], body[theirs : theirs + QUOTED_BYTES]
    return _failed("body", f"body {got!r} instead of {expected!r}, wrong from byte {found[1]} on")


class AnswerReader:
    """Parses one answer that arrives in any number of pieces.

    Call `feed` with each piece (`b""` for the end of the connection) until it returns a verdict. The kind of
    failure depends on the bytes alone, not on how they were cut, with one exception: surplus bytes are
    seen only where they come with the end of the answer. What is kept is bounded: the body is compared as it
    comes, and the first wrong byte ends the answer. A body of which parts vary is compared at its end.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._expected_headers: Mapping[str, str] = target.headers or {}
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT_BYTES)
        self._connection.send(
            h11.Request(
                method=target.method,
                target=target.path,
                headers=[("Host", "x"), *([("Connection", "close")] if target.transport == "close" else [])],
            )
        )
        self._connection.send(h11.EndOfMessage())
        self._head = bytearray()
        self._response: h11.Response | None = None
        self._matched = 0
        self._mask, self._body = target.mask, bytearray()
        self._wrong_status: str | None = None
        self._quoted = bytearray()

    def feed(self, data: bytes) -> Verdict | None:
        """Takes one piece; returns the verdict on the whole answer, or None while more is needed."""
        if self._response is None:
            self._head += data
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return self._head_too_long()
                if isinstance(event, h11.ConnectionClosed):
                    return self._broken("short", "the connection ended before the answer did")
                verdict: Verdict | None = None
                if isinstance(event, h11.Response):
                    verdict = self._on_response(event)
                elif isinstance(event, h11.Data):
                    verdict = self._on_body(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    verdict = self._on_end(ended_by_eof=not data)
                if verdict is not None:
                    return verdict
        except h11.RemoteProtocolError as error:
            if not data:
                return self._broken("short", f"the connection ended before the answer did: {error}")
            return self._broken("status", f"not an HTTP/1.1 answer: {error}")

    def _head_too_long(self) -> Verdict | None:
        if self._response is None and len(self._head) > HEAD_LIMIT_BYTES:
            return _failed("status", f"more than {HEAD_LIMIT_BYTES} bytes before the body")
        return None

    def _broken(self, kind: str, detail: str) -> Verdict:
        """The answer cannot be read on; a wrong status that was seen before weighs more than that."""
        if self._wrong_status is not None:
            return _failed("status", f"{self._wrong_status}: {_abbreviated(bytes(self._quoted))}")
        return _failed(kind, detail)

    def _on_response(self, response: h11.Response) -> Verdict | None:
        target, self._response = self._target, response
        unread = len(self._connection.trailing_data[0])
        if unread:
            del self._head[-unread:]
        if len(self._head) > HEAD_LIMIT_BYTES:
            return _failed("status", f"more than {HEAD_LIMIT_BYTES} bytes before the body")
        if response.http_version not in (b"1.0", b"1.1"):
            return _failed("status", f"HTTP/{response.http_version.decode('latin-1')} instead of HTTP/1.1")
        if response.status_code != target.status:
            self._wrong_status = f"status {response.status_code} instead of {target.status}"
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        for name, value in self._expected_headers.items():
            got = headers.get(name)
            if got != value and not (name == "content-length" and "transfer-encoding" in headers):
                return _failed("status", f"header {name}: {got!r} instead of {value!r}")
        return None

    def _on_body(self, data: bytes | bytearray) -> Verdict | None:
        if self._wrong_status is not None:
            self._quoted += data[:QUOTED_BYTES]
            return self._broken("status", "") if len(self._quoted) >= QUOTED_BYTES else None
        if self._mask is not None:
            return self._on_varying(data)
        if not self._target.answer.startswith(data, self._matched):
            return self._wrong_body(data)
        self._matched += len(data)
        return None

    def _on_varying(self, data: bytes | bytearray) -> Verdict | None:
        """Keeps a body of which parts vary, as long as it may still be one."""
        self._body += data
        most = VARYING_TIMES * len(self._target.answer) + VARYING_BYTES
        if len(self._body) <= most:
            return None
        return _failed("body", f"over {most:,} bytes, where {len(self._target.answer):,} were expected")

    def _wrong_body(self, data: bytes | bytearray) -> Verdict:
        """Says where the body leaves the expected one, which `data` does somewhere."""
        answer, matched = self._target.answer, self._matched
        same, high = 0, len(data)
        while same < high:  # by bisection: a loop over the bytes of a large piece would hold up the others
            middle = (same + high + 1) // 2
            if answer.startswith(data[:middle], matched):
                same = middle
            else:
                high = middle - 1
        wrong = matched + same
        begin = max(0, wrong - QUOTED_BYTES // 2)
        got = answer[begin:wrong] + data[same : same + QUOTED_BYTES // 2]
        expected = answer[begin : begin + QUOTED_BYTES]
        return _failed("body", f"body {got!r} instead of {expected!r}, wrong from byte {wrong} on")

    def _on_end(self, *, ended_by_eof: bool) -> Verdict:
        response, answer = self._response, self._target.answer
        if response is None:
            return _failed("status", "an answer without a status line")
        if self._wrong_status is not None:
            return self._broken("status", "")
        if self._mask is not None:
            if failure := _varying_difference(self._mask, bytes(self._body)):
                return failure
        elif self._matched < len(answer):
            detail = f"body {_abbreviated(answer[: self._matched])} instead of {_abbreviated(answer)}"
            return _failed("body", detail)
        surplus = self._connection.trailing_data[0]
        if surplus:
            return _failed("body", f"surplus bytes after the answer: {_abbreviated(surplus)}")
        return Verdict(
            reusable=self._connection.their_state is h11.DONE,
            until_eof=ended_by_eof,
            chunked=any(name == b"transfer-encoding" for name, _ in response.headers),
            head=bytes(self._head),
        )
