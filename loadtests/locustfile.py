"""The Locust file: HTTP keep-alive, HTTP with a connection a request, and WebSocket echo.

`locust -f loadtests/locustfile.py --host http://127.0.0.1:8000` works on its own, with Locust's web UI,
its master and its workers. One Locust user is one connection, in a closed loop; every byte of every
answer is held against `apps/contract.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from gatebench.contract import Contract, load_contract
from loadtests.engine.target import Target
from loadtests.session import LoadSession
from loadtests.users import FleetUser, split_host

CONTRACT: Contract = load_contract(Path(__file__).resolve().parent.parent / "apps" / "contract.toml")


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Adds this file's own options to Locust's command line and to its web form."""
    group = parser.add_argument_group("Gatebench")
    group.add_argument("--path", default="/plaintext", help="a GET route of apps/contract.toml")
    group.add_argument("--engine-cpu", type=int, default=None, help="core to pin the load engine to")


@events.test_start.add_listener
def start_session(environment: Environment, **_: Any) -> None:
    """Starts the engine before the first user."""
    options = environment.parsed_options
    LoadSession(
        environment,
        cpu=options.engine_cpu if options else None,
        on_engine_end=lambda: fail_without_engine(environment),
    )


def fail_without_engine(environment: Environment) -> None:
    """Ends the test as failed: without its engine, Locust would go on showing the last figures."""
    environment.stats.log_error(
        "ENGINE", "load engine", "the load engine's process ended in the middle of the test"
    )
    environment.process_exit_code = 1
    runner, options = environment.runner, environment.parsed_options
    if runner is not None:
        gevent.spawn(runner.quit if options is not None and options.headless else runner.stop)


@events.quitting.add_listener
def count_the_rest(environment: Environment, **_: Any) -> None:
    """Lets failures since the last report into Locust's exit status, which it computes after this event."""
    if (session := LoadSession.existing(environment)) is not None:
        session.count_the_rest()


@events.test_stop.add_listener
def end_session(environment: Environment, **_: Any) -> None:
    """Ends the engine with the test."""
    LoadSession.end(environment)


class HttpFleetUser(FleetUser):
    """Repeats one GET of the contract."""

    abstract = True

    def join(self, session: LoadSession, group: str) -> str:
        """Opens a connection to the contract's route at Locust's host."""
        host, port = split_host(self.host)
        path = self.environment.parsed_options.path if self.environment.parsed_options else "/plaintext"
        expected = CONTRACT.expect("GET", path)
        target = Target(
            host=host,
            port=port,
            transport=self.transport,
            path=path,
            status=expected.status,
            headers=dict(expected.headers),
            answer=expected.body,
        )
        return session.join(group, target)


class KeepAliveUser(HttpFleetUser):
    """One connection, kept open over all its requests."""

    transport = "keep-alive"


class CloseUser(HttpFleetUser):
    """One connection at a time, a new one for every request."""

    transport = "close"


class WebSocketUser(FleetUser):
    """One WebSocket that echoes numbered, masked messages."""

    transport = "websocket"

    def join(self, session: LoadSession, group: str) -> str:
        """Opens a WebSocket to the echo route at Locust's host."""
        host, port = split_host(self.host)
        return session.join(group, Target(host=host, port=port, transport="websocket", path="/ws/echo"))
