"""What is read of control groups: trees of both versions as engines lay them out, and gaps in them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gatebench.machine.cgroup import Usage, find, usage_of

ID = "8cbc7091c1f2e3b361efa236d9b7c172aa848e13be638af9b54539821de6bad0"
OTHER = ID[::-1]

CPU_STAT_V1 = "nr_periods 40\nnr_throttled 12\nthrottled_time 1500000000\n"
MEMORY_STAT_V1 = "cache 81920\nrss 114688\nhierarchical_memory_limit 1073741824\ntotal_rss 52428800\n"
OOM_CONTROL_V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
CPU_STAT_V2 = (
    "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"
    "nr_periods 40\nnr_throttled 12\nthrottled_usec 1500000\n"
)
MEMORY_STAT_V2 = "anon 52428800\nfile 81920\nkernel_stack 16384\n"
MEMORY_EVENTS_V2 = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n"

FULL = Usage(cpu_s=2.5, throttled_s=1.5, anonymous_mib=50.0, peak_mib=64.0, processes=3, oom_kills=2)
V1_PLACES = {
    "cgroupfs driver": f"docker/{ID}",
    "systemd driver": f"system.slice/docker-{ID}.scope",
    "rootless": f"user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
    "engine in a container": f"docker/{OTHER}/docker/{ID}",
    "podman": f"machine.slice/libpod-{ID}.scope",
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def tree_v1(root: Path, place: str) -> Path:
    """Version 1, with `cpu` and `cpuacct` as links to one mount, as distributions have them."""
    together = root / "cpu,cpuacct"
    write(
        together / place,
        {"cpuacct.usage": "2500000000\n", "cpu.stat": CPU_STAT_V1, "cgroup.procs": "7\n8\n9\n"},
    )
    for name in ("cpu", "cpuacct"):
        (root / name).symlink_to("cpu,cpuacct")
    memory = {
        "memory.stat": MEMORY_STAT_V1,
        "memory.max_usage_in_bytes": "67108864\n",
        "memory.oom_control": OOM_CONTROL_V1,
    }
    write(root / "memory" / place, memory)
    return root


def tree_v2(root: Path, place: str) -> Path:
    files = {
        "cpu.stat": CPU_STAT_V2,
        "cgroup.procs": "7\n8\n9\n",
        "memory.stat": MEMORY_STAT_V2,
        "memory.peak": "67108864\n",
        "memory.events": MEMORY_EVENTS_V2,
    }
    write(root / place, files)
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return root


def usage(root: Path) -> Usage:
    group = find(ID, root)
    assert group is not None
    return group.usage()


@pytest.mark.parametrize("place", V1_PLACES.values(), ids=V1_PLACES)
def test_version_1_is_read_wherever_the_engine_puts_it(tmp_path: Path, place: str) -> None:
    assert usage(tree_v1(tmp_path, place)) == FULL


@pytest.mark.parametrize("place", V1_PLACES.values(), ids=V1_PLACES)
def test_version_2_is_read_wherever_the_engine_puts_it(tmp_path: Path, place: str) -> None:
    assert usage(tree_v2(tmp_path, place)) == FULL


def test_a_hybrid_tree_is_read_as_version_1(tmp_path: Path) -> None:
    # systemd's own tree of version 2 beside the controllers of version 1: no controller, so no figures there.
    tree_v1(tmp_path, f"docker/{ID}")
    write(tmp_path / "unified" / "docker" / ID, {"cgroup.procs": "7\n", "cpu.stat": "usage_usec 1\n"})
    (tmp_path / "unified" / "cgroup.controllers").write_text("")
    assert usage(tmp_path) == FULL


def test_controllers_that_are_mounted_apart_are_read_apart(tmp_path: Path) -> None:
    place = f"docker/{ID}"
    write(tmp_path / "cpuacct" / place, {"cpuacct.usage": "2500000000\n", "cgroup.procs": "7\n8\n9\n"})
    write(tmp_path / "cpu" / place, {"cpu.stat": CPU_STAT_V1})
    memory = {"memory.stat": MEMORY_STAT_V1, "memory.max_usage_in_bytes": "67108864\n"}
    write(tmp_path / "memory" / place, memory)
    assert usage(tmp_path) == Usage(2.5, 1.5, 50.0, 64.0, 3, None)


@pytest.mark.parametrize("tree", [tree_v1, tree_v2])
def test_another_container_is_not_taken_for_it(tmp_path: Path, tree: Any) -> None:
    assert find(ID, tree(tmp_path, f"docker/{OTHER}")) is None


def test_no_control_groups_at_all_are_none(tmp_path: Path) -> None:
    assert find(ID, tmp_path) is None
    assert find(ID, tmp_path / "absent") is None


def test_a_missing_controller_of_version_1_is_none(tmp_path: Path) -> None:
    shutil.rmtree(tree_v1(tmp_path, f"docker/{ID}") / "memory")
    assert find(ID, tmp_path) is None


@pytest.mark.parametrize("tree", [tree_v1, tree_v2])
def test_a_container_that_has_ended_tells_nothing(tmp_path: Path, tree: Any) -> None:
    place = f"docker/{ID}"
    group = find(ID, tree(tmp_path, place))
    assert group is not None
    for folder in [path for path in tmp_path.rglob(ID) if path.is_dir() and not path.is_symlink()]:
        shutil.rmtree(folder)
    assert group.usage() == Usage()


def test_what_an_older_kernel_of_version_2_does_not_have_is_none(tmp_path: Path) -> None:
    place = f"docker/{ID}"
    tree_v2(tmp_path, place)
    (tmp_path / place / "memory.peak").unlink()  # since Linux 5.19
    (tmp_path / place / "memory.events").write_text("low 0\nhigh 0\nmax 0\noom 0\n")
    found = usage(tmp_path)
    assert (found.peak_mib, found.oom_kills) == (None, None)
    assert found.cpu_s == 2.5


def test_version_2_without_a_quota_was_never_throttled(tmp_path: Path) -> None:
    place = f"docker/{ID}"
    tree_v2(tmp_path, place)
    (tmp_path / place / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    assert usage(tmp_path).throttled_s == 0


def test_version_1_without_the_throttling_line_does_not_know(tmp_path: Path) -> None:
    # A kernel without CFS bandwidth control has an empty file.
    tree_v1(tmp_path, f"docker/{ID}")
    (tmp_path / "cpu" / "docker" / ID / "cpu.stat").write_text("")
    assert usage(tmp_path).throttled_s is None


@pytest.mark.parametrize("text", ["", "max\n", "-1\n", "two\n", "1 2\n"])
def test_a_number_that_is_none_is_not_made_up(tmp_path: Path, text: str) -> None:
    place = f"docker/{ID}"
    tree_v2(tmp_path, place)
    (tmp_path / place / "memory.peak").write_text(text)
    (tmp_path / place / "cpu.stat").write_text(f"usage_usec {text}")
    found = usage(tmp_path)
    assert (found.peak_mib, found.cpu_s) == (None, None)


# What an engine says ----------------------------------------------------------------------------------------

STATS_V1 = {
    "read": "2026-11-22T14:17:27.82188761Z",
    "preread": "0001-01-01T00:00:00Z",
    "pids_stats": {"current": 1},
    "cpu_stats": {
        "cpu_usage": {
            "total_usage": 2_500_000_000,
            "percpu_usage": [1_000_000_000, 1_500_000_000],
            "usage_in_kernelmode": 500_000_000,
            "usage_in_usermode": 2_000_000_000,
        },
        "system_cpu_usage": 98_747_040_000_000,
        "online_cpus": 2,
        "throttling_data": {"periods": 40, "throttled_periods": 12, "throttled_time": 1_500_000_000},
    },
    "memory_stats": {
        "usage": 60_000_000,
        "max_usage": 67_108_864,
        "stats": {"cache": 81_920, "rss": 114_688, "total_rss": 52_428_800, "total_cache": 81_920},
        "limit": 1_073_741_824,
    },
}
STATS_V2 = {
    "read": "2026-11-22T14:17:27.82188761Z",
    "preread": "0001-01-01T00:00:00Z",
    "pids_stats": {"current": 1, "limit": 1024},
    "cpu_stats": {
        "cpu_usage": {
            "total_usage": 2_500_000_000,
            "usage_in_kernelmode": 500_000_000,
            "usage_in_usermode": 2_000_000_000,
        },
        "system_cpu_usage": 98_747_040_000_000,
        "online_cpus": 2,
        "throttling_data": {"periods": 40, "throttled_periods": 12, "throttled_time": 1_500_000_000},
    },
    "memory_stats": {
        "usage": 60_000_000,
        "stats": {"anon": 52_428_800, "file": 81_920, "kernel_stack": 16_384},
        "limit": 1_073_741_824,
    },
}
ENDED = {
    "read": "0001-01-01T00:00:00Z",
    "preread": "0001-01-01T00:00:00Z",
    "pids_stats": {},
    "cpu_stats": {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    },
    "memory_stats": {},
}
"""What engine 20.10 says of a container that does not run."""


def test_an_engine_on_version_1_tells_the_same() -> None:
    assert usage_of(STATS_V1) == Usage(2.5, 1.5, 50.0, 64.0)


def test_an_engine_on_version_2_tells_the_same_but_for_the_peak() -> None:
    assert usage_of(STATS_V2) == Usage(2.5, 1.5, 50.0, None)


def test_an_engines_zeros_of_a_container_that_has_ended_are_not_taken_for_figures() -> None:
    assert usage_of(ENDED) == Usage()


@pytest.mark.parametrize("gap", ["cpu_stats", "memory_stats"])
def test_what_an_engine_leaves_out_is_none(gap: str) -> None:
    nothing: tuple[object, ...] = (None, {})
    for value in nothing:
        told = usage_of({**STATS_V1, gap: value})
        of_cpu, of_memory = (told.cpu_s, told.throttled_s), (told.anonymous_mib, told.peak_mib)
        assert (of_cpu if gap == "cpu_stats" else of_memory) == (None, None)
        assert None not in (of_memory if gap == "cpu_stats" else of_cpu)


def test_no_answer_at_all_is_none() -> None:
    assert usage_of({}) == Usage()
