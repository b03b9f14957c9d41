"""Checks a large answer as it comes: a head that the full parser knows, then every byte of the body.

The full parser costs several copies of the body. Here a piece is compared where it lies: `bytes.startswith`
with an offset is one `memcmp`, whereas `==` between memory views compares item by item, several times slower.
"""

from __future__ import annotations

import re
from typing import Literal, Protocol

from loadtests.engine.heads import HEAD_LIMIT_BYTES
from loadtests.engine.http1 import Verdict

Progress = Literal["exact", "complete", "unknown"]

_BLANK_LINE = re.compile(rb"\n\r?\n")
"""What ends a head for the full parser, too."""

_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
_SIZE_BEGUN = re.compile(rb"\r?|\r\n[0-9A-Fa-f]{0,16}|\r\n[0-9A-Fa-f]{1,16}\r")
_SIZE_BYTES = 20
"""The line end of the chunk before, at most 16 digits, and a line end."""


class KnownHeads(Protocol):
    """The heads that the full parser accepted, or would."""

    def get(self, head: bytes, /) -> Verdict | None:
        """Its verdict on an answer with that head; None where it is not known."""


class LargeAnswer:
    """One answer, in any number of pieces.

    It recognises what equals an answer that the full parser would accept, and nothing else: a head that the
    full parser accepted (`loadtests.engine.heads`), then the expected body, framed by Content-Length, by the
    end of the connection, or in plain chunks (whose sizes may differ from answer to answer; no extensions, no
    trailers).

    Args:
        answer: the expected body.
        heads: the full parser's verdicts on correct answers, by their head.
    """

    __slots__ = ("_answer", "_chunk_left", "_head", "_heads", "_known", "_line", "_matched")

    def __init__(self, answer: bytes, heads: KnownHeads) -> None:
        self._answer = answer
        self._heads = heads
        self._head = b""
        self._known: Verdict | None = None
        self._matched = 0
        self._chunk_left: int | None = 0  # of the chunk's data; None once the last chunk was announced
        self._line = (
            b"\r\n"  # of what stands between chunks; the first is treated as if one had ended before it
        )

    @property
    def reusable(self) -> bool:
        """Whether the server keeps the connection open after this answer."""
        known = self._known
        return known is not None and known.reusable and not known.until_eof

    def take(self, piece: bytes) -> Progress:
        """Takes one piece; `b""` is the end of the connection.

        Returns:
            `exact` while more is needed; `complete` for a correct answer; `unknown` for anything else. An
            unknown piece is not taken: the full parser gets `so_far()`, then that piece, and judges.
        """
        known = self._known
        if not piece:
            ended = known is not None and known.until_eof and self._matched == len(self._answer)
            return "complete" if ended else "unknown"
        if known is not None:
            return self._take_body(known, piece, 0)
        whole = self._head + piece if self._head else piece
        blank = _BLANK_LINE.search(whole, 0, HEAD_LIMIT_BYTES)
        if blank is None:
            if len(whole) >= HEAD_LIMIT_BYTES or not whole.startswith(b"H"):
                return "unknown"
            self._head = whole
            return "exact"
        head = whole[: blank.end()]
        known = self._heads.get(head)
        if known is None:
            return "unknown"
        progress = self._take_body(known, whole, blank.end())
        if progress != "unknown":
            self._head, self._known = head, known
        return progress

    def so_far(self) -> bytes:
        """What was taken, as the full parser may read it: chunks that went by are joined into one."""
        known, body = self._known, self._answer[: self._matched]
        if known is None or not known.chunked:
            return self._head + body
        if self._chunk_left:
            return self._head + b"%x\r\n" % (self._matched + self._chunk_left) + body
        between = b"\r\n0\r\n" + self._line if self._chunk_left is None else self._line
        if body:
            return self._head + b"%x\r\n" % len(body) + body + between
        return self._head + between[2:]

    def _take_body(self, known: Verdict, piece: bytes, begin: int) -> Progress:
        if known.chunked:
            return self._take_chunks(piece, begin)
        answer, matched = self._answer, self._matched
        if not answer.startswith(memoryview(piece)[begin:] if begin else piece, matched):
            return "unknown"
        self._matched = matched + len(piece) - begin
        return "complete" if self._matched == len(answer) and not known.until_eof else "exact"

    def _take_chunks(self, piece: bytes, begin: int) -> Progress:
        answer, view, end = self._answer, memoryview(piece), len(piece)
        matched, left, line = self._matched, self._chunk_left, self._line
        while begin < end and left is not None:
            if left:
                count = min(left, end - begin)
                if not answer.startswith(view[begin : begin + count], matched):
                    return "unknown"
                matched += count
                left -= count
                begin += count
                continue
            between = line + piece[begin : begin + _SIZE_BYTES - len(line)]
            found = _SIZE.match(between)
            if found is None:
                if not _SIZE_BEGUN.fullmatch(between):
                    return "unknown"
                line, begin = between, end
                continue
            begin += found.end() - len(line)
            line = b""
            left = int(found[1], 16) or None
        if left is None:
            line += piece[begin:]
            if not b"\r\n".startswith(line) or matched != len(answer):
                return "unknown"
        self._matched, self._chunk_left, self._line = matched, left, line
        return "complete" if left is None and line == b"\r\n" else "exact"
