"""What the kernel tells: its files' contents are read by name, and real ones are read on this system."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gatebench import kernel
from gatebench.kernel import (
    NETSTAT,
    PORT_RANGE,
    SOCKETS,
    STAT,
    ephemeral_range,
    listen_drops,
    open_file_limit,
    port_use,
    ports_towards,
    steal_s,
    tcp_sockets,
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
SOCKETS_SAMPLE = """sockets: used 41
TCP: inuse 10 orphan 0 tw 15389 alloc 10 mem 0
UDP: inuse 3 mem 512
"""
# Towards port 20000 (4E20): an open connection and one in TIME_WAIT, both from ephemeral ports. Of no account
# are one from a port outside the range, the server's own two ends, its listener, and others' connections.
CONNECTIONS_SAMPLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:4E20 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13373200
   1: 0100007F:8000 0100007F:4E20 01 00000000:00000000 00:00000000 00000000     0        0 2082
   2: 0100007F:8001 0100007F:4E20 06 00000000:00000000 03:00000f00 00000000     0        0 0
   3: 0100007F:0400 0100007F:4E20 06 00000000:00000000 03:00000f00 00000000     0        0 0
   4: 0100007F:4E20 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 2083
   5: 0100007F:4E20 0100007F:8002 06 00000000:00000000 03:00000f00 00000000     0        0 0
   6: 0100007F:8003 0100007F:4E21 01 00000000:00000000 00:00000000 00000000     0        0 2084
 100: 0100007F:8004 0A00000A:4E20 01 00000000:00000000 00:00000000 00000000     0        0 2085
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
def test_this_kernel_counts_steal_and_never_takes_it_back() -> None:
    cores = sorted(os.sched_getaffinity(0))
    before = steal_s(cores)
    assert before is not None
    assert (steal_s(cores) or 0.0) >= before >= 0.0


def test_the_bound_of_taken_ports_is_every_socket_open_or_in_time_wait() -> None:
    assert tcp_sockets(SOCKETS_SAMPLE) == 10 + 15389


@pytest.mark.parametrize("text", ["", "UDP: inuse 3 mem 512\n", "TCP: inuse 3\n"])
def test_a_kernel_that_does_not_count_sockets_gives_nothing_rather_than_zero(text: str) -> None:
    assert tcp_sockets(text) is None


def test_the_ephemeral_range_is_read() -> None:
    assert ephemeral_range("32768\t60999\n") == (32768, 60999)
    assert ephemeral_range("") is None


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample shows a little-endian machine's addresses")
def test_only_the_client_s_side_of_connections_to_that_port_takes_ports() -> None:
    assert ports_towards(20000, (32768, 60999), CONNECTIONS_SAMPLE) == 2
    assert ports_towards(20002, (32768, 60999), CONNECTIONS_SAMPLE) == 0


@pytest.mark.skipif(not SOCKETS.exists() or not PORT_RANGE.exists(), reason="no such files on this system")
def test_a_real_connection_is_found_on_the_client_s_side_only() -> None:
    bounds = ephemeral_range(PORT_RANGE.read_text())
    assert bounds is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # The port may have been a client's a moment ago, and the other ends of its connections still wait.
        before = ports_towards(port, bounds, kernel.CONNECTIONS.read_text())
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            assert ports_towards(port, bounds, kernel.CONNECTIONS.read_text()) == before + 1


@pytest.mark.skipif(not SOCKETS.exists() or not PORT_RANGE.exists(), reason="no such files on this system")
def test_ports_are_counted_one_by_one_where_the_bound_is_over_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow, wide = tmp_path / "narrow", tmp_path / "wide"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            local = client.getsockname()[1]
            narrow.write_text(f"{local} {local + 1}")
            monkeypatch.setattr(kernel, "PORT_RANGE", narrow)
            assert port_use(port) == pytest.approx(1 / 2)
            wide.write_text("0 1000000000")
            monkeypatch.setattr(kernel, "PORT_RANGE", wide)
            use = port_use(port)
            assert use is not None
            assert 2e-9 <= use < 0.01


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
        "from gatebench.kernel import open_file_limit, raise_open_file_limit\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "assert open_file_limit(os.getpid()) == 64\n"
        "assert raise_open_file_limit() == hard == open_file_limit(os.getpid())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
