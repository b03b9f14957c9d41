"""What the kernel tells of its limits and of what it did to a measurement: drops, steal, ports, open files.

Each function reads one file of /proc; its `text` parameters are the contents, for the tests.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

NETSTAT = Path("/proc/net/netstat")
STAT = Path("/proc/stat")
SOCKETS = Path("/proc/net/sockstat")
CONNECTIONS = Path("/proc/net/tcp")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

STEAL_FIELD = 8
"""Position of `steal` in a `cpuN` line, after user, nice, system, idle, iowait, irq and softirq (proc(5))."""
EXACT_FROM_SHARE = 0.8
"""From this share of the ports on, connections are counted one by one; METHOD.md's limit for `ports`."""


def listen_drops(text: str | None = None) -> int | None:
    """Connection attempts that a full listen queue has dropped since boot, in this network namespace.

    Linux counts them as `ListenDrops`, every overflow of an accept queue included. A dropped client tries
    again after one second, then after three.

    Args:
        text: the content of /proc/net/netstat.

    Returns:
        None where the kernel does not say.
    """
    text = _content(NETSTAT) if text is None else text
    lines = [line.split() for line in text.splitlines() if line.startswith("TcpExt:")]
    if len(lines) != 2:
        return None
    counters = dict(zip(lines[0], lines[1], strict=True))
    return int(counters["ListenDrops"]) if "ListenDrops" in counters else None


def steal_s(cores: Sequence[int], text: str | None = None) -> float | None:
    """Seconds since boot, summed over `cores`, in which the hypervisor ran somebody else instead.

    The kernel counts in clock ticks, of which a second has 100 as a rule: a single short slice is not long
    enough to see 5 % of it stolen, many slices together are.

    Args:
        cores: core numbers.
        text: the content of /proc/stat.

    Returns:
        None where the kernel does not say for each of these cores.
    """
    text = _content(STAT) if text is None else text
    lines = {words[0]: words for line in text.splitlines() if (words := line.split())}
    ticks = 0
    for core in cores:
        words = lines.get(f"cpu{core}", [])
        if len(words) <= STEAL_FIELD:
            return None
        ticks += int(words[STEAL_FIELD])
    return ticks / os.sysconf("SC_CLK_TCK")


def port_use(port: int, host: str = "127.0.0.1") -> float | None:
    """Share of the ephemeral ports that connections to `host`:`port` occupy, from 0 to 1.

    Under `EXACT_FROM_SHARE` it is an upper bound, which costs one short file: every IPv4 socket that is open
    or in TIME_WAIT, whoever it belongs to. From there on it is exact, which costs some milliseconds. So it
    can be held against that limit either way, and against no smaller one.

    Returns:
        None where the kernel does not say.
    """
    bounds = ephemeral_range(_content(PORT_RANGE))
    sockets = tcp_sockets(_content(SOCKETS))
    if bounds is None or sockets is None:
        return None
    ports = bounds[1] - bounds[0] + 1
    if sockets < EXACT_FROM_SHARE * ports or not CONNECTIONS.exists():
        return min(1.0, sockets / ports)
    return ports_towards(port, bounds, _content(CONNECTIONS), host) / ports


def ephemeral_range(text: str) -> tuple[int, int] | None:
    """First and last port for outgoing connections, from /proc/sys/net/ipv4/ip_local_port_range."""
    words = text.split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


def tcp_sockets(text: str) -> int | None:
    """IPv4 TCP sockets in use or in TIME_WAIT, from /proc/net/sockstat; both ends of a local connection."""
    words = next((line.split() for line in text.splitlines() if line.startswith("TCP:")), [])
    counts = dict(zip(words[1::2], words[2::2], strict=False))
    if not {"inuse", "tw"} <= counts.keys():
        return None
    return int(counts["inuse"]) + int(counts["tw"])


def ports_towards(port: int, bounds: tuple[int, int], text: str, host: str = "127.0.0.1") -> int:
    """How many ephemeral ports the client's side of connections to `host`:`port` holds.

    The side that closes first stays in TIME_WAIT. Where that is the server, no port of the client's is taken.

    Args:
        port: the server's.
        bounds: first and last ephemeral port.
        text: the content of /proc/net/tcp, where addresses are hexadecimal in the byte order of the machine.
        host: the server's.
    """
    address = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    line = rf"^ *\d+: [0-9A-F]{{8}}:([0-9A-F]{{4}}) {address:08X}:{port:04X} "
    local = {int(found, 16) for found in re.findall(line, text, re.MULTILINE)}
    return sum(bounds[0] <= each <= bounds[1] for each in local)


def open_file_limit(pid: int, text: str | None = None) -> int | None:
    """How many files and sockets a process may have open (its soft limit).

    Args:
        pid: its ID.
        text: the content of /proc/PID/limits.

    Returns:
        None where the process is gone, the kernel does not say, or there is no limit.
    """
    text = _content(Path(f"/proc/{pid}/limits")) if text is None else text
    match = re.search(r"^Max open files +(\d+) ", text, re.MULTILINE)
    return int(match[1]) if match else None


def raise_open_file_limit() -> int:
    """Raises this process's soft limit of open files to the hard one, and returns it; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _content(path: Path) -> str:
    """The whole file; empty where it does not exist, also because its process has just ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
