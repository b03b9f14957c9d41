"""The load process of a lab run: Locust as a library, told by the lab which cell gets the next slice.

Locust starts, holds and stops the users (one a connection); the lab sends commands over an inherited
socket, in the format of `loadtests.engine.messages`. The process ends when the lab closes it.
"""

from __future__ import annotations

# Locust patches the standard library for gevent; that has to happen before anything else is imported.
import locust  # isort: skip

import argparse
import logging
import signal
import socket
import time

import gevent
from locust.env import Environment
from locust.runners import LocalRunner

from loadtests.engine.fleet import EngineError
from loadtests.engine.messages import Message, receive_message, send_message
from loadtests.engine.target import Target
from loadtests.session import LoadSession
from loadtests.users import FleetUser

SPAWN_TIMEOUT_S = 30.0


class Lab:
    """Obeys the lab's commands, one after the other."""

    def __init__(self, control: socket.socket, cpu: int | None) -> None:
        self._control = control
        self._environment = Environment(user_classes=[], reset_stats=False)
        self._runner: LocalRunner = self._environment.create_local_runner()
        self._session = LoadSession(self._environment, cpu=cpu)

    def serve(self) -> None:
        """Serves commands until the lab closes the socket."""
        try:
            while (message := receive_message(self._control)) is not None:
                try:
                    reply = self._obey(message)
                except (EngineError, TimeoutError) as error:
                    reply = {"error": str(error)}
                send_message(self._control, reply)
        finally:
            self._runner.quit()
            LoadSession.end(self._environment)

    def _obey(self, message: Message) -> Message:
        operation = message["op"]
        if operation == "hello":
            return {"engine_pid": self._session.fleet.pid, "locust": locust.__version__}
        if operation == "spawn":
            return self._spawn(message["cells"])
        if operation == "prepare":
            return {"connections": self._session.fleet.prepare(message["cell"])}
        if operation == "slice":
            result = self._session.fleet.run_slice(message["cell"], message["window_s"])
            self._session.count(message["cell"], result)
            return {"result": result.to_json()}
        if operation == "stop":
            self._runner.stop()
            self._session.withdraw()
            return {}
        raise ValueError(f"unknown operation {operation!r}")

    def _spawn(self, cells: list[Message]) -> Message:
        """Has Locust start every user of these cells, and waits until all hold their connection."""
        self._session.declare({cell["cell"]: Target.from_json(cell["target"]) for cell in cells})
        # Locust wants a class of users for each cell, which says how many there are.
        self._environment.user_classes = [
            type(f"Cell{index}", (FleetUser,), {"group": cell["cell"], "fixed_count": cell["connections"]})
            for index, cell in enumerate(cells)
        ]
        users = sum(cell["connections"] for cell in cells)
        self._runner.start(users, spawn_rate=users)
        deadline = time.monotonic() + SPAWN_TIMEOUT_S
        while self._session.connections < users:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Locust started {self._session.connections} of {users} users in time")
            gevent.sleep(0.01)
        return {"users": self._runner.user_count}


def main() -> None:
    """Runs the load process on the socket that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket for commands")
    parser.add_argument("--engine-cpu", type=int, default=None, help="core to pin the load engine to")
    arguments = parser.parse_args()
    # Ctrl-C is for the lab, which ends this process by closing its socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("locust").setLevel(logging.ERROR)
    with socket.socket(fileno=arguments.fd) as control:
        Lab(control, arguments.engine_cpu).serve()


if __name__ == "__main__":
    main()
