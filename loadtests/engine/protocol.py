"""What a load engine is told and answers: targets, arrivals, and the messages themselves."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from loadtests.engine.masked import Masked, masked

_LENGTH = struct.Struct("!I")

Message = dict[str, Any]


class Connection(Protocol):
    """A socket, or what behaves like one."""

    def recv(self, count: int, /) -> bytes:
        """Up to so many bytes; none at the end."""

    def sendall(self, data: bytes, /) -> None:
        """Sends all of it."""


def send_message(connection: Connection, message: Message) -> None:
    """Sends one message whole."""
    data = json.dumps(message, separators=(",", ":")).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_message(connection: Connection) -> Message | None:
    """Waits for one message; None when the other side has closed."""
    head = _receive_exactly(connection, _LENGTH.size)
    if head is None:
        return None
    data = _receive_exactly(connection, _LENGTH.unpack(head)[0])
    if data is None:
        return None
    message: Message = json.loads(data)
    return message


def _receive_exactly(connection: Connection, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


ArrivalProcess = Literal["constant", "poisson"]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The arrivals of one slice.

    Attributes:
        process: `constant` spaces them evenly. `poisson` draws them independently and evenly over the window,
            which is a Poisson process of which the number is known: every server gets as many.
        seed: the same seed gives the same moments.
        part, parts: the engines of a load share one schedule; this one sends every `parts`-th arrival, from
            number `part` on.
    """

    rate_per_s: float
    process: ArrivalProcess
    seed: int
    part: int = 0
    parts: int = 1

    def share(self, part: int, parts: int) -> Arrivals:
        """This one's share of what it would send, divided among `parts`."""
        return replace(self, part=self.part + part * self.parts, parts=self.parts * parts)

    def offsets_ns(self, window_ns: int) -> list[int]:
        """When to send, in nanoseconds since the slice began, in order."""
        count = max(1, round(self.rate_per_s * window_ns / 1e9))
        if self.process == "constant":
            moments = [int((number + 0.5) * window_ns / count) for number in range(count)]
        else:
            draw = random.Random(self.seed).random  # noqa: S311 - reproducible on purpose, not a secret
            moments = sorted(int(draw() * window_ns) for _ in range(count))
        return moments[self.part :: self.parts]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Arrivals | None:
        """The arrivals that `to_json` described; None for None, which is a closed loop."""
        return None if data is None else cls(**data)


Transport = Literal["close", "keep-alive", "websocket"]
Exchange = Literal["echo", "broadcast", "handshake", "idle"]


@dataclass(frozen=True, slots=True)
class Target:
    """One server and one request, repeated.

    Attributes:
        status, headers, answer: the contract's answer; header names are lower-case. Empty for `websocket`.
        timeout_s: how long a request may stay unanswered before it counts as `timeout`.
        exchange: what a WebSocket is for: `echo`, messages that come back; `broadcast`, each message of the
            first connection to all of them; `handshake`, nothing but being opened, again and again; `idle`,
            nothing but staying open. HTTP has none of it.
        message_bytes: size of a WebSocket message; it holds a 16-digit sequence number, so 16 at least.
        window: messages in flight on each WebSocket that echoes.
        authority: what the `Host` header says, where a person gave a name; else it is the address.
        request_headers: what the request has beside `Host` and its framing.
        varies: regular expressions of what may differ in the answer (`loadtests.engine.masked`).
        share: how often its turn comes among the `others`, relative to theirs.
        others: requests over the same connections that take turns with this one; each has the same transport.
    """

    host: str
    port: int
    transport: Transport
    method: str = "GET"
    path: str = "/"
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] | None = None
    answer: bytes = b""
    timeout_s: float = 10.0
    exchange: Exchange = "echo"
    message_bytes: int = 64
    window: int = 1
    authority: str = ""
    request_headers: Sequence[tuple[str, str]] = ()
    varies: tuple[str, ...] = ()
    share: int = 1
    others: tuple[Target, ...] = ()

    @property
    def host_header(self) -> str:
        """The value of the `Host` header; an IPv6 address stands in brackets (RFC 3986, section 3.2.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.authority or f"{host}:{self.port}"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry; the reverse of `from_json`."""
        data = asdict(replace(self, others=()))
        for key in ("body", "answer"):
            data[key] = base64.b64encode(data[key]).decode()
        return {**data, "others": [each.to_json() for each in self.others]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        """The target that `to_json` described."""
        values = dict(data)
        for key in ("body", "answer"):
            values[key] = base64.b64decode(values[key])
        values["request_headers"] = tuple((name, value) for name, value in values["request_headers"])
        values["varies"] = tuple(values["varies"])
        values["others"] = tuple(map(cls.from_json, values["others"]))
        return cls(**values)

    @property
    def mask(self) -> Masked | None:
        """What the answer's body is held to where parts of it vary; None where every byte is fixed."""
        return masked(self.answer, self.varies)

    def request_bytes(self) -> bytes:
        """The HTTP/1.1 request as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.host_header}"]
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(self.body)}")
        if self.transport == "close":
            lines.append("Connection: close")
        lines += (f"{name}: {value}" for name, value in self.request_headers)
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body
