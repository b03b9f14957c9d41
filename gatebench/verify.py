"""Holds a live server to the contract: every difference at once, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gatebench.contract import Case, Contract
from gatebench.contract_checks import Difference, abbreviate, differences, interface_differences
from gatebench.model import Capability, Interface
from gatebench.readiness import CLOSE
from gatebench.verify_sockets import check_refusal, check_socket
from gatebench.wire import EndedError, HttpProbe, WireError

__all__ = ["Difference", "verify"]

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
        contract: what it is held to.
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
                    found += self._ask(probe, case, name, CLOSE if kept and case is requests[-1] else ())
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
