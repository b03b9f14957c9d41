"""Servers are held to the contract from beside them: in this process, and through the agent in another."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatebench.contract.file import load_contract
from gatebench.contract.rules import Scope
from gatebench.contract.site import Check, LocalSite, Site
from gatebench.load.process import LoadError, LoadProcess
from gatebench.machine.cgroup import Usage
from gatebench.machine.cores import available_cores
from gatebench.machine.kernel import is_free
from gatebench.runners.docker.site import ContainerSite
from gatebench.words.model import Capability
from gatebench.words.paths import HOST
from tests.support.agent import AGENT, running_agent
from tests.support.contract_server import ContractServer, Faults
from tests.support.lab import PATIENCE_S

CONTRACT = load_contract()
SUPPORTS: frozenset[Capability] = frozenset({"close", "keep-alive", "websocket"})
SOON_S = 0.3
ABSENT = "192.0.2.1"
"""An address of documentation (RFC 5737), which no machine has."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LoadProcess]:
    with running_agent(tmp_path) as process:
        yield process


@pytest.fixture
def there(agent: LoadProcess) -> ContainerSite:
    return ContainerSite(agent)


@pytest.fixture(params=["here", "there"])
def site(request: pytest.FixtureRequest) -> Site:
    if request.param == "here":
        return LocalSite(CONTRACT)
    found: Site = request.getfixturevalue("there")
    return found


def check(port: int) -> Check:
    return Check(HOST, port, "asgi", SUPPORTS)


def closed_port() -> int:
    with ContractServer(Faults()) as server:
        return server.port


def test_servers_that_answer_are_told_from_those_that_do_not(site: Site) -> None:
    with ContractServer(Faults()) as server:
        last = site.ready([check(server.port), check(closed_port()), check(server.port)], SOON_S)
    assert [each.outcome for each in last] == ["right", "silent", "right"]
    assert "Connection refused" in last[1].text


def test_a_server_that_answers_wrongly_is_not_ready_and_what_it_said_is_told(site: Site) -> None:
    wrong = Faults(spoil={"GET /": lambda data: data.replace(b"Gatebench", b"Gatemench")})
    with ContractServer(wrong) as server:
        (last,) = site.ready([check(server.port)], SOON_S)
    assert last.outcome == "wrong"
    assert "Gatemench" in last.text


def test_a_server_that_keeps_the_contract_has_no_difference(site: Site) -> None:
    with ContractServer(Faults()) as server:
        assert site.verify([check(server.port)], thorough=False, timeout_s=5) == [()]


def test_every_server_gets_its_own_differences(site: Site) -> None:
    wrong = Faults(spoil={"GET /json": lambda data: data.replace(b"World", b"W\xff<ld")})
    with ContractServer(Faults()) as good, ContractServer(wrong) as bad:
        checks = [check(bad.port), check(good.port)]
        differing, none = site.verify(checks, thorough=False, timeout_s=5)
    assert none == ()
    assert {each.aspect for each in differing} == {"body"}
    assert all(each.case.startswith("GET /json") for each in differing)


def test_each_server_is_held_to_its_own_part_of_the_contract(site: Site) -> None:
    wrong = Faults(spoil={"GET /json": lambda data: data[:-1] + b"!"})
    with ContractServer(wrong) as server:
        scopes = (
            Scope(frozenset({"/json"})),
            Scope(frozenset({"/plaintext"}), sockets=frozenset({"/ws/echo"})),
        )
        checks = [replace(check(server.port), scope=scope) for scope in scopes]
        differing, none = site.verify(checks, thorough=False, timeout_s=5)
    assert [each.case for each in differing] == ["GET /json"]
    assert none == ()


def test_no_server_at_all_is_no_error(site: Site) -> None:
    assert site.ready([], SOON_S) == []
    assert site.verify([], thorough=False, timeout_s=1) == []


def test_both_sites_tell_the_same_differences(there: ContainerSite) -> None:
    wrong = Faults(spoil={"GET /json": lambda data: data[:-1] + b"\xff"})
    with ContractServer(wrong) as server:
        found = [
            each.verify([check(server.port)], thorough=False, timeout_s=5)
            for each in (LocalSite(CONTRACT), there)
        ]
    assert found[0] == found[1]
    assert found[0][0]


def test_the_agent_never_gives_a_port_twice(there: ContainerSite) -> None:
    ports = there.fresh_ports(HOST, 20) + there.fresh_ports(HOST, 20)
    assert len(set(ports)) == 40
    assert all(is_free(HOST, port) for port in ports)


def test_the_agent_says_what_is_wrong_with_an_address_and_goes_on(
    there: ContainerSite, agent: LoadProcess
) -> None:
    with pytest.raises(LoadError, match=f"{ABSENT} is no address of the servers' machine"):
        there.fresh_ports(ABSENT, 1)
    assert there.fresh_ports(HOST, 1)
    assert agent.ask({"op": "site.ready", "checks": [], "within_s": 0})["heard"] == []


def test_a_container_that_the_agent_does_not_see_has_no_figures(there: ContainerSite) -> None:
    seen = there.see("0" * 64, available_cores())
    assert seen.usage == Usage()
    assert seen.steal_s is not None
    assert seen.listen_drops is not None


def test_a_core_that_there_is_not_has_no_steal(there: ContainerSite) -> None:
    assert there.see("0" * 64, [1 << 20]).steal_s is None


def test_the_use_of_local_ports_is_a_share(there: ContainerSite) -> None:
    share = there.port_use(HOST, closed_port())
    assert share is not None
    assert 0 <= share <= 1


def test_load_that_was_not_started_is_said(agent: LoadProcess) -> None:
    with pytest.raises(LoadError, match="the load process was not started"):
        agent.hello()


def test_a_load_process_that_cannot_start_is_told_with_its_words(
    there: ContainerSite, agent: LoadProcess
) -> None:
    there.start_load(["--no-such-option"])
    with pytest.raises(LoadError, match="the load process in the container ended") as caught:
        agent.hello()
    assert "--no-such-option" in str(caught.value)


def test_the_agent_describes_its_machine() -> None:
    done = subprocess.run(
        [*AGENT, "--describe"], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    said = json.loads(done.stdout)
    assert tuple(said["cores"]) == available_cores()
    assert set(said["siblings"]) == {str(core) for core in available_cores()}
    assert said["machine"]["system"] == "Linux"
    assert said["open_files"] is None or said["open_files"] > 0


def test_the_agent_ends_with_its_input() -> None:
    done = subprocess.run(
        AGENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_server_whose_application_declares_routes_is_asked_these_alone(site: Site) -> None:
    broken = Faults(spoil={"GET /": lambda data: data.replace(b"Gatebench", b"Gatemench")})
    with ContractServer(broken) as server:
        whole = check(server.port)
        part = replace(
            whole, supports=frozenset({"close", "keep-alive"}), routes=frozenset({"/json", "/echo"})
        )
        (heard,) = site.ready([part], SOON_S)
        found, everything = site.verify([part, whole], thorough=False, timeout_s=2.0)
    assert heard.outcome == "right"
    assert found == ()
    assert any(each.case == "GET /" for each in everything)
