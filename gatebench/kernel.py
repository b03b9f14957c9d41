"""What the kernel counts about connections that it dropped."""

from __future__ import annotations

from pathlib import Path

NETSTAT = Path("/proc/net/netstat")


def listen_drops(text: str | None = None) -> int | None:
    """Connection attempts that a full listen queue has dropped since boot, in this network namespace.

    Linux counts them as `ListenDrops`, every overflow of an accept queue included. A dropped client tries
    again after one second, then after three.

    Args:
        text: the content of /proc/net/netstat, for the tests; by default it is read.

    Returns:
        None where the kernel does not say.
    """
    if text is None:
        if not NETSTAT.exists():
            return None
        text = NETSTAT.read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("TcpExt:")]
    if len(lines) != 2:
        return None
    counters = dict(zip(lines[0], lines[1], strict=True))
    return int(counters["ListenDrops"]) if "ListenDrops" in counters else None
