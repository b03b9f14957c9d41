"""The kernel's counters of dropped connections."""

from __future__ import annotations

import pytest

from gatebench.kernel import NETSTAT, listen_drops

SAMPLE = """TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts
TcpExt: 0 12 14 3
IpExt: InNoRoutes InOctets
IpExt: 0 1234
"""


def test_dropped_connection_attempts_are_read_by_name() -> None:
    assert listen_drops(SAMPLE) == 14


@pytest.mark.parametrize("text", ["", "TcpExt: a b\n", "TcpExt: SyncookiesSent\nTcpExt: 0\n"])
def test_a_kernel_that_does_not_count_them_gives_nothing_rather_than_zero(text: str) -> None:
    assert listen_drops(text) is None


@pytest.mark.skipif(not NETSTAT.exists(), reason="no /proc/net/netstat on this system")
def test_this_kernel_counts_them() -> None:
    assert listen_drops() is not None
