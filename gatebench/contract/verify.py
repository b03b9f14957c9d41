"""Holds a live server to the contract: every difference at once, whatever the server does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebench.contract.probe import Received
    from gatebench.contract.rules import Answer, Contract
    from gatebench.words.model import Interface

import time
from collections.abc import Set as AbstractSet
from contextlib import ExitStack

from gatebench.contract.probe import CLOSE, NORMAL_CLOSURE, EndedError, HttpProbe, SocketProbe, WireError
from gatebench.contract.rules import Case, Contract, SocketCase
from gatebench.words.model import Capability, Interface

_SHOWN = 60
_AROUND = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a server differs from the contract.

    Attributes:
        case: the request, such as `GET /bytes/100000`.
        aspect: `status`, `body`, `header content-type`, `connection`, `keep-alive`, …
        expected: what the contract says.
        got: what came instead; long bodies are abbreviated.
    """

    case: str
    aspect: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.case}: {self.aspect}: expected {self.expected}, got {self.got}"


def differences(case: str, method: str, answer: Answer, received: Received) -> tuple[Difference, ...]:
    """Every difference between an answer and the contract, but for the shape of `/interface`."""
    found = []
    if received.status != answer.status:
        found.append(Difference(case, "status", str(answer.status), str(received.status)))
    for name, value in answer.headers.items():
        got = received.header(name)
        if got != value:
            found.append(Difference(case, f"header {name}", repr(value), _or_none(got)))
    found += _length_differences(case, method, answer, received)
    if answer.body is not None and received.body != answer.body:
        found.append(Difference(case, "body", *body_difference(answer.body, received.body)))
    return tuple(found)


def _length_differences(case: str, method: str, answer: Answer, received: Received) -> list[Difference]:
    aspect = "header content-length"
    got = received.header("content-length")
    if not answer.measured:
        return [Difference(case, aspect, "none, as for a stream", repr(got))] if got and answer.body else []
    if method == "HEAD":
        if got is not None and answer.length is not None and got != str(answer.length):
            return [Difference(case, aspect, f"{str(answer.length)!r} as for GET, or none", repr(got))]
        return []
    length = len(received.body) if answer.length is None else answer.length
    return [] if got == str(length) else [Difference(case, aspect, repr(str(length)), _or_none(got))]


def interface_differences(
    case: str, interface: Interface, contract: Contract, body: bytes
) -> tuple[Difference, ...]:
    """Every difference between the body of `/interface` and the shape that the contract prescribes."""
    try:
        document = json.loads(body)
    except ValueError as error:
        return (Difference(case, "body", "JSON", f"{abbreviate(body)} ({error})"),)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), dict):
        return (Difference(case, "body", 'an object with "interface" and "keys"', abbreviate(body)),)
    found = []
    if document.get("interface") != interface:
        found.append(Difference(case, "interface", repr(interface), repr(document.get("interface"))))
    keys = document["keys"]
    missing = [key for key in contract.interface_keys[interface] if key not in keys]
    if missing:
        found.append(Difference(case, "keys", ", ".join(missing), "none of these"))
    odd = [
        key for key, shown in keys.items() if not isinstance(shown, dict) or set(shown) != {"type", "value"}
    ]
    if odd:
        found.append(
            Difference(case, "keys", '"type" and "value" for each', f"something else for {', '.join(odd)}")
        )
    return tuple(found)


def body_difference(expected: bytes, got: bytes) -> tuple[str, str]:
    """Both bodies in words, from shortly before the first byte in which they differ."""
    if max(len(expected), len(got)) <= _SHOWN:
        return repr(expected), repr(got)
    shared = min(len(expected), len(got))
    first = next((index for index in range(shared) if expected[index] != got[index]), shared)
    start = max(0, first - _AROUND)
    return _excerpt(expected, start, first), _excerpt(got, start, first)


def abbreviate(body: bytes) -> str:
    """A body in at most a line: whole where it is short, else its beginning and its length."""
    return repr(body) if len(body) <= _SHOWN else f"{body[:_SHOWN]!r}… ({len(body):,} bytes)"


def _excerpt(body: bytes, start: int, first: int) -> str:
    shown = repr(body[start : start + _SHOWN])
    return f"{len(body):,} bytes, at {start:,}: {shown} (differs from {first:,} on)"


def _or_none(value: str | None) -> str:
    return "none" if value is None else repr(value)


# A fixed key will do: it only has to be 16 bytes, and no conclusion is drawn from the answer's.
UPGRADE_HEADERS = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "Z2F0ZWJlbmNoIHByb2JlIQ=="),
)


def check_socket(
    case: SocketCase, host: str, port: int, *, timeout_s: float, workers: int
) -> tuple[Difference, ...]:
    """Every difference in one WebSocket path of a server that declares `websocket`.

    With several workers a broadcast is asked of one socket alone. Which sockets are of one process cannot be
    known, nor then which messages are still to come when one of them is closed.
    """
    if case.does == "refuse":
        return check_refusal(case.path, host, port, timeout_s=timeout_s)
    name = f"WS {case.path}"
    found: list[Difference] = []
    last = "the upgrade"
    alone = case.does == "broadcast" and workers > 1
    try:
        with ExitStack() as stack:
            sockets = [
                stack.enter_context(SocketProbe(host, port, case.path, timeout_s))
                for _ in range(1 if alone else case.sockets)
            ]
            for sender in sockets:
                readers = sockets if case.does == "broadcast" else [sender]
                for message in case.messages:
                    last = _shown(message)
                    sender.send(message)
                    found += [each for reader in readers for each in _check_message(name, message, reader)]
            last = "the close"
            for socket in sockets:
                code = socket.finish()
                if code != NORMAL_CLOSURE:
                    found.append(Difference(name, "close", str(NORMAL_CLOSURE), str(code)))
    except WireError as error:
        found.append(
            Difference(
                name, "websocket", f"{case.does}, then a close in good order", f"{error} (after {last})"
            )
        )
    return tuple(found)


def check_refusal(path: str, host: str, port: int, *, timeout_s: float) -> tuple[Difference, ...]:
    """The difference where an upgrade is granted, or neither answered nor closed."""
    name = f"WS {path}"
    expected = "a refusal of the upgrade"
    try:
        with HttpProbe(host, port, timeout_s) as probe:
            status = probe.ask("GET", path, headers=UPGRADE_HEADERS).status
    except EndedError:
        return ()
    except WireError as error:
        return (Difference(name, "upgrade", expected, str(error)),)
    return (Difference(name, "upgrade", expected, "an upgrade (101)"),) if status == 101 else ()


def _check_message(name: str, sent: str | bytes, reader: SocketProbe) -> list[Difference]:
    got = reader.receive()
    return [] if got == sent else [Difference(name, "message", _shown(sent), _shown(got))]


def _shown(message: str | bytes) -> str:
    return f"text {message[:60]!r}" if isinstance(message, str) else f"binary {abbreviate(message)}"


CLOSE_ASKED = "the connection closed, as `Connection: close` asks"
KEEP_ALIVE_NOT_DECLARED = "the connection closed, since `keep-alive` is not declared"
TIMER_SLACK_MS = 2.0
"""A timer may end this much early: event loops with a millisecond clock round to it."""


def verify(
    interface: Interface,
    supports: AbstractSet[Capability],
    host: str,
    port: int,
    contract: Contract,
    *,
    thorough: bool,
    timeout_s: float,
    workers: int = 1,
) -> tuple[Difference, ...]:
    """Every difference between the server at `host:port` and the contract; none where it keeps it.

    A case in which the server hangs, resets or speaks no HTTP gives a difference, and the next case goes on.

    Args:
        interface: which form of the application stands behind the server.
        supports: the capabilities its variant declares. Each must be there; `keep-alive` and `websocket` must
            not be there undeclared.
        host: where it listens.
        port: where it listens.
        contract: what it is held to; a part of it (`Contract.within`) where the rest was asked before.
        thorough: also the cases that are left out before each block.
        timeout_s: for one answer, in seconds.
        workers: server processes; with more than one, a broadcast need not reach another socket.
    """
    server = _Server(interface, supports, host, port, contract, timeout_s)
    found: list[Difference] = []
    for case in contract.cases:
        if (thorough or not case.thorough) and contract.needs(case) <= supports:
            # One that does not close says so once, rather than by a timeout in every case.
            closes = "close" in supports and not any(each.aspect == "close" for each in found)
            found += server.check_case(case, to_the_end=closes)
    if contract.connection:
        found += server.check_connection()
    for socket_case in contract.websockets:
        if "websocket" in supports:
            found += check_socket(socket_case, host, port, timeout_s=timeout_s, workers=workers)
        else:
            found += check_refusal(socket_case.path, host, port, timeout_s=timeout_s)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Server:
    """What every HTTP check of a server needs to know."""

    interface: Interface
    supports: AbstractSet[Capability]
    host: str
    port: int
    contract: Contract
    timeout_s: float

    def check_case(self, case: Case, *, to_the_end: bool) -> tuple[Difference, ...]:
        """One request on a connection of its own, up to the connection's end where asked for."""
        # Around a 413 the connection's end is free; see the head of apps/contract.toml.
        too_large = self.contract.status(case.method, case.target, len(case.send.make())) == 413
        try:
            with HttpProbe(self.host, self.port, self.timeout_s) as probe:
                found = self._ask(probe, case, case.name, CLOSE)
                end = _check_end(probe, case.name, CLOSE_ASKED) if to_the_end and not too_large else ()
        except WireError as error:
            if too_large and isinstance(error, EndedError):
                return ()
            return (Difference(case.name, "connection", "an answer", str(error)),)
        return (*found, *end)

    def check_connection(self) -> tuple[Difference, ...]:
        """The contract's requests one after another on one connection, or its end after the first."""
        kept = "keep-alive" in self.supports
        requests = self.contract.connection if kept else self.contract.connection[:1]
        found: list[Difference] = []
        name = "several requests on one connection"
        try:
            with HttpProbe(self.host, self.port, self.timeout_s) as probe:
                for number, case in enumerate(requests, start=1):
                    name = f"{case.name} (request {number} of {len(requests)} on one connection)"
                    last = number == len(requests)
                    found += self._ask(probe, case, name, CLOSE if kept and last else ())
                if not kept:
                    found += _check_end(probe, name, KEEP_ALIVE_NOT_DECLARED)
                elif "close" in self.supports:
                    found += _check_end(probe, name, CLOSE_ASKED)
        except WireError as error:
            found.append(Difference(name, "keep-alive", "an answer on that connection", str(error)))
        return tuple(found)

    def _ask(
        self, probe: HttpProbe, case: Case, name: str, headers: tuple[tuple[str, str], ...]
    ) -> tuple[Difference, ...]:
        """The differences of one answer."""
        send = case.send.make()
        answer = self.contract.answer(case.method, case.target, send)
        started = time.monotonic()
        received = probe.ask(case.method, case.target, send, chunked=case.chunked, headers=headers)
        took_ms = (time.monotonic() - started) * 1000
        found = differences(name, case.method, answer, received)
        if answer.body is None and received.status == answer.status:
            found += interface_differences(name, self.interface, self.contract, received.body)
        if took_ms < answer.least_ms - TIMER_SLACK_MS:
            found += (Difference(name, "time", f"{answer.least_ms} ms or more", f"{took_ms:.1f} ms"),)
        return found


def _check_end(probe: HttpProbe, name: str, expected: str) -> tuple[Difference, ...]:
    """The connection's end after an answer, with nothing in between."""
    try:
        beyond = probe.read_to_end()
    except WireError as error:
        return (Difference(name, "close", expected, str(error)),)
    return (Difference(name, "framing", "nothing after the answer", abbreviate(beyond)),) if beyond else ()
