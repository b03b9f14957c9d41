"""A plain `locust` with the engine's users: options, totals, and the local, master or worker side."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import STATE_MISSING, STATE_STOPPED, STATE_STOPPING, MasterRunner, WorkerRunner

from gatebench.contract.file import load_contract
from gatebench.words.errors import ConfigurationError
from loadtests.engine.protocol import Message
from loadtests.swarm.master import Calls, answer, listen
from loadtests.swarm.totals import TestResult, results_of
from loadtests.swarm.users import LoadSession
from loadtests.swarm.worker import LabWorker

CONTRACT = load_contract(Path(__file__).resolve().parents[2] / "apps" / "contract.toml")


def contract_path(text: str) -> str:
    """A path that the contract has a fixed answer for."""
    try:
        CONTRACT.expect("GET", text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def core_numbers(text: str) -> tuple[int, ...]:
    """`1,2` → (1, 2), each one a core that a process can be pinned to."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be core numbers such as 1 or 1,2")
    cores = tuple(map(int, parts))
    wrong = [core for core in cores if not _exists(core)]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"there is no core {', '.join(map(str, wrong))} for this process, which may use "
            f"{', '.join(map(str, sorted(os.sched_getaffinity(0))))}"
        )
    return cores


def writable_file(text: str) -> str:
    """A file in a folder that exists."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} must name a file in a folder that exists")
    return text


def _exists(core: int) -> bool:
    """Whether a process may run there: a lab's processes are let on few cores, and yet may choose another."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, OverflowError):
        return False
    os.sched_setaffinity(0, before)
    return True


class EngineCores(argparse.Action):
    """Collects the cores of a repeated option.

    `given` remembers what this process was told: when a test starts, a master's options replace its workers'
    own, and its cores are not theirs.
    """

    given: ClassVar[tuple[int, ...]] = ()

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: Any,
        _: Any = None,
    ) -> None:
        """Adds the cores of one occurrence."""
        cores = (*(getattr(namespace, self.dest) or ()), *values)
        if len(set(cores)) < len(cores):
            raise argparse.ArgumentError(self, "a core is named twice; give each engine its own")
        setattr(namespace, self.dest, cores)
        EngineCores.given = cores


def add_options(parser: LocustArgumentParser) -> None:
    """Adds the options to Locust's command line, and the path to its web form."""
    group = parser.add_argument_group("Gatebench")
    group.add_argument(
        "--path", type=contract_path, default="/plaintext", help="a GET route of apps/contract.toml"
    )
    cores: dict[str, Any] = {"metavar": "CORES", "type": core_numbers, "action": EngineCores, "default": None}
    parser.add_argument(
        "--engine-cpu",
        **cores,
        include_in_web_ui=False,
        help="cores to run load engines on, one engine each: 1 or 1,2; each worker has its own",
    )
    parser.add_argument(
        "--exact-json",
        metavar="FILE",
        type=writable_file,
        include_in_web_ui=False,
        help="where to write, at the test's end, what all workers counted, to the microsecond",
    )


TOTALS = "gatebench_totals"
ANSWER_S = 15.0
ALONE = "this process"

logger = logging.getLogger(__name__)


class EngineSide:
    """The part of a process that has engines: a Locust worker, or a local run.

    Args:
        cpus: the core that each engine is pinned to, or None for one that is not.
    """

    def __init__(self, environment: Environment, cpus: Sequence[int | None]) -> None:
        self._environment = environment
        self._cpus = cpus
        listen(environment.events.quitting, self._quit)

    def begin(self) -> None:
        """Starts the engines before the first user; not those of a lab, which are there already."""
        if LoadSession.existing(self._environment) is None:
            LoadSession(self._environment, cpus=self._cpus, on_engine_end=self._fail)

    def end(self) -> Message | None:
        """Ends the engines; what they counted, for `TestResult.hear`; None if that was told before."""
        session = LoadSession.existing(self._environment)
        if session is None or session.lasting:
            return None
        LoadSession.end(self._environment)
        groups = {group: result.to_json() for group, result in session.totals.results().items()}
        return {"groups": groups, "fault": session.fault}

    def _quit(self, **_: Any) -> None:
        """Before Locust computes its exit status: takes what was counted since the last report."""
        session = LoadSession.existing(self._environment)
        if session is not None and session.lasting:
            LoadSession.end(self._environment)
        elif session is not None:
            session.count_the_rest()

    def _fail(self) -> None:
        """Ends the test as failed: without its engine, Locust would go on showing the last figures."""
        environment = self._environment
        text = "the load engine's process ended in the middle of the test"
        logger.error(text)
        environment.stats.log_error("ENGINE", "load engine", text)
        environment.process_exit_code = 1
        runner, options = environment.runner, environment.parsed_options
        if runner is not None:
            gevent.spawn(runner.quit if options is not None and options.headless else runner.stop)


class LocalTest(EngineSide):
    """A test in one process."""

    def __init__(self, environment: Environment, cpus: Sequence[int | None]) -> None:
        super().__init__(environment, cpus)
        listen(environment.events.test_stop, self._end)

    def _end(self, **_: Any) -> None:
        message = self.end()
        if message is not None:
            lost = {ALONE: message["fault"]} if message["fault"] else {}
            result = TestResult(heard={ALONE: results_of(message)}, lost=lost)
            publish(self._environment, result)


class WorkerTest(EngineSide):
    """A worker's part of a test; its master may be a lab."""

    def __init__(self, environment: Environment, runner: WorkerRunner, cpus: Sequence[int | None]) -> None:
        super().__init__(environment, cpus)
        self._runner = runner
        listen(environment.events.test_stop, self._end)
        answer(runner, {**LabWorker(environment, cpus).operations(), "totals": self._tell})

    def _tell(self, _: Message) -> Message:
        return {"totals": self.end()}

    def _end(self, **_: Any) -> None:
        """Tells without being asked, where this worker stops before its master's test has ended."""
        totals = self.end()
        if totals is not None:
            self._runner.send_message(TOTALS, totals)


class MasterTest:
    """The master's part: it hears every worker, and knows who is missing."""

    def __init__(self, environment: Environment, runner: MasterRunner) -> None:
        self._environment = environment
        self._runner = runner
        self._calls = Calls(runner)
        self._running = False
        self._joined: list[str] = []
        self._result = TestResult()
        runner.register_message(TOTALS, self._hear)
        listen(environment.events.worker_connect, self._join)
        listen(environment.events.test_stop, self._end)

    def begin(self) -> None:
        """Remembers who is to be heard at the end."""
        self._running = True
        self._result = TestResult()
        clients = self._runner.clients
        self._joined = [worker for worker in clients if clients[worker].state != STATE_MISSING]

    def _join(self, client_id: str, **_: Any) -> None:
        if self._running and client_id not in self._joined:
            self._joined.append(client_id)

    def _hear(self, msg: Any, **_: Any) -> None:
        if not self._running:
            return
        if self._runner.state not in (STATE_STOPPING, STATE_STOPPED):
            self._result.lose(msg.node_id, msg.data["fault"] or "it stopped before the test's end")
        else:
            self._result.hear(msg.node_id, msg.data)

    def _end(self, **_: Any) -> None:
        """Asks everybody who has not told yet, while Locust still takes messages."""
        result = self._result
        silent = [worker for worker in self._joined if not result.knows(worker)]
        replies = self._calls.ask({worker: {"op": "totals"} for worker in silent}, ANSWER_S)
        for worker in silent:
            message = replies[worker].message if worker in replies else {}
            if message.get("totals") is not None:
                result.hear(worker, message["totals"])
            else:
                result.lose(worker, message.get("error") or "it gave no sign of life at the test's end")
        self._running = False
        options = self._environment.parsed_options
        result.expected = max(len(self._joined), options.expect_workers if options is not None else 0)
        publish(self._environment, result)


def publish(environment: Environment, result: TestResult) -> None:
    """Logs the exact result, and writes it to the file that `--exact-json` names.

    A result that lacks a worker makes Locust's exit status 1.
    """
    for line in result.lines():
        logger.info(line)
    for worker, why in result.lost.items():
        logger.error("%s was lost: %s. Its load is not in the result, which is not valid", worker, why)
    unknown = result.expected - len(result.heard) - len(result.lost)
    if unknown > 0:
        logger.error(
            "%d of %d expected workers never joined; the result is not valid", unknown, result.expected
        )
    if not result.complete:
        environment.process_exit_code = 1
    file = environment.parsed_options.exact_json if environment.parsed_options is not None else None
    if file is not None:
        try:
            Path(file).write_text(json.dumps(result.to_json(), indent=1) + "\n")
        except OSError as error:
            text = "the exact result could not be written: %s (--exact-json)"
            logger.error(text, error)  # noqa: TRY400 - for a person, who needs no traceback
            environment.process_exit_code = 1
