"""Questions that a Locust master asks its workers, over Locust's own connection, and their answers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gevent.event import Event
from locust.event import EventHook
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from loadtests.engine.engine_process import EngineError
from loadtests.engine.messages import Message
from loadtests.scenarios.locust_file import ScenarioError

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
