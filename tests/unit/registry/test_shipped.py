"""Every shipped server and workload folder holds to the contracts of configuration."""

from __future__ import annotations

import pytest

from gatebench.registry.registry import load_registry
from gatebench.registry.servers import parse_server
from gatebench.words.model import Server, Variant
from gatebench.words.paths import ROOT

REGISTRY = load_registry(ROOT)
SERVERS = list(REGISTRY.servers.values())
VARIANTS = [(server, variant) for server in SERVERS for variant in server.variants]

each_server = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
each_variant = pytest.mark.parametrize(
    ("server", "variant"), VARIANTS, ids=[f"{server.name}-{variant.name}" for server, variant in VARIANTS]
)


@each_server
def test_a_shipped_server_is_pinned_and_hashed(server: Server) -> None:
    assert parse_server(server.folder, shipped=True).pinned


@each_server
def test_a_shipped_server_says_what_its_pins_were_made_from(server: Server) -> None:
    loose = (server.folder / "requirements.in").read_text().replace("_", "-").split()
    pinned = {line.split("==")[0] for line in server.requirements.read_text().splitlines()}
    assert loose
    assert {requirement.split("[")[0] for requirement in loose} <= pinned


@each_server
def test_a_shipped_servers_pins_hold_no_address_and_no_path(server: Server) -> None:
    text = server.requirements.read_text()
    assert "://" not in text
    assert str(ROOT) not in text


@each_server
def test_a_system_command_that_is_needed_has_a_remedy(server: Server) -> None:
    for variant in server.variants:
        assert set(variant.needs) <= set(server.remedies)


@each_variant
def test_a_shipped_command_serves_the_given_application_on_the_given_port(
    server: Server, variant: Variant
) -> None:
    told = " ".join((*variant.command, *variant.files.values()))
    assert "{host}" in told
    assert "{port}" in told
    assert "{app}" in told or "{app_file}" in told


@each_variant
def test_a_shipped_variants_command_names_each_of_its_files(server: Server, variant: Variant) -> None:
    assert [name for name in variant.files if name not in " ".join(variant.command)] == []


@each_variant
def test_a_shipped_variant_takes_part_in_an_http_workload(server: Server, variant: Variant) -> None:
    assert variant.supports & {"close", "keep-alive"}


@pytest.mark.parametrize("name", ["keep-alive", "close", "websocket-echo", "wait"])
def test_the_shipped_workloads_load_64_connections_in_every_profile(name: str) -> None:
    workload = REGISTRY.workloads[name]
    assert [level.id for level in workload.levels] == ["c64"]
    assert workload.profiles == {"smoke", "standard", "full"}


def test_of_the_closed_loops_only_waiting_and_broadcasts_are_no_capacities() -> None:
    closed = [each for each in REGISTRY.workloads.values() if each.levels[0].model == "closed"]
    assert {each.name for each in closed if not each.saturates} == {"wait", "websocket-broadcast"}


def test_the_standard_profile_measures_response_times_at_equal_rates() -> None:
    paced = {each.name for each in REGISTRY.workloads.values() if each.levels[0].model == "open"}
    assert paced == {"keep-alive-rate", "websocket-rate"}
    assert all("standard" in REGISTRY.workloads[name].profiles for name in paced)
