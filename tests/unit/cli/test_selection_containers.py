"""The address that containers listen at, and where workers join: the one is there for the other."""

from __future__ import annotations

import pytest

from gatebench.cli.run import ContainerOptions, check_server_host, choose_containers
from gatebench.machine.kernel import fresh_port
from gatebench.words.errors import ConfigurationError, GatebenchError
from gatebench.words.options import LoadOptions

ELSEWHERE = LoadOptions(workers=2, bind="10.0.0.5")


def test_loopback_suits_workers_that_are_beside_the_servers() -> None:
    check_server_host(ContainerOptions(), LoadOptions())
    check_server_host(ContainerOptions(), LoadOptions(workers=2, bind="127.0.0.2"))


def test_servers_and_workers_elsewhere_may_meet_at_an_address_of_the_network() -> None:
    check_server_host(ContainerOptions(host="10.0.0.5"), ELSEWHERE)


@pytest.mark.parametrize(
    ("host", "load", "said"),
    [
        ("10.0.0.5", LoadOptions(), "for workers on other machines; add the address at which they join"),
        ("0.0.0.0", ELSEWHERE, "is a wildcard and no address to connect to"),  # noqa: S104 - refused
        ("127.0.0.1", ELSEWHERE, "workers on other machines cannot reach servers at 127.0.0.1"),
    ],
)
def test_servers_are_not_opened_to_nobody_and_workers_are_not_sent_nowhere(
    host: str, load: LoadOptions, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_server_host(ContainerOptions(host=host), load)


def test_what_is_no_address_and_no_network_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        choose_containers("hots", "banana")
    assert len(raised.value.problems) == 2


def test_an_address_of_another_machine_is_named_as_such() -> None:
    with pytest.raises(GatebenchError, match=r"192\.0\.2\.1 is no address of the servers' machine"):
        fresh_port("192.0.2.1", set())
