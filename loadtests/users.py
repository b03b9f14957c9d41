"""Locust users of which one is one connection; the engine process of their Locust worker does the I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

import gevent
from locust import User, task

from loadtests.engine.target import Transport
from loadtests.session import LoadSession

HOLD_S = 3600.0


class FleetUser(User):
    """Holds one connection for as long as Locust runs this user.

    Attributes:
        transport: what the connection does after each answer.
        group: name of the connections that are driven together; by default, class and host.
        shares: worker → how many of these users a lab wants there.
        apart: whether connections are opened one by one, for a server with several worker processes.
    """

    abstract = True
    transport: Transport = "keep-alive"
    group: str = ""
    shares: Mapping[str, int] = MappingProxyType({})
    apart: bool = False

    def on_start(self) -> None:
        """Opens the connection."""
        self._load = LoadSession.of(self.environment)
        self._cell = self.group or f"{type(self).__name__} {self.host}"
        self._slot = self.join(self._load, self._cell)

    def on_stop(self) -> None:
        """Closes the connection."""
        self._load.leave(self._cell, self._slot)

    @task
    def hold(self) -> None:
        """Leaves the work to the engine."""
        gevent.sleep(HOLD_S)

    def join(self, session: LoadSession, group: str) -> str:
        """Opens this user's connection in its group, which is known already; returns its name."""
        return session.open_apart(group) if self.apart else session.open(group)


def split_host(host: str | None) -> tuple[str, int]:
    """`http://127.0.0.1:8000` → `("127.0.0.1", 8000)`.

    Raises:
        ValueError: there is no host, or it is not plain HTTP.
    """
    parts = urlsplit(host or "")
    if parts.scheme not in {"http", "ws"} or not parts.hostname:
        raise ValueError(f"the host must be given as http://ADDRESS:PORT, not {host!r} (--host)")
    return parts.hostname, parts.port or 80
