"""Locust's master in a lab run: its workers, what it asks of them, and their shares."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gevent
import locust
from gevent.event import Event
from locust.env import Environment
from locust.event import EventHook
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from gatebench.machine.facts import load_side_hash
from loadtests.engine.fleet import EngineError
from loadtests.engine.protocol import Arrivals, Message
from loadtests.engine.tally import SliceResult, Tally
from loadtests.scenarios.reading import ScenarioError
from loadtests.swarm.cells import SPAWN_TIMEOUT_S, user_classes
from loadtests.swarm.shares import SharesDispatcher, shares

CALL = "gatebench_call"
REPLY = "gatebench_reply"
READY = "gatebench_ready"
POLL_S = 0.25

Operation = Callable[[Message], Message]


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer, and how long after the question it came."""

    message: Message
    after_s: float


@dataclass(slots=True)
class _Question:
    """A question to several workers that waits for their answers."""

    asked_s: float
    missing: set[str]
    replies: dict[str, Reply] = field(default_factory=dict)
    changed: Event = field(default_factory=Event)


class Calls:
    """The master's side."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._ids = itertools.count()
        self._open: dict[int, _Question] = {}
        self._ready: list[str] = []
        runner.register_message(REPLY, self._on_reply)
        runner.register_message(READY, self._on_ready)

    def ready(self) -> list[str]:
        """The workers that can be asked, in the order in which they came."""
        return [worker for worker in self._ready if self.present(worker)]

    def present(self, worker: str) -> bool:
        """Whether a worker is connected and gives signs of life, as far as Locust knows."""
        node = self._runner.clients.get(worker)
        return node is not None and node.state != STATE_MISSING

    def ask(self, questions: Mapping[str, Message], timeout_s: float) -> dict[str, Reply]:
        """Asks each worker its question at the same time, and waits for the answers.

        Returns:
            Worker → its answer, of those who gave one before the time was over or Locust missed them.
        """
        identity = next(self._ids)
        question = _Question(time.perf_counter(), set(questions))
        self._open[identity] = question
        for worker, message in questions.items():
            self._runner.send_message(CALL, {**message, "id": identity}, client_id=worker)
        deadline = time.monotonic() + timeout_s
        while any(map(self.present, question.missing)) and (left_s := deadline - time.monotonic()) > 0:
            question.changed.wait(min(left_s, POLL_S))
            question.changed.clear()
        del self._open[identity]
        return question.replies

    def _on_ready(self, msg: Any, **_: Any) -> None:
        if msg.node_id not in self._ready:
            self._ready.append(msg.node_id)

    def _on_reply(self, msg: Any, **_: Any) -> None:
        question = self._open.get(msg.data["id"])
        if question is not None and msg.node_id in question.missing:
            question.missing.discard(msg.node_id)
            question.replies[msg.node_id] = Reply(msg.data, time.perf_counter() - question.asked_s)
            question.changed.set()


def answer(runner: WorkerRunner, operations: Mapping[str, Operation]) -> None:
    """The worker's side: has each question answered by its operation, `message["op"]`.

    An error goes back as `error`; one of a single cell, which the others survive, with `cell` set.
    """

    def on_call(msg: Any, **_: Any) -> None:
        try:
            reply = operations[msg.data["op"]](msg.data)
        except ScenarioError as error:
            reply = {"error": str(error), "cell": True}
        except (EngineError, TimeoutError) as error:
            reply = {"error": str(error)}
        runner.send_message(REPLY, {**reply, "id": msg.data["id"]})

    # In a greenlet of its own: Locust's own messages are still taken while a slice runs.
    runner.register_message(CALL, on_call, concurrent=True)
    # Locust itself counts a worker before its Locust file has had the time to get here.
    runner.send_message(READY, {})


def listen(hook: EventHook, handler: Callable[..., None]) -> None:
    """Has Locust call a handler at an event."""
    hook.add_listener(handler)  # type: ignore[no-untyped-call] # Locust's


JOIN_S = 60.0
ANSWER_S = 30.0
PREPARE_S = 60.0
MARGIN_S = 5.0
BACK_S = 10.0
LATE_SHARE = 0.2
LATE_LEAST_S = 0.05
DRAIN_S = 90.0
"""Longer than a Locust file's warm-up lasts beyond what was asked, and its drain, together."""

logger = logging.getLogger(__name__)


def least(limits: Sequence[int | None]) -> int | None:
    """The least of the known ones."""
    return min((limit for limit in limits if limit is not None), default=None)


class WorkersError(RuntimeError):
    """Too few workers to go on; the text says what to do next."""


def is_late(reply: Reply, result: SliceResult, window_s: float) -> bool:
    """Whether a worker's slice began or ended at another time than the others'.

    The clocks of machines differ, so it is judged by one: what a slice took longer, as the master saw it,
    than its engine says.
    """
    return reply.after_s - result.elapsed_s > max(LATE_SHARE * window_s, LATE_LEAST_S)


class Workers:
    """The workers of a lab run, as their master sees them. A worker that was lost once stays lost.

    Args:
        environment: whose master runner is `runner`.
        expected: how many workers the lab has.
        cores: those of each worker's engines, in the order in which they join; none: they know their own.
    """

    def __init__(
        self,
        environment: Environment,
        runner: MasterRunner,
        expected: int,
        cores: Sequence[Sequence[int]] = (),
    ) -> None:
        self._environment = environment
        self._runner = runner
        self._calls = Calls(runner)
        self._expected = expected
        self._cores = cores
        self._workers: list[str] = []
        self._lost: dict[str, str] = {}
        self._shares: dict[str, dict[str, int]] = {}
        self._drain_s: dict[str, float] = {}
        environment.dispatcher_class = SharesDispatcher

    def hello(self) -> Message:
        """Waits until every worker has joined.

        Returns:
            `locust`'s version, the number of `workers`, and `open_files`: how many files an engine may have
            open, None where that is not known.

        Raises:
            WorkersError: too few came, or one of them is another version.
        """
        deadline = time.monotonic() + JOIN_S
        while len(joined := self._calls.ready()) < self._expected:
            if time.monotonic() > deadline:
                raise WorkersError(f"{len(joined)} of {self._expected} workers joined within {JOIN_S:.0f} s")
            gevent.sleep(0.05)
        self._workers = joined[: self._expected]
        for extra in joined[self._expected :]:
            logger.warning("worker %s is one more than %d; it gets no load", extra, self._expected)
        dealt = dict(zip(self._workers, self._cores, strict=False))
        replies = self._ask_each(
            {worker: {"op": "hello", "cpus": list(dealt.get(worker, ()))} for worker in self._workers},
            ANSWER_S,
        )
        mine = (locust.__version__, load_side_hash())
        strangers = [
            worker
            for worker, reply in replies.items()
            if (reply.message["locust"], reply.message["sources"]) != mine
        ]
        if self._lost or strangers:
            reasons = [f"worker {worker} {why}" for worker, why in self._lost.items()]
            reasons += [
                f"worker {worker} has another version of Locust or of Gatebench; install the same there"
                for worker in strangers
            ]
            raise WorkersError("\n".join(reasons))
        limits = [reply.message["open_files"] for reply in replies.values()]
        return {"locust": mine[0], "workers": len(self._workers), "open_files": least(limits)}

    def spawn(self, cells: Sequence[Message]) -> None:
        """Has Locust start every user of these cells, shared out over the workers that are left.

        Raises:
            ScenarioError: a cell's Locust file cannot be used; nothing is started then.
        """
        workers = [worker for worker in self._workers if worker not in self._lost]
        self._shares = {cell["cell"]: shares(cell, workers) for cell in cells}
        self._drain_s = {
            cell["cell"]: cell["target"]["timeout_s"] if cell["target"] else DRAIN_S for cell in cells
        }
        declared = {
            worker: {
                "op": "cells",
                "cells": [{**cell, "connections": self._shares[cell["cell"]][worker]} for cell in cells],
            }
            for worker in workers
        }
        try:
            self._ask_each(declared, ANSWER_S)
        except ScenarioError:
            self._ask({"op": "withdraw"}, ANSWER_S)
            raise
        driven = [cell["cell"] for cell in cells if cell["target"] is not None]
        self._environment.user_classes = user_classes(cells, self._shares)
        users = {worker: sum(self._shares[cell][worker] for cell in driven) for worker in workers}
        if driven:
            total = sum(users.values())
            self._runner.start(total, spawn_rate=total)
        self._ask_each(
            {worker: {"op": "connections", "count": count} for worker, count in users.items()},
            SPAWN_TIMEOUT_S + MARGIN_S,
        )

    def prepare(self, cell: str) -> None:
        """Untimed: reconnects what the server closed while the cell was idle."""
        self._ask_each({worker: {"op": "prepare", "cell": cell} for worker in self._holders(cell)}, PREPARE_S)

    def run_slice(self, cell: str, window_s: float, arrivals: Arrivals | None) -> SliceResult:
        """Drives one cell on all its workers at once; what lost and late ones counted is left out."""
        holders = self._holders(cell)
        replies = self._ask_each(
            {
                worker: {
                    "op": "slice",
                    "cell": cell,
                    "window_s": window_s,
                    "arrivals": arrivals.share(part, len(holders)).to_json() if arrivals else None,
                }
                for part, worker in enumerate(holders)
            },
            window_s + self._drain_s[cell] + MARGIN_S,
        )
        results, late = [], 0
        for worker, reply in replies.items():
            result = SliceResult.from_json(reply.message["result"])
            if is_late(reply, result, window_s):
                late += 1
                logger.warning("worker %s was late for a slice of %s", worker, cell)
            else:
                results.append(result)
        merged = SliceResult.merge(results) if results else _nothing(window_s)
        return replace(merged, workers_missing=len(self._lost) + late)

    def stop(self) -> None:
        """Has Locust stop all users; every connection is closed."""
        self._runner.stop()
        # A worker that has stopped leaves Locust's list, and comes back to it.
        deadline = time.monotonic() + BACK_S
        while time.monotonic() < deadline and not all(
            self._calls.present(worker) for worker in self._workers if worker not in self._lost
        ):
            gevent.sleep(0.01)
        self._ask({"op": "withdraw"}, ANSWER_S)

    def close(self) -> None:
        """Ends every worker."""
        self._runner.quit()

    def _holders(self, cell: str) -> list[str]:
        """The workers that were given connections of a cell, the lost ones included."""
        return [worker for worker, connections in self._shares[cell].items() if connections]

    def _ask(self, message: Message, timeout_s: float) -> dict[str, Reply]:
        return self._ask_each(dict.fromkeys(self._workers, message), timeout_s)

    def _ask_each(self, questions: Mapping[str, Message], timeout_s: float) -> dict[str, Reply]:
        """Asks those who are not lost; whoever gives no answer is, from now on.

        Raises:
            ScenarioError: a cell's Locust file cannot be used.
            WorkersError: no worker is left.
        """
        asked = {worker: message for worker, message in questions.items() if worker not in self._lost}
        replies = self._calls.ask(asked, timeout_s)
        for worker in asked:
            reply = replies.get(worker)
            if reply is None:
                self._lose(worker, f"gave no answer within {timeout_s:.1f} s, or no sign of life")
            elif reply.message.get("cell"):
                raise ScenarioError(reply.message["error"])
            elif error := reply.message.get("error"):
                self._lose(worker, f"failed: {error}")
        if self._workers and len(self._lost) == len(self._workers):
            reasons = (f"worker {worker} {why}" for worker, why in self._lost.items())
            raise WorkersError("\n".join(("every worker is lost:", *reasons)))
        return {worker: reply for worker, reply in replies.items() if worker not in self._lost}

    def _lose(self, worker: str, why: str) -> None:
        self._lost[worker] = why
        logger.warning("worker %s %s; its load is missing from here on", worker, why)


def _nothing(window_s: float) -> SliceResult:
    """A slice of which no worker told in time."""
    return SliceResult.of(
        Tally(),
        window_s=window_s,
        elapsed_s=window_s,
        busy_share=0.0,
        started_unix_ns=time.time_ns(),
        turns=(0, window_s),
    )
