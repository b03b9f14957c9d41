"""Feeds mutated answers and frames to the parsers: `python -m tests.support.fuzz_parsers --seconds 30`.

Whatever comes, the parsers classify it and raise nothing; what the checker of large answers accepts, the full
parser accepts too; and both come to the same verdict. A violation is reported with its seed and its bytes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from random import Random

import h11

from loadtests.engine.tally import FAILURES
from tests.support.fuzz_websocket import BREACHES, websocket_violation
from tests.support.parser_cases import (
    PLAIN,
    UNFINISHED,
    Taker,
    check,
    cut,
    in_chunks,
    kind,
    known_heads,
    read,
    target_for,
    until_eof,
    with_length,
)

BODY = bytes(range(256)) + b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n" * 4
TARGET = target_for(BODY)
HTTP_SEEDS = [
    with_length(BODY),
    in_chunks(BODY, [1, 2, 16, 100]),
    in_chunks(BODY, []),
    until_eof(BODY),
    b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(BODY),
    with_length(BODY, PLAIN.replace(b"1.1", b"1.0")),
    in_chunks(BODY, [7] * 60)[:-2] + b"X-Sum: 1\r\n\r\n",
    in_chunks(BODY, [9]).replace(b"\r\n9\r\n", b"\r\n0009;a=b\r\n"),
]
HEADS = known_heads(TARGET, *HTTP_SEEDS)


def varied(random: Random, answer: bytes) -> bytes:
    """The answer with what services add to a head: an identifier, a time, sometimes a cookie."""
    lines = [
        b"X-Request-Id: %s" % random.randbytes(16).hex().encode(),
        b"Date: Sun, 29 Nov 2026 05:%02d:%02d.%03d GMT" % tuple(map(random.randrange, (60, 60, 1000))),
        b"Server-Timing: app;dur=%.3f, db;dur=%d" % (random.random() * 10, random.randrange(1000)),
    ]
    if random.random() < 0.3:
        lines.insert(random.randrange(2), b"Set-Cookie: s=%d; Path=/" % random.getrandbits(40))
    return answer.replace(b"Content-Type:", b"\r\n".join(lines) + b"\r\nContent-Type:", 1)


HTTP_SEEDS += [
    in_chunks(BODY[:-9], [16] * 9),
    in_chunks(BODY + b"!", [16] * 9),
    in_chunks(BODY, [50]) + b"\r\n",
    with_length(BODY) + with_length(BODY),
]


def mutated(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """The data with zero to three mutations: flip, insert, delete, duplicate, truncate, splice, digit."""
    out = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        at, span = random.randrange(len(out) + 1), random.choice((1, 1, 2, 5, 40))
        match random.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << random.randrange(8)
            case 1:
                out[at:at] = random.choice((random.randbytes(span), b"\r\n", b"0", b"\xff", b";", b" "))
            case 2:
                del out[at : at + span]
            case 3:
                out[at:at] = out[at : at + span]
            case 4:
                del out[at:]
            case 5:
                other = random.choice(others)
                out[at:] = other[random.randrange(len(other) + 1) :]
            case _:
                out[at : at + 1] = random.choice(b"0123456789abcdefABCDEF").to_bytes()
    return bytes(out)


def pieces_of(random: Random, data: bytes) -> list[bytes]:
    """The data in random pieces; often whole, sometimes byte by byte."""
    count = random.choice((0, 1, 2, 5, 20, len(data)))
    return cut(data, [random.randrange(len(data) + 1) for _ in range(count)])


def head_violation(taker: Taker, pieces: list[bytes]) -> str | None:
    """What the engine made wrong of an answer whose head it may have learned, or None.

    The engine goes on learning from whatever the full parser accepts.
    """
    full, waits = read(TARGET, pieces), read(TARGET, pieces, then_eof=False)
    found = taker.take(pieces, then_eof=False)
    if waits is None and found[0] != UNFINISHED:
        return f"the full parser waits for more, the engine says {found}"
    if waits is None:
        found = taker.take(pieces)
    if kind(full) != found[0] and not (found[0] == "reset" and not any(pieces)):  # nothing came to be parsed
        return f"the full parser says {full}, the engine {found}"
    if full and full.failure is None and found[1] != (full.reusable and not full.until_eof):
        return f"reusable: the full parser says {full}, the engine {found}"
    return None


def http_violation(pieces: list[bytes]) -> str | None:
    """What the HTTP parsers did wrong with these pieces, or None."""
    if kind(read(TARGET, pieces, then_eof=False)) != kind(check(TARGET, pieces, HEADS, then_eof=False)[0]):
        return "the checker waits for more where the full parser does not, or the other way round"
    full = read(TARGET, pieces)
    verdict, recognised = check(TARGET, pieces, HEADS)
    for each in (full, verdict):
        if each is None or (each.failure is not None and not (each.failure in FAILURES and each.detail)):
            return f"not one verdict with its reason at the end of the connection: {each}"
    if kind(full) != kind(verdict):
        return f"the full parser says {full}, with the checker before it {verdict}"
    if recognised and full and verdict and verdict.reusable != (full.reusable and not full.until_eof):
        return f"reusable: the full parser says {full}, the checker {verdict}"
    whole = read(TARGET, [b"".join(pieces)] if pieces else [])
    surplus_apart = full is not None and full.failure is None  # the rest came in a piece of its own
    if kind(whole) != kind(full) and not (surplus_apart and kind(whole) == "body"):
        return f"whole {whole}, in pieces {full}"
    return None


def fuzz(seed: int, *, cases: float = math.inf, seconds: float = math.inf) -> tuple[int, int, str | None]:
    """Tries so many cases, or for so long.

    Returns:
        How many, how many of them were answers that the engine recognised by a learned head, and the first
        violation with what reproduces it.
    """
    deadline, count = time.monotonic() + seconds, 0
    taker = Taker(TARGET)
    while count < cases and time.monotonic() < deadline:
        random = Random(f"{seed}-{count}")  # noqa: S311 - reproducible on purpose, keeps no secret
        count += 1
        if count % 3 == 0:
            name, pieces, complaint = websocket_violation(random, mutated, pieces_of)
        elif count % 3 == 1:
            answer = varied(random, random.choice(HTTP_SEEDS if random.random() < 0.5 else HTTP_SEEDS[:2]))
            name, pieces = "head", pieces_of(random, mutated(random, answer, HTTP_SEEDS))
            try:
                complaint = head_violation(taker, pieces)
            except (*BREACHES, h11.ProtocolError) as error:
                complaint = f"raised {error!r}"
        else:
            name, pieces = "http", pieces_of(random, mutated(random, random.choice(HTTP_SEEDS), HTTP_SEEDS))
            try:
                complaint = http_violation(pieces)
            except (*BREACHES, h11.ProtocolError) as error:
                complaint = f"raised {error!r}"
        if complaint is not None:
            hexed = " ".join(piece.hex() for piece in pieces)
            return (
                count,
                taker.recognised,
                f"{name}, seed {seed}, case {count - 1}: {complaint}\npieces, in hex: {hexed}",
            )
    taker.close()
    return count, taker.recognised, None


def main() -> int:
    """Returns 1 if a parser broke its promise, after saying on which bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    count, recognised, violation = fuzz(options.seed, seconds=options.seconds)
    sys.stdout.write(f"{count} cases, {recognised} by a learned head\n{violation or 'no violation'}\n")
    return 1 if violation else 0


if __name__ == "__main__":
    sys.exit(main())
