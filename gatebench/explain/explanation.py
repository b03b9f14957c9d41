"""What is known of one live request: the bytes on the wire and the steps of the application's call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatebench.explain.exchange import Conversation, Passage
from gatebench.explain.trace import Step
from gatebench.words.model import Interface

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


OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


_EXTENDED = {126: 2, 127: 8}
"""Length in the second byte → how many bytes the true length has then."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame.

    Attributes:
        header: its bytes before the payload, the masking key included.
        payload: unmasked; without what of it did not come.
    """

    header: bytes
    kind: str
    final: bool
    masked: bool
    length: int
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """Of a close frame that has one."""
        return int.from_bytes(self.payload[:2]) if self.kind == "close" and len(self.payload) > 1 else None


def frames(data: bytes) -> Iterator[Frame]:
    """The frames in `data`, the last of which may be incomplete; a header that is, is left out."""
    while len(data) >= 2:
        length, start = data[1] & 0x7F, 2
        if extended := _EXTENDED.get(length):
            length, start = int.from_bytes(data[2 : 2 + extended]), 2 + extended
        masked = bool(data[1] & 0x80)
        key = data[start : start + 4] if masked else bytes(4)
        start += 4 if masked else 0
        if len(data) < start:
            return
        payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(data[start : start + length]))
        kind = OPCODES.get(data[0] & 0x0F, f"opcode {data[0] & 0x0F}")
        yield Frame(data[:start], kind, bool(data[0] & 0x80), masked, length, payload)
        data = data[start + length :]
