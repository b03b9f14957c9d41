"""What the kernel tells of its limits and of what it did to a measurement: drops, steal, ports, open files.

Most functions read one file of /proc; their `text` parameters are the contents, for the tests.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path

from gatebench.sock_diag import local_ports_towards

NETSTAT = Path("/proc/net/netstat")
STAT = Path("/proc/stat")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

STEAL_FIELD = 8
"""Position of `steal` in a `cpuN` line, after user, nice, system, idle, iowait, irq and softirq (proc(5))."""


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

    The side that closes first stays in TIME_WAIT. Where that is the server, no port of the client's is taken.

    Returns:
        None where the kernel does not say.
    """
    bounds = ephemeral_range(_content(PORT_RANGE))
    if bounds is None:
        return None
    try:
        taken = local_ports_towards(host, port)
    except OSError:
        return None
    first, last = bounds
    return sum(first <= each <= last for each in taken) / (last - first + 1)


def ephemeral_range(text: str) -> tuple[int, int] | None:
    """First and last port for outgoing connections, from /proc/sys/net/ipv4/ip_local_port_range."""
    words = text.split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


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
