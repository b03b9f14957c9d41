"""Fresh TCP ports on loopback."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

from gatebench.errors import GatebenchError

LOWEST = 20_000
ATTEMPTS = 200


def ephemeral_start() -> int:
    """First port that the kernel hands to outgoing connections (Linux: ip_local_port_range)."""
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return int(path.read_text().split()[0]) if path.exists() else 49_152


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _is_ours(host: str) -> bool:
    """Whether this machine can listen at an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
        return True


def fresh_port(host: str, taken: set[int]) -> int:
    """A port that is free now and not in `taken`, to which it is added.

    It lies below the kernel's ephemeral range: there, one of the engine's own outgoing connections could
    take it before the server does.
    """
    if not _is_ours(host):
        raise GatebenchError(f"{host} is no address of the servers' machine; choose one of its own")
    highest = max(LOWEST + 1000, min(ephemeral_start(), 65_000))
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST, highest)  # noqa: S311 - not a secret
        if port not in taken and is_free(host, port):
            taken.add(port)
            return port
    raise GatebenchError(f"no free port on {host} between {LOWEST} and {highest} in {ATTEMPTS} attempts")
