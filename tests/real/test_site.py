"""The agent and the load process that it starts."""

from __future__ import annotations

from pathlib import Path

from gatebench.machine.cores import available_cores
from gatebench.runners.docker.site import ContainerSite
from gatebench.words.paths import HOST
from tests.support.agent import running_agent


def test_load_goes_through_the_agent_to_its_child(tmp_path: Path) -> None:
    with running_agent(tmp_path) as agent:
        there = ContainerSite(agent)
        there.start_load(["--engine-cpu", str(available_cores()[0])])
        assert agent.hello()["locust"]
        agent.stop()
        assert there.fresh_ports(HOST, 1)  # the agent's own commands still are its own
