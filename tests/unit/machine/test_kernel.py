"""What the kernel tells: its files' contents are read by name, and real ones are read on this system."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebench.machine import kernel
from gatebench.machine.kernel import (
    NETSTAT,
    STAT,
    CoreTime,
    core_time,
    core_time_of_cpuacct,
    core_time_of_schedstat,
    core_time_of_ticks,
    ephemeral_range,
    is_much_steal,
    listen_drops,
    local_ports_towards,
    open_file_limit,
    port_use,
    steal_s,
)

NETSTAT_SAMPLE = """TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts
TcpExt: 0 12 14 3
IpExt: InNoRoutes InOctets
IpExt: 0 1234
"""
STAT_SAMPLE = """cpu  641265 376 146796 3725122 8870 0 48672 1000 0 0
cpu0 121705 82 22495 993751 1026 0 6104 300 7 8
cpu1 105757 83 20756 1012437 692 0 4611 50 7 8
cpu12 105757 83 20756 1012437 692 0 4611 9000 7 8
intr 123
"""
LIMITS_SAMPLE = """Limit                     Soft Limit           Hard Limit           Units
Max processes             96363                96363                processes
Max open files            1024                 524288               files
"""


def test_dropped_connection_attempts_are_read_by_name() -> None:
    assert listen_drops(NETSTAT_SAMPLE) == 14


@pytest.mark.parametrize("text", ["", "TcpExt: a b\n", "TcpExt: SyncookiesSent\nTcpExt: 0\n"])
def test_a_kernel_that_does_not_count_drops_gives_nothing_rather_than_zero(text: str) -> None:
    assert listen_drops(text) is None


@pytest.mark.skipif(not NETSTAT.exists(), reason="no /proc/net/netstat on this system")
def test_this_kernel_counts_drops() -> None:
    assert listen_drops() is not None


def test_steal_is_the_sum_over_the_cores_that_are_asked_for() -> None:
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    assert steal_s((0, 1), STAT_SAMPLE) == pytest.approx(350 / ticks_per_s)
    assert steal_s((1,), STAT_SAMPLE) == pytest.approx(50 / ticks_per_s)


@pytest.mark.parametrize("text", ["", STAT_SAMPLE, "cpu2 1 2 3 4 5 6 7\n"])
def test_a_core_without_a_count_of_steal_gives_nothing_rather_than_zero(text: str) -> None:
    assert steal_s((2,), text) is None


@pytest.mark.skipif(not STAT.exists(), reason="no /proc/stat on this system")
@pytest.mark.parametrize(
    ("ticks", "core_ticks", "much"),
    [(1, 10, False), (1, 20, False), (2, 20, True), (2, 42, False), (5, 106, False), (6, 106, True)],
)
def test_much_steal_is_over_a_share_of_the_time_and_over_a_single_tick(
    ticks: int, core_ticks: int, *, much: bool
) -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    taken_s = (1000 + ticks) * tick_s - 1000 * tick_s
    assert is_much_steal(taken_s, core_ticks * tick_s, 0.05) is much


def test_steal_that_nobody_counts_is_not_much() -> None:
    assert is_much_steal(None, 1.0, 0.05) is False


def test_this_kernel_counts_steal_and_never_takes_it_back() -> None:
    cores = sorted(os.sched_getaffinity(0))
    before = steal_s(cores)
    assert before is not None
    assert (steal_s(cores) or 0.0) >= before >= 0.0


def test_the_ephemeral_range_is_read() -> None:
    assert ephemeral_range("32768\t60999\n") == (32768, 60999)
    assert ephemeral_range("") is None


@pytest.fixture
def connections() -> Iterator[tuple[int, socket.socket, socket.socket]]:
    """A server's port, and both ends of a connection to it, the client's first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
            yield port, client, server


def test_a_connection_takes_the_client_s_port_and_none_of_the_server_s(
    connections: tuple[int, socket.socket, socket.socket],
) -> None:
    port, client, _ = connections
    local = client.getsockname()[1]
    assert local in local_ports_towards("127.0.0.1", port)
    assert port in local_ports_towards("127.0.0.1", local)  # the server's end, seen from there
    assert local not in local_ports_towards("127.0.0.2", port)


def test_a_port_stays_taken_while_its_connection_waits_after_the_end(
    connections: tuple[int, socket.socket, socket.socket],
) -> None:
    port, client, server = connections
    local = client.getsockname()[1]
    client.close()
    server.close()
    assert local in local_ports_towards("127.0.0.1", port)


def test_the_side_that_closes_last_gives_its_port_back(
    connections: tuple[int, socket.socket, socket.socket],
) -> None:
    port, client, server = connections
    local = client.getsockname()[1]
    server.close()
    assert client.recv(1) == b""
    client.close()
    assert local not in local_ports_towards("127.0.0.1", port)


def test_the_share_of_taken_ports_counts_those_of_the_range(
    connections: tuple[int, socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, client, _ = connections
    local = client.getsockname()[1]
    bounds = tmp_path / "bounds"
    monkeypatch.setattr(kernel, "PORT_RANGE", bounds)
    bounds.write_text(f"{local} {local + 1}")
    assert port_use(port) in {1 / 2, 1.0}  # the neighbour may be taken by an earlier client of that port
    bounds.write_text("1 2")
    assert port_use(port) == 0.0


def test_a_kernel_that_lists_no_connections_gives_nothing_rather_than_zero(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(host: str, port: int) -> set[int]:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(kernel, "local_ports_towards", refuse)
        assert port_use(1) is None
    monkeypatch.setattr(kernel, "PORT_RANGE", tmp_path / "absent")
    assert port_use(1) is None


def test_the_soft_limit_of_open_files_is_read_by_name() -> None:
    assert open_file_limit(0, LIMITS_SAMPLE) == 1024


@pytest.mark.parametrize("text", ["", "Max open files            unlimited            unlimited   files\n"])
def test_no_limit_of_open_files_is_nothing_rather_than_zero(text: str) -> None:
    assert open_file_limit(0, text) is None


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="no /proc/PID/limits on this system")
def test_a_real_process_s_limit_of_open_files_is_the_one_that_it_has() -> None:
    assert open_file_limit(os.getpid()) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_process_that_is_gone_has_no_limit() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert open_file_limit(process.pid) is None


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="no /proc/PID/limits on this system")
def test_a_process_can_raise_its_own_limit_as_far_as_it_may() -> None:
    # In a process of its own: a limit once raised stays so for the tests that follow.
    code = (
        "import os, resource\n"
        "from gatebench.machine.kernel import open_file_limit, raise_open_file_limit\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "assert open_file_limit(os.getpid()) == 64\n"
        "assert raise_open_file_limit() == hard == open_file_limit(os.getpid())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SCHEDSTAT_SAMPLE = (
    "version 15\ntimestamp 4295098372\n"
    "cpu0 0 0 0 0 0 0 7000000000 500000000 1200\ndomain0 3 0 0 0\n"
    "cpu1 0 0 0 0 0 0 9000000000 500000000 1200\ndomain0 3 0 0 0\n"
)


def test_run_time_of_cores_is_counted_by_nanoseconds_where_control_groups_do() -> None:
    found = core_time_of_cpuacct((1, 2), "100 2000000000 500000000 \n")
    assert found == CoreTime(2.5, 0.0, "cpuacct")
    assert core_time_of_cpuacct((3,), "1 2 3") is None
    assert core_time_of_cpuacct((0,), "") is None


def test_interrupts_and_steal_are_nobodys_run_time() -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    stat = "cpu0 1 1 1 1 1 5 5 0 0 0\ncpu1 900 0 0 0 0 10 20 30 0 0\n"
    found = core_time_of_schedstat((1,), SCHEDSTAT_SAMPLE, stat)
    assert found is not None
    assert found.run_s == pytest.approx(9.0 - 60 * tick_s)
    assert (found.off_s, found.source) == (tick_s, "schedstat")
    assert core_time_of_schedstat((2,), SCHEDSTAT_SAMPLE, stat) is None
    assert core_time_of_schedstat((1,), "", stat) is None


def test_busy_ticks_are_what_remains_and_are_known_to_be_coarse() -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    found = core_time_of_ticks((0,), "cpu0 100 10 50 7000 99 3 2 40 0 0\n")
    assert found is not None
    assert found.run_s == pytest.approx(165 * tick_s)
    assert (found.off_s, found.source) == (3 * tick_s, "ticks")
    assert core_time_of_ticks((1,), "cpu0 100 10 50 7000 99 3 2 40 0 0\n") is None


def test_a_containers_own_control_group_is_not_taken_for_the_machines(tmp_path: Path) -> None:
    own = tmp_path / "cpuacct"
    own.mkdir()
    core = max(os.sched_getaffinity(0))
    (own / "cpuacct.usage_percpu").write_text("5 " * (core + 1))
    inside = core_time((core,), tmp_path)
    assert inside is None or inside.source != "cpuacct"
    (own / "release_agent").touch()
    assert core_time((core,), tmp_path) == CoreTime(5 / 1e9, 0.0, "cpuacct")


def test_this_kernel_knows_how_long_a_core_has_run() -> None:
    core = max(os.sched_getaffinity(0))
    # What it ran before it moved to the core, other cores have counted.
    script = (
        f"import os, time\nos.sched_setaffinity(0, {{{core}}})\n"
        "began = time.process_time()\nwhile time.process_time() - began < 0.4: pass"
    )
    before = core_time((core,))
    subprocess.run([sys.executable, "-c", script], check=True)
    after = core_time((core,))
    assert before is not None
    assert after is not None
    assert after.run_s - before.run_s >= 0.4 - after.off_s
