"""Answers of every framing, ways to cut them, and what the engine's HTTP parsers say of the pieces."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from loadtests.engine.group import Group
from loadtests.engine.http import HttpConnection
from loadtests.engine.http_parser import AnswerReader, Verdict
from loadtests.engine.known_answers import Heads, KnownHeads, LargeAnswer
from loadtests.engine.protocol import Target
from loadtests.engine.slot import Loop
from loadtests.engine.tally import Tally

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
UNFINISHED = "unfinished"


def target_for(body: bytes) -> Target:
    """The target whose right answer has this body."""
    return Target("127.0.0.1", 1, "keep-alive", headers={"content-type": "text/plain"}, answer=body)


def with_length(body: bytes, head: bytes = PLAIN) -> bytes:
    """An answer with Content-Length."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(body: bytes, sizes: Iterable[int], head: bytes = PLAIN) -> bytes:
    """A chunked answer: chunks of these sizes as far as the body goes, then the rest in one."""
    chunks, rest = [], body
    for size in sizes:
        if rest[:size]:
            chunks.append(rest[:size])
        rest = rest[size:]
    if rest:
        chunks.append(rest)
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def until_eof(body: bytes) -> bytes:
    """An answer whose body ends with the connection."""
    return PLAIN + b"Connection: close\r\n\r\n" + body


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in the pieces that lie between these places; none is empty."""
    edges = sorted({place for place in places if 0 < place < len(data)} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(edges)]


def read(target: Target, pieces: Iterable[bytes], *, then_eof: bool = True) -> Verdict | None:
    """The full parser's verdict on these pieces; None if it still waits after the last."""
    reader = AnswerReader(target)
    for piece in pieces:
        if verdict := reader.feed(piece):
            return verdict
    return reader.feed(b"") if then_eof else None


def check(
    target: Target, pieces: Iterable[bytes], heads: KnownHeads, *, then_eof: bool = True
) -> tuple[Verdict | None, bool]:
    """The verdict that the engine comes to on a large answer, and whether the checker recognised it whole."""
    checker = LargeAnswer(target.answer, heads)
    reader: AnswerReader | None = None
    for piece in [*pieces, b""] if then_eof else pieces:
        if reader is None:
            progress = checker.take(piece)
            if progress == "complete":
                return Verdict(reusable=checker.reusable), True
            if progress == "exact":
                continue
            reader = AnswerReader(target)
            taken = checker.so_far()
            if taken and (verdict := reader.feed(taken)):
                return verdict, False
        if verdict := reader.feed(piece):
            return verdict, False
    return None, False


def known_heads(target: Target, *answers: bytes) -> Heads:
    """The heads of these correct answers, as the full parser reads them."""
    heads = Heads(target.headers or ())
    for answer in answers:
        verdict = read(target, [answer])
        assert verdict is not None
        assert verdict.failure is None, verdict.detail
        heads.learn(verdict)
    return heads


def kind(verdict: Verdict | None) -> str | None:
    """The kind of failure, None for a correct answer, `UNFINISHED` without a verdict."""
    return UNFINISHED if verdict is None else verdict.failure


class Taker:
    """One connection of the real engine without a socket: it takes pieces and says what it made of them.

    Args:
        target: what it asks for.
        known: correct answers that it has seen before.

    Attributes:
        recognised: how many correct answers it took without the full parser.
    """

    def __init__(self, target: Target, *known: bytes) -> None:
        self._loop = Loop()
        self.group = Group(target, self._loop)
        self.recognised = 0
        for answer in known:
            assert self.take([answer])[0] is None, answer

    def take(self, pieces: Iterable[bytes], *, then_eof: bool = True) -> tuple[str | None, bool]:
        """The kind of failure (`UNFINISHED` without a verdict), and whether the connection stays open."""
        group, slot = self.group, HttpConnection(self.group)
        group.tally = Tally()
        learned = len(group.accepted)
        slot._begin(0)
        for piece in [*pieces, b""] if then_eof else pieces:
            slot._take(piece, 1)
            if not slot.in_flight:
                break
        if slot.in_flight:
            group.in_flight = 0
            return UNFINISHED, False
        found = [kind for kind, count in group.tally.failures.items() if count]
        assert len(found) + group.tally.completed + group.tally.drained == 1
        self.recognised += not found and len(group.accepted) == learned
        return (found[0], False) if found else (None, slot._reused)

    def close(self) -> None:
        """Gives back what the loop holds."""
        self._loop.close()
