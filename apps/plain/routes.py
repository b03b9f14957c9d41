"""What each route answers, for both forms of the plain application, as `apps/contract.toml` defines it."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

PIECE_BYTES = 65_536
ECHO_LIMIT_BYTES = 16 * 1024 * 1024
_LENGTH_DIGITS = 18  # beyond any real length, and short enough for `int` to take

_ALPHABET = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
# Long enough to cut one whole piece from it at any phase of the alphabet.
_PATTERN = _ALPHABET * (PIECE_BYTES // len(_ALPHABET) + 2)

# One empty piece rather than none: a server may send the headers with the first piece (PEP 3333), and some
# answer 500 where none comes.
NO_PIECES = (b"",)

Headers = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """One answer to GET or POST; the answer to HEAD is the same without its pieces.

    Attributes:
        pieces: the body, to be flushed piece by piece.
        wait_s: seconds to wait, without using the CPU, before answering.
    """

    status: int
    headers: Headers
    pieces: Iterable[bytes]
    wait_s: float = 0.0


class Own(Enum):
    """What only the form can answer, because it needs the request itself."""

    ECHO = "the request's body"
    INTERFACE = "what the server handed over"


def whole(
    body: bytes, content_type: str, *, status: int = 200, extra: Headers = (), wait_s: float = 0.0
) -> Answer:
    """An answer whose body is known before it is sent."""
    headers = (("Content-Type", content_type), ("Content-Length", str(len(body))), *extra)
    return Answer(status, headers, (body,), wait_s)


def _error(status: int, text: str, extra: Headers = ()) -> Answer:
    return whole(text.encode(), "text/plain", status=status, extra=extra)


BAD_REQUEST = _error(400, "Bad Request")
NOT_FOUND = _error(404, "Not Found")
TOO_LARGE = _error(413, "Content Too Large")

_READ: tuple[str, ...] = ("GET", "HEAD")
_WRITE: tuple[str, ...] = ("POST",)
_NOT_ALLOWED = {
    methods: _error(405, "Method Not Allowed", (("Allow", ", ".join(methods)),))
    for methods in (_READ, _WRITE)
}

PAGE = "<!DOCTYPE html><html><head><title>Gatebench</title></head><body><h1>Gatebench</h1></body></html>"
FIXED: Mapping[str, Answer] = {
    "/": whole(PAGE.encode(), "text/html"),
    "/plaintext": whole(b"Hello, World!", "text/plain"),
    "/json": whole(b'{"message":"Hello, World!"}', "application/json"),
}


def _wait(milliseconds: int) -> Answer:
    return whole(b"waited %d ms" % milliseconds, "text/plain", wait_s=milliseconds / 1000)


def sha256_rounds(rounds: int) -> str:
    """The digest after so many rounds, as hexadecimal digits: the work of `/cpu` in every application."""
    digest = bytes(32)
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


def _cpu(rounds: int) -> Answer:
    return whole(sha256_rounds(rounds).encode(), "text/plain")


def _cut(size: int) -> Iterator[bytes]:
    for start in range(0, size, PIECE_BYTES):
        phase = start % len(_ALPHABET)
        yield _PATTERN[phase : phase + min(PIECE_BYTES, size - start)]


def _bytes(size: int) -> Answer:
    headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(size)))
    return Answer(200, headers, (_PATTERN[:size],) if size <= PIECE_BYTES else _cut(size))


def _stream(count: int) -> Answer:
    pieces = (b"%06d\n" % index for index in range(count)) if count else NO_PIECES
    return Answer(200, (("Content-Type", "text/plain"),), pieces)


_WITH_ARGUMENT: Mapping[str, tuple[int, Callable[[int], Answer]]] = {
    "/wait": (10_000, _wait),
    "/cpu": (1_000_000, _cpu),
    "/bytes": (64 * 1024 * 1024, _bytes),
    "/stream": (10_000, _stream),
}
_OWN: Mapping[str, tuple[Own, tuple[str, ...]]] = {
    "/echo": (Own.ECHO, _WRITE),
    "/interface": (Own.INTERFACE, _READ),
}


def number(text: str, maximum: int) -> int | None:
    """The plain decimal number `text` spells, or None: no sign, no leading zero, no digit beyond ASCII.

    Also None over `maximum`; the length is looked at first, since `int` refuses very long digits by raising.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(maximum)):
        return None
    if text[0] == "0" and text != "0":
        return None
    value = int(text)
    return value if value <= maximum else None


def content_length(text: str) -> int | None:
    """The value of a Content-Length header in bytes, or None where it is not one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS else None


def find(method: str, path: str) -> Answer | Own:
    """The answer to `method` on the decoded `path`: unknown path, then wrong method, then bad argument."""
    fixed = FIXED.get(path)
    if fixed is not None:
        return fixed if method in _READ else _NOT_ALLOWED[_READ]
    if path in _OWN:
        own, methods = _OWN[path]
        return own if method in methods else _NOT_ALLOWED[methods]
    prefix, _, argument = path.rpartition("/")
    if prefix not in _WITH_ARGUMENT or not argument:
        return NOT_FOUND
    if method not in _READ:
        return _NOT_ALLOWED[_READ]
    maximum, answer = _WITH_ARGUMENT[prefix]
    value = number(argument, maximum)
    return BAD_REQUEST if value is None else answer(value)
