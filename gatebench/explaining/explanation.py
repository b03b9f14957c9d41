"""What was seen of one request from end to end, as data. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatebench.explaining.exchange import Conversation, Passage
from gatebench.explaining.trace import Step
from gatebench.model import Interface

TIMES = "counted from the client's first byte; an illustration of the order, not a measurement"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request and all that came of it.

    Attributes:
        steps: those of the application's call for it, the first of them `called`; none where the server
            answered by itself.
        lifespan: those of the first lifespan that the server started; WSGI has none.
    """

    subject: str
    interface: Interface
    command: tuple[str, ...]
    target: str
    conversation: Conversation
    steps: tuple[Step, ...]
    lifespan: tuple[Step, ...]

    @property
    def passages(self) -> tuple[Passage, ...]:
        """All bytes that passed, in order."""
        return self.conversation.passages

    @property
    def upgraded(self) -> bool:
        """Whether WebSocket frames passed."""
        return any(passage.protocol == "websocket" for passage in self.passages)

    @property
    def wants_upgrade(self) -> bool:
        """Whether the client asked for a WebSocket."""
        return b"\r\nUpgrade: websocket\r\n" in self.passages[0].data

    def at_ms(self, moment: Step | Passage) -> float:
        """Milliseconds from the client's first byte."""
        return (moment.at_s - self.passages[0].at_s) * 1000

    def to_json(self) -> dict[str, Any]:
        """The raw trace, for scripts."""
        return {
            "subject": self.subject,
            "interface": self.interface,
            "command": list(self.command),
            "target": self.target,
            "times": f"at_ms is {TIMES}",
            "wire": [
                {
                    "at_ms": round(self.at_ms(passage), 3),
                    "from": "client" if passage.sent else "server",
                    "protocol": passage.protocol,
                    "bytes": len(passage.data),
                    "latin1": passage.data.decode("latin-1"),
                }
                for passage in self.passages
            ],
            "ended": self.conversation.ended,
            "application": self._steps(self.steps),
            "lifespan": self._steps(self.lifespan),
        }

    def _steps(self, steps: Iterable[Step]) -> list[Mapping[str, Any]]:
        return [{"at_ms": round(self.at_ms(step), 3), "step": step.name, **step.details} for step in steps]


def call_of(steps: Sequence[Step], path: str, before: Collection[str] = ()) -> tuple[Step, ...]:
    """The steps of the first call for a path, but for calls named in `before`."""
    for step in steps:
        if step.name == "called" and step.call not in before and _path(step) == path:
            return tuple(each for each in steps if each.call == step.call)
    return ()


def lifespan_of(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps of the first lifespan."""
    for step in steps:
        if step.name == "called" and _value(step, "type") == "lifespan":
            return tuple(each for each in steps if each.call == step.call)
    return ()


def has_ended(steps: Sequence[Step]) -> bool:
    """Whether a call is over: the server has closed the iterable, or the coroutine has ended."""
    return any(step.name in {"closed", "returned", "raised"} for step in steps if not _is_iterable(step))


def _is_iterable(step: Step) -> bool:
    """A WSGI application that has returned has only handed over its iterable."""
    return step.name == "returned" and "kind" in step.details


def _path(step: Step) -> object:
    if "REQUEST_METHOD" in step.details["handed"]:
        return _value(step, "PATH_INFO") or "/"
    return _value(step, "path")


def _value(step: Step, key: str) -> object:
    return step.details["handed"].get(key, {}).get("value")
