"""The servers' machine as the agent in the load generator's container sees it (`gatebench.agent`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatebench.cgroup import Usage
from gatebench.load import LoadProcess
from gatebench.readiness import Heard
from gatebench.site import Address, Check, Fetched
from gatebench.verify import Difference

VERIFY_MARGIN_S = 300.0
"""Far over what many servers take that each fail several cases by a timeout."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the agent read at one moment; None where it could not."""

    usage: Usage
    listen_drops: int | None
    steal_s: float | None


class ContainerSite:
    """Asks the agent.

    Args:
        load: the process that speaks with the agent's container.
    """

    def __init__(self, load: LoadProcess) -> None:
        self._load = load

    def ready(self, checks: Sequence[Check], within_s: float) -> list[Heard]:
        """For each server, what came of asking `GET /` until it is right, or for that long."""
        message = {"op": "site.ready", "checks": [_values(each) for each in checks], "within_s": within_s}
        return [Heard(**each) for each in self._load.ask(message, timeout_s=within_s)["heard"]]

    def verify(
        self, checks: Sequence[Check], *, thorough: bool, timeout_s: float
    ) -> list[tuple[Difference, ...]]:
        """For each server, every difference from the contract."""
        message = {
            "op": "site.verify",
            "checks": [_values(each) for each in checks],
            "thorough": thorough,
            "timeout_s": timeout_s,
        }
        reply = self._load.ask(message, timeout_s=VERIFY_MARGIN_S)
        return [tuple(Difference(**each) for each in found) for found in reply["differences"]]

    def fetch(self, addresses: Sequence[Address], target: str, *, timeout_s: float) -> list[Fetched]:
        """For each server, its answer to one GET, which has at most 256 KiB."""
        message = {
            "op": "site.fetch",
            "addresses": [list(address) for address in addresses],
            "target": target,
            "timeout_s": timeout_s,
        }
        answers = self._load.ask(message, timeout_s=timeout_s * len(addresses))["answers"]
        return [Fetched(each["status"], each["latin1"].encode("latin-1"), each["error"]) for each in answers]

    def see(self, container: str, cores: Sequence[int]) -> Seen:
        """A container's use of CPU and memory, and the machine's counters, now."""
        reply = self._load.ask({"op": "site.usage", "container": container, "cores": list(cores)})
        return Seen(Usage(**reply["usage"]), reply["listen_drops"], reply["steal_s"])

    def port_use(self, host: str, port: int) -> float | None:
        """Share of the load generator's local ports that connections to a server occupy."""
        share = self._load.ask({"op": "site.port-use", "host": host, "port": port})["share"]
        return None if share is None else float(share)

    def fresh_ports(self, host: str, count: int) -> list[int]:
        """Ports of that machine that are free now, none of them given out before."""
        return list(self._load.ask({"op": "site.ports", "host": host, "count": count})["ports"])

    def start_load(self, arguments: Sequence[str]) -> None:
        """Starts the load process in the container, with arguments of `loadtests.lab`."""
        self._load.ask({"op": "site.load", "arguments": list(arguments)})


def _values(check: Check) -> dict[str, Any]:
    return {
        "host": check.host,
        "port": check.port,
        "interface": check.interface,
        "supports": sorted(check.supports),
        "workers": check.workers,
    }
