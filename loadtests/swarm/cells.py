"""The cells that one process drives for a lab: in its own engines, or as ordinary Locust files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import gevent
from locust import User
from locust.env import Environment

from loadtests.engine.protocol import Arrivals, Message, Target
from loadtests.engine.tally import SliceResult
from loadtests.scenarios.scenario import Scenario
from loadtests.swarm.users import FleetUser, LoadSession

SPAWN_TIMEOUT_S = 30.0


def user_classes(
    cells: Sequence[Message], shares: Mapping[str, Mapping[str, int]] | None = None
) -> list[type[User]]:
    """A class of Locust users for each cell that the load engine drives.

    Args:
        cells: what the lab declared.
        shares: cell → worker → connections, where workers hold them; see `SharesDispatcher`.
    """
    return [
        type(
            f"Cell{index}",
            (FleetUser,),
            {
                "group": cell["cell"],
                "fixed_count": cell["connections"],
                "shares": (shares or {}).get(cell["cell"], {}),
                "apart": cell.get("apart", False),
            },
        )
        for index, cell in enumerate(cells)
        if cell["target"] is not None
    ]


class Cells:
    """What one process holds of a lab's cells.

    A cell is a message of `cell` (its name), `connections`, and either `target` or `locustfile`, `host`,
    `transport` and `options`; `apart` where its connections are opened one by one.
    """

    def __init__(self, environment: Environment, session: LoadSession) -> None:
        self._environment = environment
        self._session = session
        self._scenarios: dict[str, Scenario] = {}

    def declare(self, cells: Sequence[Message]) -> None:
        """Makes cells known to the engines and to Locust.

        Raises:
            ScenarioError: a Locust file cannot be used; nothing is declared then.
        """
        with ExitStack() as undo:
            undo.callback(self._close_scenarios)
            for cell in cells:
                if cell["target"] is None and cell["connections"]:
                    file, name = Path(cell["locustfile"]), cell["cell"]
                    self._scenarios[name] = Scenario(
                        file,
                        cell["host"],
                        cell["connections"],
                        transport=cell["transport"],
                        options=cell["options"],
                    )
            undo.pop_all()
        self._session.declare(
            {cell["cell"]: Target.from_json(cell["target"]) for cell in cells if cell["target"] is not None}
        )
        self._environment.user_classes = user_classes(cells)

    def wait_for_connections(self, count: int) -> None:
        """Waits until Locust's users hold so many connections.

        Raises:
            TimeoutError: they do not, although there was time enough.
        """
        deadline = time.monotonic() + SPAWN_TIMEOUT_S
        while self._session.connections != count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Locust started {self._session.connections} of {count} users in time")
            gevent.sleep(0.01)

    def prepare(self, cell: str) -> None:
        """Untimed: reconnects what the server closed while the cell was idle."""
        if cell not in self._scenarios:
            self._session.fleet.prepare(cell)

    def run_slice(self, cell: str, window_s: float, arrivals: Arrivals | None) -> SliceResult:
        """Drives one cell for `window_s` seconds and drains it."""
        if scenario := self._scenarios.get(cell):
            return scenario.run_slice(window_s)
        result = self._session.fleet.run_slice(cell, window_s, arrivals)
        self._session.count(cell, result)
        return result

    def withdraw(self) -> None:
        """Forgets every cell; Locust has stopped their users before."""
        self._session.withdraw()
        self._close_scenarios()

    def _close_scenarios(self) -> None:
        for scenario in self._scenarios.values():
            scenario.close()
        self._scenarios.clear()
