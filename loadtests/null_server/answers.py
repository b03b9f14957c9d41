"""The prebuilt answers: from a request's head to the bytes of the contract. Pure; no socket in here."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from gatebench.contract.rules import Contract

ACCEPT_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
REMEMBERED_PLANS = 1024
LARGEST_BODY_BYTES = 1 << 26
"""A request's body over this size is refused without reading it, whatever the route."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do on one request's head.

    Attributes:
        answer: the whole answer or, where it echoes, its head.
        body_bytes: how much of the request follows its head.
        echoes: whether the request's body follows the answer.
        closes: whether the connection ends with the answer.
        room: the WebSocket path that the connection changes to; empty for HTTP.
    """

    answer: bytes
    body_bytes: int = 0
    echoes: bool = False
    closes: bool = False
    room: str = ""


class Plans:
    """Request head, the empty line at its end included → plan. Made on first sight, then looked up.

    Args:
        contract: whose bytes the answers have. Routes that wait or compute answer at once.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._rooms = {case.path for case in contract.websockets if case.does != "refuse"}
        self.known: dict[bytes, Plan] = {}
        """Only heads that may come again; a WebSocket's has a key of its own."""

    def plan(self, head: bytes) -> Plan:
        """The plan for a head."""
        plan = self.known.get(head)
        if plan is None:
            plan = self._make(head)
            if not plan.room:
                if len(self.known) >= REMEMBERED_PLANS:
                    self.known.clear()
                self.known[head] = plan
        return plan

    def _make(self, head: bytes) -> Plan:
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        words = line.split(" ")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)
        }
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _refusal(400)
        method, target, version = words
        path = target.partition("?")[0]
        if headers.get("upgrade", "").lower() == "websocket" and path in self._rooms:
            return Plan(_acceptance(headers.get("sec-websocket-key", "")), room=path)
        if "transfer-encoding" in headers:
            return _refusal(411)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return _refusal(400)
        if int(length) > LARGEST_BODY_BYTES:
            return _refusal(413)
        closes = version == "HTTP/1.0" or "close" in headers.get("connection", "").lower()
        return self._answer(method, target, int(length), closes=closes)

    def _answer(self, method: str, target: str, body_bytes: int, *, closes: bool) -> Plan:
        request_body = bytes(body_bytes)
        found = self._contract.answer(method, target, request_body)
        if found.body is None:
            return _refusal(501)  # what an application was handed cannot be told without one
        if found.status == 413:  # its body is not read, so nothing can follow it
            body_bytes, closes = 0, True
        if found.measured:
            length = {} if found.length is None else {"content-length": str(found.length)}
            echoes = bool(request_body) and found.status == 200 and found.body == request_body
            head = _head(found.status, {**found.headers, **length}, closes=closes)
            return Plan(head if echoes else head + found.body, body_bytes, echoes, closes)
        head = _head(found.status, {**found.headers, "transfer-encoding": "chunked"}, closes=closes)
        body = b"" if method == "HEAD" else chunked(found.body)
        return Plan(head + body, body_bytes, closes=closes)


def chunked(body: bytes) -> bytes:
    """A stream of lines as chunks of one line each, as an application that flushes every line sends it."""
    pieces = [b"%x\r\n%b\r\n" % (len(line), line) for line in body.splitlines(keepends=True)]
    return b"".join(pieces) + b"0\r\n\r\n"


def _refusal(status: int) -> Plan:
    """For a request that cannot be read; what follows its head cannot be either."""
    return Plan(_head(status, {"content-length": "0"}, closes=True), closes=True)


def _head(status: int, headers: Mapping[str, str], *, closes: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if closes:
        lines.append("connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _acceptance(key: str) -> bytes:
    digest = hashlib.sha1(key.encode("latin-1") + ACCEPT_KEY).digest()  # noqa: S324 - RFC 6455 asks for SHA-1
    lines = (
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: upgrade",
        b"sec-websocket-accept: " + base64.b64encode(digest),
    )
    return b"\r\n".join(lines) + b"\r\n\r\n"
