"""The named bodies of `apps/contract.toml`: from `bytes:100000` to those bytes."""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass
from functools import lru_cache

_ALPHABET = (string.ascii_lowercase + string.ascii_uppercase + string.digits).encode()
_NUMBERED = ("bytes", "stream", "sha256-rounds")
KINDS = ("text:…", *(f"{kind}:N" for kind in _NUMBERED), "request", "interface")


@dataclass(frozen=True, slots=True)
class BodySpec:
    """A body by name.

    Attributes:
        kind: `text`, `bytes`, `stream`, `sha256-rounds`, `request` or `interface`.
        value: the text or number after the colon, with the argument of the path as `{name}`.
    """

    kind: str
    value: str = ""

    @property
    def fixed(self) -> bool:
        """Whether the request alone decides the bytes; False only for `interface`."""
        return self.kind != "interface"

    def make(self, *, argument: tuple[str, str] | None = None, request: bytes = b"") -> bytes:
        """The bytes.

        Args:
            argument: name and text of the path's argument, for a body that mentions it.
            request: the request's body, for the kind `request`.

        Raises:
            ValueError: for `interface`, or where the number is none.
        """
        if self.kind == "request":
            return request
        name, text = argument or ("", "")
        value = self.value.replace(f"{{{name}}}", text)
        if self.kind == "text":
            return value.encode()
        if self.kind == "bytes":
            return _alphabet_bytes(int(value))
        if self.kind == "stream":
            return b"".join(b"%06d\n" % index for index in range(int(value)))
        if self.kind == "sha256-rounds":
            return _sha256_rounds(int(value))
        message = f"a body of kind {self.kind!r} is not fixed"
        raise ValueError(message)


NO_BODY = BodySpec("text")


def parse_body(text: str, argument: str | None = None) -> BodySpec:
    """Reads a body as the contract writes it; `argument` is the name its number may refer to.

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    kind, colon, value = text.partition(":")
    if kind == "text" and colon:
        return BodySpec(kind, value)
    if kind in ("request", "interface") and not colon:
        return BodySpec(kind)
    if kind in _NUMBERED and ((value.isascii() and value.isdigit()) or value == f"{{{argument}}}"):
        return BodySpec(kind, value)
    message = f"{text!r} is not a body; allowed: {', '.join(KINDS)}"
    raise ValueError(message)


def parse_literal(text: str) -> BodySpec:
    """Reads a body that needs no request to be made: what a case sends, or what an error answers.

    Raises:
        ValueError: with what is wrong and what is allowed.
    """
    body = parse_body(text)
    if body.kind in ("request", "interface"):
        message = f"{text!r} stands for no bytes of its own; allowed: {', '.join(KINDS[:-2])}"
        raise ValueError(message)
    return body


def _alphabet_bytes(size: int) -> bytes:
    return (_ALPHABET * (size // len(_ALPHABET) + 1))[:size]


@lru_cache(maxsize=64)
def _sha256_rounds(rounds: int) -> bytes:
    digest = bytes(32)
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex().encode()
