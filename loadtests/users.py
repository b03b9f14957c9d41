"""Locust users of which one is one connection; the engine process of their Locust worker does the I/O."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

import gevent
from locust import User, task

from loadtests.engine.target import Transport
from loadtests.session import LoadSession

HOLD_S = 3600.0
CONNECT_S = 2.0
DEFAULT_PORT = 80


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


@dataclass(frozen=True, slots=True)
class Site:
    """What `--host` names.

    Attributes:
        host: a name or an address, an IPv6 one without brackets.
        prefix: of every path there, such as `/api`; empty without one.
        authority: host and port as they were written.
    """

    host: str
    port: int
    prefix: str
    authority: str

    def address(self) -> str:
        """The address to connect to: of a name with several, the first that accepts a connection now.

        A name that has none, or at which nobody listens yet, stands for itself.
        """
        with _looking:  # each user asks, and one look is enough
            if self not in _addresses:
                found = _resolved(self.host, self.port)
                chosen = found[0] if len(found) == 1 else next(filter(_accepts, found), None)
                if chosen is None:
                    return self.host
                _addresses[self] = chosen[0]
            return _addresses[self]


_looking = threading.Lock()
_addresses: dict[Site, str] = {}
"""Where a site was found: every user of it goes to the same server."""


def parse_host(text: str | None) -> Site:
    """`http://127.0.0.1:8000/api/` → the site at that address, with the prefix `/api`.

    Raises:
        ValueError: there is no host, it is not plain HTTP, or it says more than where the server is.
    """
    given = f"the host {text!r} (--host)"
    form = (
        "it must be given as http://ADDRESS:PORT, with a path that goes before every route where there is one"
    )
    try:
        parts = urlsplit(text or "")
        port = parts.port
    except ValueError as error:  # a port beyond 65535, or brackets without an IPv6 address
        raise ValueError(f"{given}: {error}; {form}") from error
    if parts.scheme == "https":
        raise ValueError(f"{given}: TLS is not spoken here; name the server's plain HTTP port. {form}")
    if parts.scheme not in {"http", "ws"} or not parts.hostname or port == 0:
        raise ValueError(f"{given}: {form}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{given}: a user name, a query or a fragment would be left out; {form}")
    prefix = parts.path.rstrip("/")
    if not prefix.isascii() or " " in prefix:
        raise ValueError(f"{given}: its path must be percent-encoded")
    return Site(parts.hostname, port or DEFAULT_PORT, prefix, parts.netloc)


def _resolved(host: str, port: int) -> list[tuple[str, int]]:
    """Every address of a host, each once, in the order in which they are to be tried."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in found))


def _accepts(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=CONNECT_S):
            return True
    except OSError:
        return False
