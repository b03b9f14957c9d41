"""Reads what a container used and was refused from its control group, version 1 or 2.

An engine's own statistics come once a second (dockerd's collector); a slice lasts a twentieth of that. The
kernel's files tell at once. The formats are those of the kernel's documentation, admin-guide/cgroup-v1
(cpuacct, memory) and cgroup-v2; CFS bandwidth control is in scheduler/sched-bwc.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
NEVER = "0001-01-01"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a control group tells; None where it does not.

    Attributes:
        cpu_s: CPU seconds of all of its processes, those that have ended included.
        throttled_s: seconds for which a CPU quota stopped it.
        anonymous_mib: memory that its processes hold for themselves, files' pages left out.
        peak_mib: the most memory it has had, files' pages included.
        processes: how many there are now.
        oom_kills: processes that the kernel killed because the limit was reached.
    """

    cpu_s: float | None = None
    throttled_s: float | None = None
    anonymous_mib: float | None = None
    peak_mib: float | None = None
    processes: int | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Where the files of one control group lie: of version 1 in a folder for each controller."""

    cpuacct: Path
    cpu: Path
    memory: Path
    version: int

    def usage(self) -> Usage:
        """What it tells now."""
        return self._usage_v2() if self.version == 2 else self._usage_v1()

    def cpu_s(self) -> float | None:
        """CPU seconds of all of its processes, now; None where it does not tell."""
        if self.version == 2:
            used_us = _fields(self.cpu / "cpu.stat").get("usage_usec")
            return None if used_us is None else used_us / 1e6
        used_ns = _number(self.cpuacct / "cpuacct.usage")
        return None if used_ns is None else used_ns / 1e9

    def _usage_v1(self) -> Usage:
        throttled_ns = _fields(self.cpu / "cpu.stat").get("throttled_time")
        return Usage(
            cpu_s=self.cpu_s(),
            throttled_s=None if throttled_ns is None else throttled_ns / 1e9,
            anonymous_mib=_mib(_fields(self.memory / "memory.stat").get("total_rss")),
            peak_mib=_mib(_number(self.memory / "memory.max_usage_in_bytes")),
            processes=_lines(self.cpuacct / "cgroup.procs"),
            oom_kills=_fields(self.memory / "memory.oom_control").get("oom_kill"),
        )

    def _usage_v2(self) -> Usage:
        cpu = _fields(self.cpu / "cpu.stat")
        # Without a quota there is no such line, and nothing that could be throttled.
        throttled_us = cpu.get("throttled_usec", 0) if cpu else None
        return Usage(
            cpu_s=self.cpu_s(),
            throttled_s=None if throttled_us is None else throttled_us / 1e6,
            anonymous_mib=_mib(_fields(self.memory / "memory.stat").get("anon")),
            peak_mib=_mib(_number(self.memory / "memory.peak")),
            processes=_lines(self.cpu / "cgroup.procs"),
            oom_kills=_fields(self.memory / "memory.events").get("oom_kill"),
        )


def usage_of(statistics: Mapping[str, Any]) -> Usage:
    """The same from what an engine says of a container (`GET /containers/ID/stats`), of either version.

    It knows no peak of version 2, and does not tell processes from threads. Of a container that has ended it
    knows nothing, and says so with zeros that were read at Go's zero of time.
    """
    if str(statistics.get("read", NEVER)).startswith(NEVER):
        return Usage()
    cpu = statistics.get("cpu_stats") or {}
    memory = statistics.get("memory_stats") or {}
    fields = memory.get("stats") or {}
    used_ns = (cpu.get("cpu_usage") or {}).get("total_usage")
    throttled_ns = (cpu.get("throttling_data") or {}).get("throttled_time")
    return Usage(
        cpu_s=None if used_ns is None else used_ns / 1e9,
        throttled_s=None if throttled_ns is None else throttled_ns / 1e9,
        anonymous_mib=_mib(fields.get("total_rss", fields.get("anon"))),
        peak_mib=_mib(memory.get("max_usage")),
    )


def find(container_id: str, root: Path) -> Cgroup | None:
    """The control group of a container, None where there is none below `root`.

    Args:
        container_id: its whole ID, which every engine puts into the name of the control group's folder.
        root: the machine's /sys/fs/cgroup.
    """
    if (root / "cgroup.controllers").exists():
        folder = _below(root, container_id)
        return None if folder is None else Cgroup(folder, folder, folder, 2)
    found = {name: _below(root / name, container_id) for name in ("cpuacct", "cpu", "memory")}
    cpuacct, cpu, memory = found["cpuacct"], found["cpu"], found["memory"]
    if cpuacct is None or cpu is None or memory is None:
        return None
    return Cgroup(cpuacct, cpu, memory, 1)


def _below(root: Path, container_id: str) -> Path | None:
    """The folder below `root` that is named after a container, the usual places first."""
    for usual in (
        root / "docker" / container_id,
        root / "system.slice" / f"docker-{container_id}.scope",
    ):
        if usual.is_dir():
            return usual
    return next((Path(place) for place in _folders(root) if container_id in Path(place).name), None)


def _folders(root: Path) -> Iterator[str]:
    return (place for place, _, _ in os.walk(root))


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the container has ended, or this kernel has no such file


def _number(path: Path) -> int | None:
    text = _content(path).strip()
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> Mapping[str, int]:
    """`name number` a line."""
    words = (line.split() for line in _content(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def _lines(path: Path) -> int | None:
    text = _content(path)
    return len(text.splitlines()) or None


def _mib(count: int | None) -> float | None:
    return None if count is None else count / MIB
