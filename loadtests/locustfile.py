"""The Locust file: HTTP keep-alive, HTTP with a connection a request, and WebSocket echo.

`locust -f loadtests/locustfile.py --host http://127.0.0.1:8000` works on its own, with Locust's web UI,
its master and its workers. One Locust user is one connection, in a closed loop; every byte of every
answer is held against `apps/contract.toml`. At a test's end the master, or a run without workers, tells what
all workers counted to the microsecond (`--exact-json FILE`). A lab's workers are started from this file, too.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from gatebench.words.errors import ConfigurationError
from loadtests.engine.protocol import Target
from loadtests.swarm.master import listen
from loadtests.swarm.plain import CONTRACT, EngineCores, LocalTest, MasterTest, WorkerTest, add_options
from loadtests.swarm.users import FleetUser, LoadSession, parse_host

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Adds this file's own options."""
    add_options(parser)


@events.init.add_listener
def prepare(environment: Environment, runner: Any, **_: Any) -> None:
    """Gives this process its part: a local run, a master, or a worker."""
    cpus = EngineCores.given or (None,)
    if isinstance(runner, WorkerRunner):
        begin = WorkerTest(environment, runner, cpus).begin
    else:
        options = environment.parsed_options
        if options is not None and options.headless and (problem := find_problem(environment)):
            logger.error(problem)
            sys.exit(2)
        offer_chosen_users(environment)
        test = MasterTest(environment, runner) if isinstance(runner, MasterRunner) else None
        begin = test.begin if test else LocalTest(environment, cpus).begin

    def begin_test(**_: Any) -> None:
        if not isinstance(runner, WorkerRunner) and (problem := find_problem(environment)):
            logger.error(problem)
            raise gevent.GreenletExit  # ends Locust's attempt to start, and nothing else
        begin()

    listen(environment.events.test_start, begin_test)


def offer_chosen_users(environment: Environment) -> None:
    """Leaves the class picker the users that the command line names, where it names some.

    Locust itself offers and ticks every user of the file, also those that the server cannot answer.
    """
    chosen = environment.parsed_options.user_classes if environment.parsed_options is not None else ()
    if chosen:
        offered = environment.available_user_classes or {}
        environment.available_user_classes = {name: offered[name] for name in offered if name in chosen}


def find_problem(environment: Environment) -> str:
    """What makes a test impossible, in words; empty where nothing does. The web form can be wrong, too."""
    hosts = [environment.host] if environment.host else [each.host for each in environment.user_classes]
    try:
        for host in hosts:
            parse_host(host)
        if environment.parsed_options is not None:
            CONTRACT.expect("GET", environment.parsed_options.path)
    except (ValueError, ConfigurationError) as error:
        return str(error)
    return ""


class HttpFleetUser(FleetUser):
    """Repeats one GET of the contract."""

    abstract = True

    def join(self, session: LoadSession, group: str) -> str:
        """Opens a connection to the contract's route at Locust's host."""
        site = parse_host(self.host)
        path = self.environment.parsed_options.path if self.environment.parsed_options else "/plaintext"
        expected = CONTRACT.expect("GET", path)
        target = Target(
            host=site.address(),
            port=site.port,
            authority=site.authority,
            transport=self.transport,
            path=site.prefix + path,
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
        site = parse_host(self.host)
        target = Target(
            host=site.address(),
            port=site.port,
            authority=site.authority,
            transport="websocket",
            path=f"{site.prefix}/ws/echo",
        )
        return session.join(group, target)
