"""What the engine sends to one server and what it must get back, as data that travels between processes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

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

    @property
    def host_header(self) -> str:
        """The value of the `Host` header; an IPv6 address stands in brackets (RFC 3986, section 3.2.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.authority or f"{host}:{self.port}"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `json` can carry; the reverse of `from_json`."""
        data = asdict(self)
        for key in ("body", "answer"):
            data[key] = base64.b64encode(data[key]).decode()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Target:
        """The target that `to_json` described."""
        values = dict(data)
        for key in ("body", "answer"):
            values[key] = base64.b64decode(values[key])
        return cls(**values)

    def request_bytes(self) -> bytes:
        """The HTTP/1.1 request as it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.host_header}"]
        if self.body or self.method in {"POST", "PUT", "PATCH"}:
            lines.append(f"Content-Length: {len(self.body)}")
        if self.transport == "close":
            lines.append("Connection: close")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body
