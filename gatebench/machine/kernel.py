"""What the kernel tells of its limits and of what it did to a measurement: drops, steal, run time, ports.

Most functions read one file of /proc; their `text` parameters are the contents, for the tests.
"""

from __future__ import annotations

import errno
import os
import random
import re
import resource
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatebench.words.errors import GatebenchError

SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NETLINK_SOCK_DIAG = 4
EVERY_STATE = 0xFFF
BUFFER = 1 << 20

_HEADER = struct.Struct("=IHHII")
"""`nlmsghdr`: length, type, flags, sequence number, port ID."""
_REQUEST = struct.Struct("=BBBxI")
"""The head of `inet_diag_req_v2`: family, protocol, extensions, states."""
_SOCKET = struct.Struct("!HH16s16s")
"""`inet_diag_sockid` but for its end: source and destination port, both addresses; network byte order."""
_INTERFACE_AND_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_SOCKET_AT = 4
"""Where `inet_diag_sockid` begins in `inet_diag_msg`, after family, state, timer and retransmissions."""


def local_ports_towards(host: str, port: int) -> set[int]:
    """The local ports of IPv4 TCP connections to `host`:`port`, those in TIME_WAIT included.

    Raises:
        OSError: the kernel or its guard does not answer such questions.
    """
    address = socket.inet_aton(host)
    family = socket.AF_NETLINK
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as asked:
        asked.sendall(_question(port))
        return {source for source, destination in _answers(asked) if destination == address}


def _question(port: int) -> bytes:
    body = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, EVERY_STATE)
    body += _SOCKET.pack(0, port, b"", b"") + _INTERFACE_AND_COOKIE
    flags = NLM_F_REQUEST | NLM_F_DUMP
    return _HEADER.pack(_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body


def _answers(asked: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Local port and remote address of each connection."""
    while True:
        data = asked.recv(BUFFER)
        at = 0
        while at < len(data):
            length, kind, *_ = _HEADER.unpack_from(data, at)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                (code,) = struct.unpack_from("=i", data, at + _HEADER.size)
                raise OSError(-code, "the kernel refused to list connections")
            source, _, _, destination = _SOCKET.unpack_from(data, at + _HEADER.size + _SOCKET_AT)
            yield source, destination[:4]
            at += (length + 3) & ~3


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


NETSTAT = Path("/proc/net/netstat")
STAT = Path("/proc/stat")
SCHEDSTAT = Path("/proc/schedstat")
CGROUPS = Path("/sys/fs/cgroup")
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

STEAL_FIELD = 8
"""Position of `steal` in a `cpuN` line, after user, nice, system, idle, iowait, irq and softirq (proc(5))."""
BUSY_FIELDS = (1, 2, 3, 6, 7)
"""Positions of user, nice, system, irq and softirq; user has the time of guests in it."""
INTERRUPT_FIELDS = (6, 7, STEAL_FIELD)
RUN_FIELD = 7
"""Position in a `cpuN` line of /proc/schedstat of the nanoseconds that tasks ran there (sched-stats.rst)."""
TICKS_OFF = 3
"""A slice's busy ticks may be wrong by so many on each core: the kernel samples who runs at each tick."""


@dataclass(frozen=True, slots=True)
class CoreTime:
    """How long tasks have run on some cores since a start that does not matter.

    Attributes:
        run_s: seconds, all cores and all tasks together.
        off_s: by so much a difference of two readings may be too large.
        source: where it is from: `cpuacct`, `schedstat` or `ticks`.
    """

    run_s: float
    off_s: float
    source: str


def core_time(cores: Sequence[int], cgroups: Path = CGROUPS) -> CoreTime | None:
    """How long tasks have run on `cores`, from the finest source that the kernel has.

    The root control group of version 1 counts nanoseconds for each core, by the clock that a process's CPU
    time has. /proc/schedstat counts them too, but by one that runs on in interrupts and while the hypervisor
    runs somebody else; /proc/stat has that in ticks. Where there is neither, its busy ticks remain.

    Args:
        cores: core numbers.
        cgroups: the machine's control groups.

    Returns:
        None where the kernel does not say for each of these cores.
    """
    cpuacct = cgroups / "cpuacct"
    # A container sees its own group at this place. Only the root of the hierarchy has a release agent.
    if (cpuacct / "release_agent").exists():
        found = core_time_of_cpuacct(cores, _content(cpuacct / "cpuacct.usage_percpu"))
        if found is not None:
            return found
    stat = _content(STAT)
    return core_time_of_schedstat(cores, _content(SCHEDSTAT), stat) or core_time_of_ticks(cores, stat)


def core_time_of_cpuacct(cores: Sequence[int], text: str) -> CoreTime | None:
    """From the content of `cpuacct.usage_percpu`: nanoseconds, one number a core."""
    words = text.split()
    if not cores or max(cores) >= len(words):
        return None
    return CoreTime(sum(int(words[core]) for core in cores) / 1e9, 0.0, "cpuacct")


def core_time_of_schedstat(cores: Sequence[int], text: str, stat: str) -> CoreTime | None:
    """From the contents of /proc/schedstat and /proc/stat.

    Interrupts, which are a part of what the server's own traffic costs, and steal are nobody's run time.
    """
    lines = _by_core(text)
    interrupted = _ticks_s(cores, INTERRUPT_FIELDS, stat)
    of_cores = [lines.get(f"cpu{core}", []) for core in cores]
    if interrupted is None or any(len(words) <= RUN_FIELD for words in of_cores):
        return None
    run_ns = sum(int(words[RUN_FIELD]) for words in of_cores)
    return CoreTime(run_ns / 1e9 - interrupted, _tick_s() * len(cores), "schedstat")


def core_time_of_ticks(cores: Sequence[int], stat: str) -> CoreTime | None:
    """From the content of /proc/stat."""
    busy_s = _ticks_s(cores, BUSY_FIELDS, stat)
    return None if busy_s is None else CoreTime(busy_s, TICKS_OFF * _tick_s() * len(cores), "ticks")


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

    The kernel counts in clock ticks, of which a second has 100 as a rule: `is_much_steal` asks for more than
    one, since a single one may be the last part of what was taken before.

    Args:
        cores: core numbers.
        text: the content of /proc/stat.

    Returns:
        None where the kernel does not say for each of these cores.
    """
    return _ticks_s(cores, (STEAL_FIELD,), _content(STAT) if text is None else text)


def is_much_steal(taken_s: float | None, core_s: float, limit: float) -> bool:
    """Whether a hypervisor took more than a share of some cores' time, as far as ticks can tell.

    In a slice of 0.1 s a tick is 5 % of two cores' time by itself.

    Args:
        taken_s: what `steal_s` gained; None where the kernel does not say.
        core_s: the time of all the cores together.
        limit: the share.
    """
    return taken_s is not None and taken_s > max(limit * core_s, 1.5 * _tick_s())


def _ticks_s(cores: Sequence[int], fields: Sequence[int], stat: str) -> float | None:
    """The sum of some fields of the cores' lines in /proc/stat, in seconds; None where one is missing."""
    lines = _by_core(stat)
    ticks = 0
    for core in cores:
        words = lines.get(f"cpu{core}", [])
        if len(words) <= max(fields):
            return None
        ticks += sum(int(words[field]) for field in fields)
    return ticks * _tick_s()


def _tick_s() -> float:
    return 1 / os.sysconf("SC_CLK_TCK")


def _by_core(text: str) -> dict[str, list[str]]:
    """First word of a line → its words."""
    return {words[0]: words for line in text.splitlines() if (words := line.split())}


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
