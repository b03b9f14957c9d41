"""Holds a live server's WebSockets to the contract, or their absence where none are declared."""

from __future__ import annotations

from contextlib import ExitStack

from gatebench.contract_checks import Difference, abbreviate
from gatebench.contract_rules import SocketCase
from gatebench.wire import EndedError, HttpProbe, WireError
from gatebench.wire_socket import NORMAL_CLOSURE, SocketProbe

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
