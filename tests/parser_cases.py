"""Answers of every framing, ways to cut them, and what the engine's HTTP parsers say of the pieces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from loadtests.engine.http1 import AnswerReader, Verdict
from loadtests.engine.large_answer import LargeAnswer
from loadtests.engine.target import Target

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
    target: Target, pieces: Iterable[bytes], heads: Mapping[bytes, Verdict], *, then_eof: bool = True
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


def known_heads(target: Target, *answers: bytes) -> dict[bytes, Verdict]:
    """The heads of these correct answers, as the full parser reads them."""
    heads = {}
    for answer in answers:
        verdict = read(target, [answer])
        assert verdict is not None
        assert verdict.failure is None, verdict.detail
        heads[verdict.head] = verdict
    return heads


def kind(verdict: Verdict | None) -> str | None:
    """The kind of failure, None for a correct answer, `UNFINISHED` without a verdict."""
    return UNFINISHED if verdict is None else verdict.failure
