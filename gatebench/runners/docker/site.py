"""The servers' machine as the agent in the load container sees it (`gatebench.runners.docker.agent`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatebench.contract.own import Told, request_values, told_of
from gatebench.contract.site import Address, Check, Fetched, Heard
from gatebench.contract.verify import Difference
from gatebench.load.process import LoadProcess
from gatebench.machine.cgroup import Usage
from gatebench.machine.kernel import CoreTime

VERIFY_MARGIN_S = 300.0
"""Far over what many servers take that each fail several cases by a timeout."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the agent read at one moment; None where it could not.

    Attributes:
        core: how long tasks have run on the servers' cores.
        used_s: container → its CPU seconds, of the others that were asked for.
        aside: how long tasks have run on other cores that were asked for.
    """

    usage: Usage
    listen_drops: int | None
    steal_s: float | None
    core: CoreTime | None = None
    used_s: Mapping[str, float] = field(default_factory=dict)
    aside: CoreTime | None = None


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

    def listen(self, checks: Sequence[Check], *, timeout_s: float) -> list[list[tuple[Told, ...]]]:
        """For each server and each of the requests that it is asked, its different answers."""
        message = {
            "op": "site.listen",
            "checks": [_values(each) for each in checks],
            "timeout_s": timeout_s,
        }
        heard = self._load.ask(message, timeout_s=VERIFY_MARGIN_S)["heard"]
        return [[tuple(map(told_of, several)) for several in each] for each in heard]

    def see(
        self,
        container: str,
        measured: Sequence[int] = (),
        server: Sequence[int] = (),
        neighbours: Sequence[str] = (),
        aside: Sequence[int] = (),
    ) -> Seen:
        """A container's use of CPU and memory, and what is around it (`Around`), now.

        Args:
            container: its ID.
            measured: cores, as in `Around`.
            server: cores, as in `Around`.
            neighbours: IDs of other containers.
            aside: more cores, of a database.
        """
        message = {
            "op": "site.usage",
            "container": container,
            "cores": list(measured),
            "server_cores": list(server),
            "neighbours": list(neighbours),
            "aside": list(aside),
        }
        reply = self._load.ask(message)
        core, beside = reply["core"], reply["aside"]
        return Seen(
            Usage(**reply["usage"]),
            reply["listen_drops"],
            reply["steal_s"],
            None if core is None else CoreTime(**core),
            reply["used_s"],
            None if beside is None else CoreTime(**beside),
        )

    def port_use(self, host: str, port: int) -> float | None:
        """Share of the load generator's local ports that connections to a server occupy."""
        share = self._load.ask({"op": "site.port-use", "host": host, "port": port})["share"]
        return None if share is None else float(share)

    def fresh_ports(self, host: str, count: int) -> list[int]:
        """Ports of that machine that are free now, none of them given out before."""
        return list(self._load.ask({"op": "site.ports", "host": host, "count": count})["ports"])

    def start_load(self, arguments: Sequence[str]) -> None:
        """Starts the load process in the container, with arguments of `loadtests.swarm.process`."""
        self._load.ask({"op": "site.load", "arguments": list(arguments)})


def _values(check: Check) -> dict[str, Any]:
    scope = check.scope
    return {
        "host": check.host,
        "port": check.port,
        "interface": check.interface,
        "supports": sorted(check.supports),
        "workers": check.workers,
        "scope": None
        if scope is None
        else {"routes": sorted(scope.routes), "keeps": scope.keeps, "sockets": sorted(scope.sockets)},
        "asks": [request_values(each) for each in check.asks],
        "routes": None if check.routes is None else sorted(check.routes),
    }
